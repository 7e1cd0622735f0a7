package pool

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// ReadAt is that of memDisk. On a disk of a group the header of LVM's metadata is
// another one after each change, whoever made it.
func (d openDisk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.memDisk.ReadAt(p, off)
	if err == nil && off == 0 && len(p) == labelArea {
		d.w.mu.Lock()
		defer d.w.mu.Unlock()
		if slices.ContainsFunc(d.w.groups, func(g *lvm.Group) bool {
			return slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.Path == d.path })
		}) {
			copy(p[4096:], d.w.metadata())
		}
	}
	return n, err
}

// metadata stands for what LVM has written: all of its report but what is only
// true of now.
func (w *world) metadata() []byte {
	h := fnv.New128a()
	fmt.Fprint(h, w.seq)
	for _, g := range w.groups {
		fmt.Fprintf(h, "%+v", *g)
		for _, v := range g.Logical {
			for _, l := range w.legsOf(g.Name, v.Name) {
				fmt.Fprintf(h, " %s", l.pv)
			}
		}
	}
	return h.Sum(nil)
}

// worldMapper tells what is active in a world.
type worldMapper struct{ w *world }

func (x worldMapper) Targets(_ context.Context, table bool) (string, error) {
	args := []string{"status", "--noflush"}
	if table {
		args = []string{"table"}
	}
	out, err := x.w.handle(sys.Command{Name: "/sbin/dmsetup", Args: args})
	return string(out.Stdout), err
}

func (x worldMapper) Suspended(context.Context) ([]string, error) {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	return slices.Sorted(maps.Keys(x.w.suspended)), nil
}

func (x worldMapper) UUID(_ context.Context, name string) (string, error) {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	for _, g := range x.w.groups {
		for _, v := range g.Logical {
			if lvm.DeviceName(g.Name, v.Name) == name {
				return fmt.Sprintf("LVM-%-32s%s", strings.ReplaceAll(g.UUID, "-", ""), strings.ReplaceAll(v.UUID, "-", "")), nil
			}
		}
	}
	return "", fmt.Errorf("no device %s", name)
}

// quick is a Manager that counts LVM's reports.
func quick(w *world, numbers func(pool, volume string) []LUN) (m *Manager, reports *int) {
	reports = new(int)
	m, _ = w.manager(func(o *Options) {
		o.Now = func() time.Time { return monday }
		o.Mapper = worldMapper{w}
		o.Numbers = numbers
		o.Runner = &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
			if len(c.Args) > 0 && c.Args[0] == "fullreport" {
				*reports++
			}
			return w.handle(c)
		}}
	})
	return m, reports
}

// asRead is LVM's state, in an order of its own.
func asRead(m *Manager) lvm.State {
	s := m.known().LVM
	s.Groups = slices.Clone(s.Groups)
	for i := range s.Groups {
		all := slices.Clone(s.Groups[i].Logical)
		for j := range all {
			all[j].Tags = slices.Sorted(slices.Values(all[j].Tags))
		}
		slices.SortFunc(all, func(a, b lvm.LogicalVolume) int { return strings.Compare(a.Name, b.Name) })
		s.Groups[i].Logical = all
	}
	return s
}

