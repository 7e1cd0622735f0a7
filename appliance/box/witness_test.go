package box

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWitness(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	plain := func(f func() error) error { return f() }
	w := newWitness(dir, plain, log)
	if got := w.Newest("vg"); got != nil {
		t.Errorf("a new stick knows %v", got)
	}
	for _, pvs := range [][]string{{"a", "b"}, {"a"}} {
		if err := w.Remember("vg", pvs); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*witness{w, newWitness(dir, plain, log)} {
			if diff := cmp.Diff(pvs, x.Newest("vg")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
	if err := w.Remember("vg", nil); err != nil {
		t.Fatal(err)
	}
	if got := newWitness(dir, plain, log).Newest("vg"); got != nil {
		t.Errorf("forgotten, it still knows %v", got)
	}

	// A stick that can't be written.
	failing := errors.New("read-only")
	w = newWitness(dir, func(func() error) error { return failing }, log)
	if err := w.Remember("vg", []string{"a"}); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	if got := w.Newest("vg"); len(got) != 1 {
		t.Errorf("it has forgotten at once: %v", got)
	}

	// A file that is something else.
	for _, text := range []string{"", "null", "[]", `{"vg": 5}`} {
		if err := os.WriteFile(filepath.Join(dir, poolsName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWitness(dir, plain, log)
		if err := w.Remember("vg", []string{"a"}); err != nil || len(w.Newest("vg")) != 1 {
			t.Errorf("%q: %v", text, err)
		}
	}
}
