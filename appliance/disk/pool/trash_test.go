package pool

import (
	"slices"
	"strings"
	"testing"
)

// Someone reads a snapshot: nothing of the volume goes to the trash.
func TestDeleteWhatIsOpen(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	if err := m.Bring(ctx, []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(ctx, "golden", "zebra"); err != nil {
		t.Fatal(err)
	}
	taken, err := m.Take(ctx, "golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []string{inLVM(unqualified(taken.Name)), "golden", "golden+monday"} {
		w.inUse = open
		wantFailure(t, open+" is open", m.Delete(ctx, "golden", true), "in use")
		for name := range w.content(m) {
			if strings.HasPrefix(name, "trash:") {
				t.Errorf("%s is open, and %s", open, name)
			}
		}
		for _, v := range []string{"golden", "golden+monday", "golden+zebra"} {
			if !w.active["tank-"+v] {
				t.Errorf("%s isn't active any more", v)
			}
		}
	}
	w.inUse = ""
	if err := m.Delete(ctx, "golden", true); err != nil {
		t.Fatal(err)
	}
	var left []string
	for name := range w.content(m) {
		left = append(left, name)
	}
	slices.Sort(left)
	if got := strings.Join(left, " "); got != "clone trash:golden trash:golden@monday trash:golden@zebra" {
		t.Errorf("left is %s", got)
	}
}

// A snapshot outlives its volume in the trash, and another volume gets the name.
func TestRevertToOtherBlocks(t *testing.T) {
	_, m := stocked(t)
	ctx := t.Context()
	bring := func(block int) {
		t.Helper()
		s := slices.Clone(tank)
		s[0].Volumes = append(slices.Clone(s[0].Volumes), VolumeSpec{Name: "x", Size: 8 << 20, Block: block})
		if block < 0 {
			s = tank
		}
		if err := m.Bring(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	bring(4096)
	if _, err := m.Snapshot(ctx, "x", "s"); err != nil {
		t.Fatal(err)
	}
	bring(-1)
	if err := m.Delete(ctx, "x", true); err != nil {
		t.Fatal(err)
	}
	bring(0)
	if _, err := m.Restore(ctx, "x@s", ""); err != nil {
		t.Fatal(err)
	}
	_, err := m.Revert(ctx, "x@s")
	wantFailure(t, "reverted", err, "x@s and volume x have different block sizes")
}
