package pool

import (
	"errors"
	"strings"
	"testing"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// What was seen on a disk may be hours old when a pool is made of it.
func TestWriteLooksAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
		want   string
	}{
		{"data", func(w *world) { w.mu.Lock(); w.disks["/dev/vda"].put(fill(4096), 64<<20); w.mu.Unlock() }, "unknown data (at byte 67108864)"},
		{"stamp and data", func(w *world) {
			enc, _ := Stamp{Pool: "tank", Disk: "A"}.encode()
			b := make([]byte, 4096)
			copy(b[stampOffset:], enc)
			w.mu.Lock()
			w.disks["/dev/vda"].put(b, 0)
			w.mu.Unlock()
		}, "unknown data"},
		{"another disk", func(w *world) {
			w.mu.Lock()
			w.disks["/dev/vda"], w.disks["/dev/vdc"] = w.disks["/dev/vdc"], w.disks["/dev/vda"]
			w.disks["/dev/vda"].put(fill(4096), 128<<20)
			w.mu.Unlock()
		}, "unknown data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "ac")
			m, _ := w.manager(nil)
			if err := m.Bring(t.Context(), tank); err == nil { // B is missing
				t.Fatal("a pool without one of its disks")
			}
			tt.change(w)
			before := len(w.disks["/dev/vda"].blocks)
			w.plug("b")
			err := m.Bring(t.Context(), tank)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if c := w.commands(); len(c) > 0 || len(w.disks["/dev/vda"].blocks) != before {
				t.Errorf("the disk was written to; commands %v", c)
			}
		})
	}
}

func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

// LVM makes a group only of disks that have our stamp.
func TestCreateGroupWantsStamps(t *testing.T) {
	w := newWorld(t, "ab")
	m, _ := w.manager(nil)
	if err := m.apply(t.Context(), CreateGroup{Pool: "tank", Paths: []string{"/dev/vda", "/dev/vdb"}}); err == nil {
		t.Error("made a group of disks without a stamp")
	}
	if c := w.commands(); len(c) > 0 {
		t.Errorf("commands %v", c)
	}
}

// A disk with two paths is one disk, not a mirror.
func TestAnyDiskTwoPaths(t *testing.T) {
	f := facts("ab")
	f.Disks[1].Serial, f.Disks[1].WWN = f.Disks[0].Serial, f.Disks[0].WWN
	p := Make(Spec{Name: "tank", Layout: Mirror, Disks: []string{AnyDisk}}, f, nil)
	if len(p.Steps) > 0 || len(p.Problems) == 0 || !strings.Contains(p.Problems[0].What, "sda: A, sdb: A") {
		t.Errorf("plan %+v", p)
	}
}

// What LVM couldn't tell once is asked again, though no disk has changed.
func TestWatchTriesAgain(t *testing.T) {
	w := newWorld(t, "ab")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.restart()
	broken, told := true, 0
	m, _ = w.manager(func(o *Options) {
		o.Changed = func() { told++ }
		o.Runner = &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
			if broken && c.Args[0] == "fullreport" {
				return sys.Output{}, errors.New("busy")
			}
			return w.handle(c)
		}}
	})
	if err := m.Bring(t.Context(), tank); err == nil {
		t.Fatal("no error")
	}
	if err := m.refresh(t.Context()); err == nil {
		t.Fatal("no error")
	}
	broken = false
	if err := m.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil || told != 1 {
		t.Errorf("volume: %v; told %d times", err, told)
	}
}

// With a copy of a pool among the disks, a name means the one that is in use.
func TestVolumeOfTwins(t *testing.T) {
	w := newWorld(t, "")
	m, _ := w.manager(nil)
	twin := func(uuid string, active bool) lvm.Group {
		return lvm.Group{Name: "tank", UUID: uuid, Tags: []string{Tag}, Logical: []lvm.LogicalVolume{{Name: "golden", UUID: "lv-" + uuid, Type: "thin", Pool: dataVolume, Active: active}}}
	}
	m.active = map[string]bool{"tank-golden": true}
	m.facts.LVM.Groups = []lvm.Group{twin("copy", false), twin("used", true)}
	if _, uuid, _, err := m.Volume("tank", "golden"); uuid != "lv-used" || err != nil {
		t.Errorf("uuid %q, error %v", uuid, err)
	}
	m.facts.LVM.Groups = []lvm.Group{twin("copy", false), twin("used", false)}
	if _, uuid, _, err := m.Volume("tank", "golden"); err == nil {
		t.Errorf("uuid %q without knowing which", uuid)
	}
}

// A half-made disk that somebody has used for something else since is theirs.
func TestStampUnderOtherData(t *testing.T) {
	for _, tt := range []struct {
		name    string
		at      int
		data    string
		stamped bool
	}{
		{"nothing", 0, "", true},
		{"label of LVM", 512, "LABELONE", true},
		{"partition table", 450, "\x83", false},
		{"xfs", 0, "XFSB", false},
		{"ext4", 1024 + 56, "\x53\xef", false},
	} {
		w := newWorld(t, "a")
		m, _ := w.manager(nil)
		enc, err := Stamp{Pool: "tank", Disk: "A"}.encode()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		copy(b[stampOffset:], enc)
		copy(b[tt.at:], tt.data)
		w.disks["/dev/vda"].put(b, 0)
		d, err := m.diskNow("/dev/vda")
		if err != nil {
			t.Fatal(err)
		}
		if s, f, _ := m.examine(d, true); (s != nil) != tt.stamped || f.Blank {
			t.Errorf("%s: stamp %v, found %+v", tt.name, s, f)
		}
	}
}
