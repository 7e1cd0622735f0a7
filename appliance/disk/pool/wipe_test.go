package pool

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill puts something on a disk that isn't ours: a swap area's magic, and data
// in the middle.
func (w *world) fill(letter string) *memDisk {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.disks["/dev/vd"+letter]
	page := make([]byte, 4096)
	copy(page[4086:], "SWAPSPACE2")
	page[1024] = 1 // version
	d.put(page, 0)
	data := make([]byte, 4096)
	data[7] = 1
	d.put(data, 128<<20)
	return d
}

func TestWipe(t *testing.T) {
	w := newWorld(t, "ab")
	w.fill("b")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err == nil {
		t.Fatal("a disk with something on it was taken")
	}
	seen, err := m.Wipe(t.Context(), Wipe{Disk: "B"})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Done || len(seen.Holds) == 0 || !strings.Contains(seen.Holds[0], "swap") {
		t.Errorf("asking what is on it: %+v", seen)
	}
	for _, wrong := range [][]string{{}, {"something else"}} {
		if r, err := m.Wipe(t.Context(), Wipe{Disk: "B", Confirmed: wrong}); err == nil || r.Done || !strings.Contains(err.Error(), "swap") {
			t.Errorf("agreed to %q: %+v, %v", wrong, r, err)
		}
	}
	var last, total int64
	r, err := m.Wipe(t.Context(), Wipe{Disk: "B", Confirmed: seen.Holds, Progress: func(done, of int64) { last, total = done, of }})
	if err != nil || !r.Done || last != total || total == 0 {
		t.Fatalf("%+v, %v; %d of %d", r, err, last, total)
	}
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Errorf("the wiped disk isn't taken: %v", err)
	}
}

func TestWipeAll(t *testing.T) {
	w := newWorld(t, "a")
	d := w.fill("a")
	m, _ := w.manager(nil)
	seen, err := m.Wipe(t.Context(), Wipe{Disk: "A"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wipe(t.Context(), Wipe{Disk: "A", Confirmed: seen.Holds, Zero: true}); err != nil {
		t.Fatal(err)
	}
	for at, b := range d.blocks {
		if strings.Trim(string(b), "\x00") != "" {
			t.Errorf("block %d isn't zero", at)
		}
	}
	if len(d.blocks) != memSize/4096 {
		t.Errorf("%d blocks were written, of %d", len(d.blocks), memSize/4096)
	}
}

func TestWipeCancelled(t *testing.T) {
	w := newWorld(t, "a")
	w.fill("a")
	m, _ := w.manager(nil)
	seen, err := m.Wipe(t.Context(), Wipe{Disk: "A"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := m.Wipe(ctx, Wipe{Disk: "A", Confirmed: seen.Holds, Zero: true, Progress: func(int64, int64) { cancel() }})
	if err == nil || r.Done {
		t.Errorf("%+v, %v", r, err)
	}
	again, err := m.Wipe(t.Context(), Wipe{Disk: "A"})
	if diff := cmp.Diff(seen.Holds, again.Holds); err != nil || diff != "" {
		t.Errorf("a disk that is half wiped doesn't tell what was on it: %v (-want +got)\n%s", err, diff)
	}
}

func TestWipeRefused(t *testing.T) {
	w := newWorld(t, "abcd")
	w.fill("d")
	m, _ := w.manager(func(o *Options) { o.BootDisks = func() []string { return []string{"vdc"} } })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	for disk, want := range map[string]string{"A": "belongs to pool tank", "C": "boot stick", "X": "isn't here", "vdd": "isn't here"} {
		if r, err := m.Wipe(t.Context(), Wipe{Disk: disk}); err == nil || r.Done || !strings.Contains(err.Error(), want) {
			t.Errorf("disk %s: %+v, %v; want %q", disk, r, err, want)
		}
	}
	// Taken out of the configuration, but still active.
	if err := m.Bring(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wipe(t.Context(), Wipe{Disk: "A"}); err == nil || !strings.Contains(err.Error(), "active") {
		t.Errorf("a disk of an active pool: %v", err)
	}
	w.restart()
	m, _ = w.manager(nil)
	r, err := m.Wipe(t.Context(), Wipe{Disk: "A"})
	if err != nil || !strings.Contains(strings.Join(r.Holds, "; "), "a part of pool tank with volumes golden") {
		t.Errorf("a disk of a pool that nobody wants: %+v, %v", r, err)
	}
}
