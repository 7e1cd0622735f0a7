package pool

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

func TestThickOnEachLayout(t *testing.T) {
	roomy := func(g lvm.Group, free ...int64) lvm.Group {
		for i := range g.Physical {
			g.Physical[i].Extents = g.Physical[i].Allocated + free[min(i, len(free)-1)]
		}
		return g
	}
	single := lvm.Group{Name: "tank", ExtentSize: 4 * mib, Physical: make([]lvm.PhysicalVolume, 2), Logical: []lvm.LogicalVolume{{Name: "thinpool_tdata", Hidden: true, Type: "linear", Devices: []string{"/dev/sda"}}}}
	tags := []string{thickTag, "sanstick.clearing.0.0"}
	for _, tt := range []struct {
		name    string
		g       lvm.Group
		want    []Step
		problem string
	}{
		{"single", roomy(single, 16), []Step{CreateThick{"tank", "fat", "", 1, 12 * mib, tags, nil}}, ""},
		{"mirror of three", roomy(raid("raid1", 40, "a", "b", "c"), 16), []Step{CreateThick{"tank", "fat", lvm.Raid1, 3, 12 * mib, tags, paths("abc")}}, ""},
		{"raid10", roomy(raid("raid10", 40, "a", "b", "c", "d"), 16), []Step{CreateThick{"tank", "fat", lvm.Raid10, 2, 16 * mib, tags, paths("abcd")}}, ""},
		{"raid5 on the emptiest", roomy(raid("raid5", 40, "ad", "be", "cf"), 8, 20, 8, 20, 8, 20), []Step{CreateThick{"tank", "fat", lvm.Raid5, 2, 16 * mib, tags, paths("def")}}, ""},
		{"raid6", roomy(raid("raid6", 40, "a", "b", "c", "d", "e"), 16), []Step{CreateThick{"tank", "fat", lvm.Raid6, 3, 12 * mib, tags, paths("abcde")}}, ""},
		{"no room", roomy(raid("raid5", 40, "a", "b", "c"), 20, 20, 8), nil, "volume fat can't get 16 MiB in pool tank: outside of the thin pool there are 8 MiB"},
	} {
		var p Plan
		p.planNewVolume(Spec{Name: "tank"}, VolumeSpec{Name: "fat", Size: 9 * mib, Thick: true}, tt.g, "")
		if diff := cmp.Diff(tt.want, p.Steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if tt.problem != "" && (len(p.Problems) != 1 || p.Problems[0].What != tt.problem) || tt.problem == "" && len(p.Problems) > 0 {
			t.Errorf("%s: %+v, want %q", tt.name, p.Problems, tt.problem)
		}
	}
	// What one takes the next one doesn't get.
	two := Spec{Name: "tank", Volumes: []VolumeSpec{{Name: "a", Size: 16 * mib, Thick: true}, {Name: "b", Size: 16 * mib, Thick: true}}}
	var p Plan
	p.planVolumes(two, roomy(raid("raid5", 40, "a", "b", "c"), 11), "")
	if len(p.Steps) != 1 || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].What, "volume b can't get 16 MiB") {
		t.Errorf("%+v", p)
	}
}

func TestGrowThick(t *testing.T) {
	fat := func(tags ...string) lvm.Group {
		g := raid("raid5", 40, "ad", "be", "cf")
		v := lvm.LogicalVolume{Name: "fat", Type: "raid5_ls", Size: 16 * mib, Tags: append(tags, thickTag), Active: true}
		for i, path := range paths("abc") {
			name := []string{"fat_rimage_0", "fat_rimage_1", "fat_rimage_2"}[i]
			v.Devices = append(v.Devices, name)
			g.Logical = append(g.Logical, lvm.LogicalVolume{Name: name, Hidden: true, Type: "linear", Size: 8 * mib, Devices: []string{path}})
		}
		g.Logical = append(g.Logical, v)
		for i := range g.Physical { // a and d, which have a part of the pool each, are full sooner
			g.Physical[i].Extents = g.Physical[i].Allocated + []int64{9, 20, 9, 20, 9, 20}[i]
		}
		return g
	}
	for _, tt := range []struct {
		name string
		g    lvm.Group
		size int64
		want Step
	}{
		{"marked first", fat(), 32 * mib, TagVolume{Pool: "tank", Volume: "fat", Add: []string{"sanstick.clearing.16777216.16777216"}}},
		{"on its disks", fat("sanstick.clearing.16777216.16777216"), 32 * mib, GrowVolume{"tank", "fat", 16 * mib, 32 * mib, paths("abc")}},
		{"as far as they go", fat("sanstick.clearing.16777216.16777216"), 100 * mib, GrowVolume{"tank", "fat", 16 * mib, 40 * mib, paths("abc")}},
		{"no room", fat(), 400 * mib, nil},
	} {
		var p Plan
		p.planVolume(Spec{Name: "tank"}, VolumeSpec{Name: "fat", Size: tt.size, Thick: true}, tt.g, "")
		if tt.want == nil && (len(p.Steps) > 0 || len(p.Problems) != 1) || tt.want != nil && (len(p.Steps) != 1 || !cmp.Equal(tt.want, p.Steps[0])) {
			t.Errorf("%s: %+v, want %+v", tt.name, p, tt.want)
		}
	}
}

