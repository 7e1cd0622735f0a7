package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/memdev"
	"sanstick/target/scsi"
)

var long = flag.Bool("long", false, "also run what takes a minute")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSlice runs a part of it all, on a targetd with the race detector: the
// suites but those that move much or are of 12- and 16-byte variants, and what
// only a read-only, a removable and a large unit have.
func TestSlice(t *testing.T) {
	tests, err := listTests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin, err := build(t.Context(), t.TempDir(), "-race")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cell  int // of cells()
		tests string
	}{
		{0, `(Co|E|G|I|Mo|Ma|Pri|Pro|Read6|ReadC|ReadD|Rec|Rep|Res|Sa|T|U|WriteA|iSCSI).*|Prefetch10\..*|` +
			`(Read|Write|Verify|WriteSame|WriteVerify)10\.(D|F|Z|Async|Check|Invalid|.*Protect).*`},
		{3, `(Read|Write)16\.BeyondEol|WriteSame16\.UnmapUntilEnd`},
		{4, `ReadOnly.*|WriteVerify1\d\.DpoFua`},
		{5, `(NoM|Prev|Start).*|GetLBAStatus\.Simple`},
		{len(cells()) - 1, `(Read|Write)10\.Simple|iSCSIRes.*|MultipathIO\.[SR].*`},
	} {
		c := cells()[tt.cell]
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			o := options{logs: t.TempDir(), tests: pattern{regexp.MustCompile("^(?:" + tt.tests + ")$")}}
			out := runCell(t.Context(), c, o, t.TempDir(), bin, tests)
			if len(out.results) == 0 {
				t.Error("no test has run")
			}
			for _, r := range out.results {
				for _, f := range r.failures {
					t.Errorf("%s: %s", r.test, f)
				}
				if said, err := os.ReadFile(filepath.Join(o.logs, c.file(), r.test.String()+".txt")); err == nil {
					t.Logf("%s said:\n%s", r.test, tail(string(said)))
				}
			}
			for _, p := range out.problems {
				t.Error(p)
			}
		})
	}
}

// Every entry of the list of skips is about tests that the tool has, and about
// profiles there are.
func TestSkips(t *testing.T) {
	tests, err := listTests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, p := range profiles {
		names += p.name
	}
	for _, s := range skips {
		found := false
		for _, tt := range tests {
			found = found || s.covers(tt, s.profiles[:1], s.says)
		}
		if !found || strings.Trim(s.profiles, names) != "" || s.why == "" {
			t.Errorf("%+v is about nothing", s)
		}
	}
}

// slow is a device whose writes take long.
type slow struct{ block.Device }

func (s slow) WriteAt(p []byte, off int64) (int, error) {
	if len(p) > 64<<10 {
		time.Sleep(time.Second)
	}
	return s.Device.WriteAt(p, off)
}

// The tool's test of SANITIZE under resets wants the operation to take longer
// than it sleeps, and then sleeps for a minute.
func TestSanitizeReset(t *testing.T) {
	if !*long {
		return
	}
	mem, err := memdev.New(16<<20, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := scsi.NewUnit(slow{mem}, scsi.UnitOptions{Thin: true, Identity: scsi.Identity{Serial: "SLOW", NAA: scsi.NAAFromUUID("SLOW")}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Add(target.Config{IQN: iqn, LUNs: []target.LUN{{Unit: u}}, Initiators: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	l, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	url := cell{chap: noCHAP}.url(l.Addr().String())
	r := runTest(t.Context(), test{"SCSI", "Sanitize", "Reset"}, true, url, url)
	cancel()
	for _, err := range []error{<-done, u.Close(), mem.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
	if len(r.failures) > 0 || len(r.skips) > 0 {
		t.Errorf("failures %q, skips %q; it said:\n%s", r.failures, r.skips, tail(r.output))
	}
}
