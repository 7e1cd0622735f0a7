package box

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/pool"
)

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	plain := func(f func() error) error { return f() }
	l := newLedger(dir, plain, log)
	if !l.Entry("vg").IsZero() {
		t.Errorf("a new stick knows %+v", l.Entry("vg"))
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := pool.Entry{
		Lost: map[string]time.Time{"pv": at}, Tried: map[string]pool.Tries{"pv": {N: 2, Last: at}},
		Replace: pool.Replacement{Old: "A", New: "B"}, Mismatches: map[string]int64{"tdata": 8}, Comparing: true,
	}
	if err := errors.Join(l.Keep("vg", want), l.Keep("other", pool.Entry{Comparing: true})); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*ledger{l, newLedger(dir, plain, log)} {
		if diff := cmp.Diff(want, x.Entry("vg")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := l.Keep("vg", pool.Entry{}); err != nil {
		t.Fatal(err)
	}
	if x := newLedger(dir, plain, log); !x.Entry("vg").IsZero() || x.Entry("other").IsZero() {
		t.Errorf("forgetting one pool leaves %+v", x.entries)
	}

	// A stick that can't be written.
	failing := errors.New("read-only")
	l = newLedger(dir, func(func() error) error { return failing }, log)
	if err := l.Keep("vg", want); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}

	// A file that is something else.
	for _, text := range []string{"", "null", "[]", `{"vg": 5}`} {
		if err := os.WriteFile(filepath.Join(dir, mendingName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLedger(dir, plain, log)
		if err := l.Keep("vg", want); err != nil || l.Entry("vg").IsZero() {
			t.Errorf("%q: %v", text, err)
		}
	}
}
