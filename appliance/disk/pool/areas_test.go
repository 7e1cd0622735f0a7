package pool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/probe"
)

// The name of a disk that went is given to the next one that comes. What LVM said of
// the first isn't about the other.
func TestStickAreas(t *testing.T) {
	w := newWorld(t, "ab")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	areas := func() map[string]string {
		all := map[string]string{}
		for _, a := range m.StickAreas() {
			all[a.Path] = a.Disk + " " + a.PV
			if a.Seq == 0 {
				t.Errorf("nothing tells the disk at %s from a later one", a.Path)
			}
		}
		return all
	}
	if diff := cmp.Diff(map[string]string{"/dev/vda": "A pv-a", "/dev/vdb": "B pv-b"}, areas()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := map[string]string{"/dev/vda": "A pv-a"}
	// Of two copies none is written to: the LVM that sees both picks one.
	twin := probe.Finding{UUID: "pv-b"}
	m.mu.Lock()
	was := m.facts
	m.facts.Labels = map[string]probe.Finding{"vdb": twin, "vdc": twin}
	m.facts.Disks = append(slices.Clip(was.Disks), disk.Disk{Name: "vdc", Path: "/dev/vdc", Serial: "C"})
	m.mu.Unlock()
	if diff := cmp.Diff(want, areas()); diff != "" {
		t.Errorf("copies of one another (-want +got):\n%s", diff)
	}
	m.mu.Lock()
	m.facts = was
	m.mu.Unlock()
	for _, again := range []struct{ name, attr, value string }{
		{"a stranger", "serial", "STRANGER"},
		{"the same one, which may have been used meanwhile", "diskseq", "99"},
	} {
		path := filepath.Join(w.sysfs, "block", "vdb", again.attr)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(again.value), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := m.readDisks(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, areas()); diff != "" {
				t.Errorf("%s came (-want +got):\n%s", again.name, diff)
			}
		}
		if err := os.WriteFile(path, old, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := m.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := areas()["/dev/vdb"]; got != "B pv-b" {
			t.Errorf("%s went again: %q", again.name, got)
		}
	}
}
