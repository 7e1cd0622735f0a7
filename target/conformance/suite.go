package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const testTool = "iscsi-test-cu"

// A test takes seconds at most; SANITIZE and a loaded machine need more.
const testLimit = 3 * time.Minute

// test is one of the tool's.
type test struct{ family, suite, name string }

// String is the name without the family: the same test is in several.
func (t test) String() string { return t.suite + "." + t.name }

// listTests asks the tool which tests there are.
func listTests(ctx context.Context) ([]test, error) {
	out, err := exec.CommandContext(ctx, testTool, "-l").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list the tests (apt-get install libiscsi-bin): %w", err)
	}
	return parseTests(string(out))
}

// parseTests reads FAMILY.SUITE.TEST lines. A test that is in several families
// is taken once: from SCSI or iSCSI if it is there. The others, ALL and LINUX,
// name the same functions again.
func parseTests(out string) ([]test, error) {
	order := []string{"SCSI", "iSCSI"}
	rank := func(t test) int {
		if i := slices.Index(order, t.family); i >= 0 {
			return i
		}
		return len(order)
	}
	var all []test
	for line := range strings.Lines(out) {
		if f := strings.Split(strings.TrimSpace(line), "."); len(f) == 3 {
			all = append(all, test{f[0], f[1], f[2]})
		}
	}
	slices.SortStableFunc(all, func(a, b test) int { return cmp.Compare(rank(a), rank(b)) })
	seen := map[string]bool{}
	all = slices.DeleteFunc(all, func(t test) bool {
		had := seen[t.String()]
		seen[t.String()] = true
		return had
	})
	if len(all) == 0 {
		return nil, errors.New("the tool lists no tests")
	}
	return all, nil
}

// result is what came of a test. One that skips something counts as skipped,
// even if it has done more; a warning alone doesn't count.
type result struct {
	test     test
	failures []string // conditions that didn't hold, or why there is no result
	skips    []string // reasons, each once
	output   string
}

// The tool's test can't run alone: it reads a variable that the other test of
// its suite sets, and fails or crashes without.
const needsItsSuite = "iSCSITMF.LUNResetSimpleAsync"

// runTest runs one test in a process of its own: a test that skips leaves a
// hook in place that spoils the next ones.
func runTest(ctx context.Context, t test, sanitize bool, urls ...string) result {
	r := result{test: t}
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		r.failures = []string{err.Error()}
		return r
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	name := t.family + "." + t.String()
	if t.String() == needsItsSuite {
		name = t.family + "." + t.suite
	}
	args := []string{"-d", "-x", "-V", "-t", name}
	if sanitize {
		args = append(args, "-S")
	}
	cmd := exec.CommandContext(ctx, testTool, append(args, urls...)...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	out, err := cmd.CombinedOutput()
	r.output = string(out)
	r.skips = skipsIn(r.output)
	// It ends with 1 if a condition didn't hold; those are in its file.
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		r.failures = append(r.failures, fmt.Sprintf("the tool did not end well: %v", err))
	}
	file, err := os.ReadFile(filepath.Join(dir, "CUnitAutomated-Results.xml"))
	if err != nil {
		r.failures = append(r.failures, "the tool wrote no results")
		return r
	}
	r.failures = append(r.failures, failuresIn(file, t)...)
	return r
}

// writeProtected turns the failure of a test whose every complaint is that it
// couldn't write into a reason to skip. It is for read-only units: the tool's
// tests of writing want to write.
func (r *result) writeProtected() {
	complaints := complaint.FindAllString(r.output, -1)
	other := slices.ContainsFunc(complaints, func(s string) bool { return !strings.Contains(s, "0x2700") })
	if len(r.failures) > 0 && len(complaints) > 0 && !other {
		r.failures, r.skips = nil, append(r.skips, refused)
	}
}

var complaint = regexp.MustCompile(`(?m)^\s*\[FAILED\].*$`)

// refused is the reason that writeProtected gives, and notRun that for a test
// which isn't even tried on a profile.
const (
	refused = "(every complaint is WRITE PROTECTED)"
	notRun  = "(not run)"
)

// cunit is the result file of iscsi-test-cu -x.
type cunit struct {
	Records []struct {
		Name     string `xml:"CUNIT_RUN_TEST_SUCCESS>TEST_NAME"`
		Failures []struct {
			Test      string `xml:"TEST_NAME"`
			File      string `xml:"FILE_NAME"`
			Line      string `xml:"LINE_NUMBER"`
			Condition string `xml:"CONDITION"`
		} `xml:"CUNIT_RUN_TEST_FAILURE"`
	} `xml:"CUNIT_RESULT_LISTING>CUNIT_RUN_SUITE>CUNIT_RUN_SUITE_SUCCESS>CUNIT_RUN_TEST_RECORD"`
}

// failuresIn returns the conditions that didn't hold, each once, or that the
// test hasn't run.
func failuresIn(file []byte, t test) []string {
	var r cunit
	dec := xml.NewDecoder(bytes.NewReader(file))
	dec.Strict = false
	if err := dec.Decode(&r); err != nil {
		return []string{fmt.Sprintf("the tool's results can't be read: %v", err)}
	}
	var failures []string
	ran := 0
	for _, rec := range r.Records {
		if strings.TrimSpace(rec.Name) == t.name {
			ran++
		}
		for _, f := range rec.Failures {
			if strings.TrimSpace(f.Test) != t.name {
				continue
			}
			ran++
			s := fmt.Sprintf("%s:%s: %s", strings.TrimSpace(f.File), strings.TrimSpace(f.Line), strings.TrimSpace(f.Condition))
			if !slices.Contains(failures, s) {
				failures = append(failures, s)
			}
		}
	}
	if ran == 0 {
		failures = append(failures, "the test has not run")
	}
	return failures
}

var (
	// marked are the lines in which the tool says that it skips.
	marked = regexp.MustCompile(`(?m)^\s*\[SKIPP(?:ED|ING)\] *(.*?)\s*$`)
	// warnings don't mean that it skips; they are kept with their mark.
	warnings = regexp.MustCompile(`(?m)^\s*(\[WARNING\].*?)\s*$`)
	// unmarked are lines that mean the same and have no such mark.
	unmarked = regexp.MustCompile(`(?m)^\s*(SWP is not changeable|.*[Ss]kip the .*|.*NOT supported by the target\.?)\s*$`)
	// lookout are the lines about what the tool does after each test, for each
	// of two paths: it looks for reservations left behind.
	lookout = regexp.MustCompile(`(?m)^\s*Send PRIN/READ_KEYS\s*$`)
)

// nothing is the reason given for a test that says nothing at all.
const nothing = "(says nothing)"

// skipsIn returns the reasons that the tool gives for skipping, each once.
func skipsIn(output string) []string {
	var reasons []string
	for _, re := range []*regexp.Regexp{marked, warnings, unmarked} {
		for _, m := range re.FindAllStringSubmatch(output, -1) {
			if !slices.Contains(reasons, m[1]) {
				reasons = append(reasons, m[1])
			}
		}
	}
	// What a test says comes after an empty line.
	_, own, _ := strings.Cut(output, "\n\n")
	if len(reasons) == 0 && strings.TrimSpace(lookout.ReplaceAllString(own, "")) == "" {
		reasons = append(reasons, nothing)
	}
	return reasons
}