func TestClearingTag(t *testing.T) {
	for _, tt := range []struct {
		tags []string
		want clearing
		is   bool
	}{
		{nil, clearing{}, false},
		{[]string{"sanstick.clearing.0.0"}, clearing{}, true},
		{[]string{clearing{4, 9}.tag()}, clearing{4, 9}, true},
		{[]string{"sanstick.clearing.9.4"}, clearing{}, true},
		{[]string{"sanstick.clearing.0.1000"}, clearing{}, true},
		{[]string{"sanstick.clearing.x"}, clearing{}, true},
	} {
		if c, is := clearingOf(lvm.LogicalVolume{Size: 100, Tags: tt.tags}); c != tt.want || is != tt.is {
			t.Errorf("%v: %+v, %v", tt.tags, c, is)
		}
	}
}

// dirty is a volume full of what others left.
type dirty struct {
	data []byte
	sure int // bytes that were zero when it was flushed last
	fail error
}

func (d *dirty) ReadAt(p []byte, off int64) (int, error) { return copy(p, d.data[off:]), nil }
func (d *dirty) Close() error                            { return nil }
func (d *dirty) WriteAt(p []byte, off int64) (int, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	return copy(d.data[off:], p), nil
}

func (d *dirty) Sync() error {
	d.sure = 0
	for d.sure < len(d.data) && d.data[d.sure] == 0 {
		d.sure++
	}
	return nil
}

func TestClearing(t *testing.T) {
	w := newWorld(t, "ab")
	d := &dirty{}
	clock := &clock{time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	changed := 0
	options := func(o *Options) {
		o.Now, o.Changed = clock.now, func() { changed++ }
		o.OpenVolume = func(path string) (Device, error) {
			if path != "/dev/mapper/tank-fat" {
				t.Errorf("opened %s", path)
			}
			return d, nil
		}
	}
	m, _ := w.manager(options)
	specs := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "fat", Size: 40 * mib, Thick: true}}}}
	if err := m.Bring(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	for range 40 * mib {
		d.data = append(d.data, 0xdd)
	}
	cleared := func() float64 {
		pools, _, _ := m.Status(t.Context())
		if p := pools[0].Volumes[0].Cleared; p != nil {
			return *p
		}
		return -1
	}
	refused := func() bool { _, err := m.Export("tank", "fat"); return errors.Is(err, ErrClearing) }
	if !refused() || cleared() != 0 {
		t.Errorf("a new volume: refused %v, cleared %v", refused(), cleared())
	}
	tag := func() string {
		v, _ := w.groups[0].Volume("fat")
		text, _ := tagValue(v, clearTag)
		return text
	}

	// An error is told, and nothing counts as cleared.
	d.fail = errors.New("a bad disk")
	if _, err := m.clearSome(t.Context()); !errors.Is(err, d.fail) || cleared() != 0 {
		t.Errorf("error %v, cleared %v", err, cleared())
	}
	d.fail = nil

	// How far it is, is noted now and then, and never more than was flushed.
	v, _ := w.groups[0].Volume("fat")
	clear(d.data[:20*mib])
	g, _ := view{facts: m.known()}.group("tank")
	if err := m.saveCleared(t.Context(), g, v, clearing{0, 20 * mib}, false); err != nil {
		t.Fatal(err)
	}
	if tag() != "0.20971520" || cleared() != 50 || !refused() {
		t.Errorf("tag %s, cleared %v", tag(), cleared())
	}

	// After a restart it goes on from there.
	w.restart()
	m, _ = w.manager(options)
	if err := m.Bring(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	if cleared() != 50 || !refused() {
		t.Errorf("after a restart %v %% are cleared", cleared())
	}
	d.data[0] = 1 // what was done isn't done again
	for range 20 {
		if worked, err := m.clearSome(t.Context()); err != nil {
			t.Fatal(err)
		} else if !worked {
			break
		}
	}
	d.data[0] = 0
	d.Sync()
	if refused() || cleared() != -1 || d.sure != int(40*mib) || tag() != "" || changed != 1 {
		t.Errorf("at the end: refused %v, cleared %v, zeros %d, tag %q, told %d times", refused(), cleared(), d.sure, tag(), changed)
	}
	if n, known := m.Usable(identity(lvm.LogicalVolume{UUID: "none"})); known {
		t.Errorf("%d bytes of what isn't there", n)
	}
	usable := func(identity string) int64 {
		n, known := m.Usable(identity)
		if !known {
			t.Error("it isn't known")
		}
		return n
	}

	// One that grows goes on to be served, as large as it was.
	specs[0].Volumes[0].Size = 48 * mib
	if err := m.Bring(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	for range 8 * mib {
		d.data = append(d.data, 0xdd)
	}
	e, err := m.Export("tank", "fat")
	if err != nil || e.Size != 40*mib || usable(e.Identity) != 40*mib || cleared() != 0 {
		t.Errorf("%+v, %v; cleared %v", e, err, cleared())
	}
	d.data[0] = 1
	for range 20 {
		if _, err := m.clearSome(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := m.Export("tank", "fat"); err != nil || e.Size != 48*mib || usable(e.Identity) != -1 || d.data[0] != 1 || d.data[47*mib] != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}
