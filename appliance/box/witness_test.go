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
	if got, _ := w.Newest("vg"); got != nil {
		t.Errorf("a new stick knows %v", got)
	}
	for _, pvs := range [][]string{{"a", "b"}, {"a"}} {
		if err := w.Remember("vg", pvs); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*witness{w, newWitness(dir, plain, log)} {
			got, kept := x.Newest("vg")
			if diff := cmp.Diff(pvs, got); diff != "" || !kept {
				t.Errorf("kept %v (-want +got):\n%s", kept, diff)
			}
		}
	}
	if err := w.Remember("vg", nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := newWitness(dir, plain, log).Newest("vg"); got != nil {
		t.Errorf("forgotten, it still knows %v", got)
	}

	// A stick that can't be written.
	failing := errors.New("read-only")
	w = newWitness(dir, func(func() error) error { return failing }, log)
	if err := w.Remember("vg", []string{"a"}); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	if got, kept := w.Newest("vg"); len(got) != 1 || kept {
		t.Errorf("it knows %v; kept: %v", got, kept)
	}

	// A file that is something else.
	for _, text := range []string{"", "null", "[]", `{"vg": 5}`} {
		if err := os.WriteFile(filepath.Join(dir, poolsName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWitness(dir, plain, log)
		err := w.Remember("vg", []string{"a"})
		if got, kept := w.Newest("vg"); err != nil || len(got) != 1 || !kept {
			t.Errorf("%q: it knows %v, kept %v, error %v", text, got, kept, err)
		}
	}
}

// TestWitnessInMemory: of a stick in memory counts only what a disk keeps.
func TestWitnessInMemory(t *testing.T) {
	r := newCopiesRig(t, newAreaDisks(), true)
	r.put(t, configName, "one")
	w := newWitness(r.dir, r.write, r.log)
	w.disks = func(data []byte) bool { return r.keeps(poolsName, data) }
	r.live = map[string]func() ([]byte, error){poolsName: w.bytes}
	r.goRound(t, "one")
	if err := w.Remember("vg", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if _, kept := w.Newest("vg"); kept {
		t.Error("no disk has it, and it counts as kept")
	}
	r.goRound(t, "one")
	if _, kept := w.Newest("vg"); !kept {
		t.Error("the disks have it, and it doesn't count as kept")
	}
}