// TestNoted checks that LVM isn't asked again for what a command has done, and
// that what is noted instead is what it would have answered.
func TestNoted(t *testing.T) {
	w := newWorld(t, "ab")
	numbers := func(pool, volume string) []LUN {
		if volume == "second" {
			return []LUN{{pool, volume, "vm", 7}}
		}
		return nil
	}
	m, reports := quick(w, numbers)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	wider := slices.Clone(tank)
	wider[0].Volumes = append(slices.Clone(tank[0].Volumes), VolumeSpec{Name: "second", Size: 32 << 20}, VolumeSpec{Name: "copy", From: "golden@monday"})
	commands := []struct {
		name string
		do   func() error
		want int // commands of LVM
	}{
		{"snapshot", func() error { _, err := m.Snapshot(t.Context(), "golden", "monday"); return err }, 1},
		{"clone", func() error { return m.Clone(t.Context(), "golden", "clone") }, 1},
		{"configuration", func() error { return m.Bring(t.Context(), wider) }, 2},
		{"LUN number that the volume has already", func() error { return m.KeepLUNs(t.Context(), []LUN{{"tank", "second", "vm", 7}}) }, 0},
		{"LUN number", func() error { return m.KeepLUNs(t.Context(), []LUN{{"tank", "golden", "vm", 3}}) }, 1},
		{"snapshot after that", func() error { _, err := m.Snapshot(t.Context(), "second", "tuesday"); return err }, 1},
	}
	for _, c := range commands {
		*reports = 0
		w.commands()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if *reports != 0 {
			t.Errorf("%s: LVM was asked %d times", c.name, *reports)
		}
		if log := w.commands(); len(log) != c.want {
			t.Errorf("%s: ran %q, want %d commands", c.name, log, c.want)
		}
		noted := asRead(m)
		if err := m.readLVM(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(asRead(m), noted); diff != "" {
			t.Errorf("%s: what is noted (-want +got):\n%s", c.name, diff)
		}
	}
	if want := []LUN{{"tank", "golden", "vm", 3}, {"tank", "second", "vm", 7}}; len(m.LUNs()) != len(want) || !slices.Contains(m.LUNs(), want[1]) {
		t.Errorf("LUNs %+v, want %+v", m.LUNs(), want)
	}
}

// TestChangedByOthers checks that what somebody else has done to LVM's metadata,
// or a command of ours that isn't noted, is seen by the next command.
func TestChangedByOthers(t *testing.T) {
	w := newWorld(t, "ab")
	m, reports := quick(w, nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(t.Context(), "golden", "monday"); err != nil {
		t.Fatal(err)
	}
	*reports = 0
	if _, err := w.handle(sys.Command{Name: "/sbin/lvm", Args: []string{"lvcreate", "--snapshot", "--addtag", "sanstick.created.1", "-n", "golden+other", "tank/golden"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(t.Context(), "golden", "other"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a snapshot that somebody else has made: %v", err)
	}
	if *reports == 0 {
		t.Error("LVM wasn't asked though its metadata had changed")
	}
	if err := m.Rename(t.Context(), "golden", "silver"); err != nil {
		t.Fatal(err)
	}
	*reports = 0
	if err := m.Clone(t.Context(), "silver@monday", "clone"); err != nil {
		t.Error(err)
	}
	if *reports != 0 {
		t.Errorf("LVM was asked %d times after a command that had read all", *reports)
	}

	// A disk that can't be read gives no mark, and then LVM is asked.
	w.unplug("b")
	*reports = 0
	if err := m.Clone(t.Context(), "silver@monday", "another"); err == nil || *reports == 0 {
		t.Errorf("without a disk: error %v, LVM was asked %d times", err, *reports)
	}
}

// TestVerified checks that what was noted is asked for later.
func TestVerified(t *testing.T) {
	w := newWorld(t, "ab")
	m, reports := quick(w, nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if err := m.Clone(t.Context(), "golden", "clone"); err != nil {
		t.Fatal(err)
	}
	*reports = 0
	if err := m.refresh(t.Context()); err != nil || *reports != 0 {
		t.Errorf("at once: %v, LVM was asked %d times", err, *reports)
	}
	m.verify = time.Now().Add(-time.Second)
	if err := m.refresh(t.Context()); err != nil || *reports != 1 {
		t.Errorf("later: %v, LVM was asked %d times, want once", err, *reports)
	}
	if err := m.refresh(t.Context()); err != nil || *reports != 1 {
		t.Errorf("after that: %v, LVM was asked %d times, want no more", err, *reports)
	}
}

// A disk that couldn't be read is used again when it can be, though nothing tells
// so: not even its metadata has changed.
func TestReadableAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(w *world) map[string]bool
	}{
		{"by anybody", func(w *world) map[string]bool { return w.unread }},
		{"by LVM, once", func(w *world) map[string]bool { return w.blind }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "ab", nil)
			later := func() {
				b.verify = time.Now().Add(-time.Second)
				for name := range b.reread {
					b.reread[name] = time.Time{}
				}
				b.look()
			}
			bad := tt.bad(b.world)
			bad["/dev/vdb"], b.broken["/dev/vdb"] = true, true
			b.write()
			b.marked = "" // for some reason LVM is asked
			later()
			b.wants(Absent, "disk B can't be read; the pool works with what is left")
			if b.verify.IsZero() {
				t.Fatal("LVM won't be asked again")
			}
			later()
			b.wants(Absent, "disk B can't be read; the pool works with what is left")
			delete(bad, "/dev/vdb")
			delete(b.broken, "/dev/vdb")
			if b.verify.IsZero() {
				t.Fatal("LVM won't be asked again")
			}
			later()
			b.world.sync()
			b.look()
			b.wants(Healthy)
			b.whole("/dev/vda", "/dev/vdb")
			if !b.verify.IsZero() && time.Until(b.verify) > verifyAfter {
				t.Error("LVM will be asked again, and all can be read")
			}
		})
	}
}

// So is a disk that belongs to nothing.
func TestBlankReadableAgain(t *testing.T) {
	w := newWorld(t, "abc")
	m, _ := quick(w, nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.unplug("c")
	if err := m.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.unread["/dev/vdc"] = true
	w.plug("c")
	look := func() probe.Finding {
		for name := range m.reread {
			m.reread[name] = time.Time{}
		}
		if err := m.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		return m.known().Found["vdc"]
	}
	for range 2 {
		if f := look(); f.What != probe.Unreadable {
			t.Errorf("found %v", f)
		}
	}
	delete(w.unread, "/dev/vdc")
	if f := look(); !f.Blank {
		t.Errorf("found %v, want it blank", f)
	}
}
