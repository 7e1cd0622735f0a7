package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTests(t *testing.T) {
	got, err := parseTests("ALL\nALL.Read10\nALL.Read10.Simple\nALL.New.One\nSCSI.Read10.Simple\nSCSI.Read10.Async\niSCSI.iSCSITMF.Abort\nLINUX.Read10.Simple\n")
	want := []test{{"SCSI", "Read10", "Simple"}, {"SCSI", "Read10", "Async"}, {"iSCSI", "iSCSITMF", "Abort"}, {"ALL", "New", "One"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(test{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := parseTests("usage"); err == nil {
		t.Error("no tests, and no error")
	}
}

const before = "    Send MODESENSE6 (Expecting SUCCESS) \n    [OK] MODESENSE6 returned SUCCESS\nskipping non-LU designator: 2\n\n"

func TestSkipsIn(t *testing.T) {
	const after = "    Send PRIN/READ_KEYS\n    Send PRIN/READ_KEYS\n"
	for _, tt := range []struct {
		name, output string
		want         []string
	}{
		{"passed", before + "    Test READ10\n    Send READ10 (Expecting SUCCESS)\n    [OK] fine\n" + after, nil},
		{"skipped", before + "    Send ORWRITE\n    [SKIPPED] ORWRITE is not implemented.\n    [SKIPPED] ORWRITE is not implemented.\n" + after, []string{"ORWRITE is not implemented."}},
		{"skipping", before + "[SKIPPING] No such thing\t\n" + after, []string{"No such thing"}},
		{"warning", before + "    [WARNING] bad sport\n" + after, []string{"[WARNING] bad sport"}},
		{"no mark", before + "    SWP is not changeable\n" + after, []string{"SWP is not changeable"}},
		{"silent", before + "\n" + after, []string{nothing}},
		{"without even login", "error: Failed to login\n", []string{nothing}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, skipsIn(tt.output)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailuresIn(t *testing.T) {
	record := func(s string) string {
		return `<?xml version="1.0" ?><R><CUNIT_RESULT_LISTING><CUNIT_RUN_SUITE><CUNIT_RUN_SUITE_SUCCESS><SUITE_NAME> Read10 </SUITE_NAME>` + s +
			`</CUNIT_RUN_SUITE_SUCCESS></CUNIT_RUN_SUITE></CUNIT_RESULT_LISTING></R>`
	}
	passed := func(name string) string {
		return "<CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_SUCCESS><TEST_NAME> " + name + " </TEST_NAME></CUNIT_RUN_TEST_SUCCESS></CUNIT_RUN_TEST_RECORD>"
	}
	failed := func(name, line string) string {
		return "<CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_FAILURE><TEST_NAME> " + name + " </TEST_NAME><FILE_NAME> f.c </FILE_NAME><LINE_NUMBER> " + line +
			" </LINE_NUMBER><CONDITION> _r == 0 </CONDITION></CUNIT_RUN_TEST_FAILURE></CUNIT_RUN_TEST_RECORD>"
	}
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"passed", record(passed("Simple")), nil},
		{"failed", record(failed("Simple", "7") + failed("Simple", "9") + failed("Simple", "7")), []string{"f.c:7: _r == 0", "f.c:9: _r == 0"}},
		{"another failed", record(passed("Simple") + failed("Async", "7")), nil},
		{"not run", record(passed("Async")), []string{"the test has not run"}},
		{"no file", "", []string{"the tool's results can't be read: EOF"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, failuresIn([]byte(tt.file), test{"SCSI", "Read10", "Simple"})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteProtected(t *testing.T) {
	const protected, other = "    [FAILED] WRITE10 failed / WRITE_PROTECTED(0x2700)\n", "    [FAILED] data differ\n"
	for _, tt := range []struct {
		name, output string
		failed, want bool
	}{
		{"only that", protected + protected, true, true},
		{"something else", protected + other, true, false},
		{"nothing said", "", true, false},
		{"passed", protected, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := result{output: tt.output}
			if tt.failed {
				r.failures = []string{"f.c:7"}
			}
			r.writeProtected()
			if got := len(r.skips) == 1 && len(r.failures) == 0; got != tt.want {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAllowance(t *testing.T) {
	a := newAllowance([]skip{
		{"Read*.Simple", "AB", "too small", "why"},
		{"Write.*", "A", notRun, "why"},
	})
	read, write := test{"SCSI", "Read10", "Simple"}, test{"SCSI", "Write", "Simple"}
	r := result{test: read, skips: []string{"too small", "too big"}}
	if diff := cmp.Diff([]string{"too big"}, a.unexpected(r, "A")); diff != "" {
		t.Errorf("on A (-want +got):\n%s", diff)
	}
	if got := a.unexpected(r, "C"); len(got) != 2 {
		t.Errorf("on C, that isn't named: %v", got)
	}
	if !a.omits(write, "A") || a.omits(write, "B") || a.omits(read, "A") {
		t.Error("omits the wrong tests")
	}
	if got := a.stale("A"); len(got) != 0 {
		t.Errorf("stale on A: %v", got)
	}
	if got := a.stale("B"); len(got) != 1 {
		t.Errorf("stale on B: %v", got)
	}
}
