package pool

import (
	"testing"
	"time"
)

// The stick that the machine was started from was pulled out, and the disk that is to
// replace a lost one gets its name: it is taken.
func TestBootDisks(t *testing.T) {
	w := newWorld(t, "abc")
	boot := []string{"vdc"}
	m, _ := w.manager(func(o *Options) { o.BootDisks = func() []string { return boot } })
	spec := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Spares: []string{"C"}, SpareAfter: time.Nanosecond,
		Volumes: []VolumeSpec{{Name: "golden", Size: 64 << 20}}}}
	if err := m.Bring(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.sync()
	w.unplug("b")
	use := func() string {
		disks := m.known()
		for _, d := range disks.Disks {
			if d.Name == "vdc" {
				return view{facts: disks, now: disks.Disks}.use(d)
			}
		}
		return "not here"
	}
	refresh := func() {
		t.Helper()
		for range 3 {
			if err := m.refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	refresh()
	if got := use(); got != "boot stick" {
		t.Errorf("the stick: %s", got)
	}
	boot = nil
	refresh()
	if got := use(); got != "pool tank" {
		t.Errorf("the disk: %s", got)
	}
}
