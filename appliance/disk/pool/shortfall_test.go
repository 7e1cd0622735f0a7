package pool

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
)

// losing takes a disk away from a pool, at that time. It is 1000 then.
func losing(f Facts, letter string, at time.Time) Facts {
	path := "/dev/sd" + letter
	f.Disks = slices.DeleteFunc(slices.Clone(f.Disks), func(d disk.Disk) bool { return d.Path == path })
	g := &f.LVM.Groups[0]
	g.Missing++
	for i := range g.Physical {
		if pv := &g.Physical[i]; pv.Path == path {
			pv.Path, pv.Missing = "", true
			f.Lost = with(f.Lost, pv.UUID, at)
		}
	}
	for i := range g.Logical {
		if v := &g.Logical[i]; slices.Contains(v.Devices, path) {
			v.Devices[slices.Index(v.Devices, path)], v.Partial = "[unknown]", true
		}
	}
	for _, v := range g.Logical {
		if !isRaid(v) {
			continue
		}
		letters := ""
		for _, name := range v.Devices {
			image, _ := g.Volume(name)
			letters += map[bool]string{true: "D", false: "A"}[image.Partial]
		}
		f.Devices[lvm.DeviceName("tank", v.Name)] = lvm.Device{Raid: &lvm.Raid{Legs: letters, Action: "idle"}}
	}
	f.Now = time.Unix(1000, 0)
	return f
}

// joining gives a pool a disk on which nothing lies: since that time instead of a lost
// one, or to grow.
func joining(f Facts, letter string, extents int64, at time.Time) Facts {
	g := &f.LVM.Groups[0]
	g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/sd" + letter, UUID: "pv-" + letter, Extents: extents})
	g.Tags = append(g.Tags, memberTag("pv-"+letter, strings.ToUpper(letter)))
	if !at.IsZero() {
		f.Instead = with(f.Instead, strings.ToUpper(letter), Joined{g.UUID, at})
	}
	return f
}

// onDisks is a volume beside the thin pool, with a leg on each disk.
func onDisks(f Facts, name string, extents int64, letters ...string) Facts {
	g := &f.LVM.Groups[0]
	v := lvm.LogicalVolume{Name: name, Type: "raid1", Active: true, Size: extents * g.ExtentSize}
	for i, l := range letters {
		image := lvm.LogicalVolume{Name: fmt.Sprint(name, "_rimage_", i), Type: "linear", Hidden: true, Active: true, Size: v.Size, Devices: []string{"/dev/sd" + l}}
		v.Devices = append(v.Devices, image.Name)
		meta := image
		meta.Name, meta.Size, meta.Devices = fmt.Sprint(name, "_rmeta_", i), g.ExtentSize, []string{"/dev/sd" + l}
		g.Logical = append(g.Logical, image, meta)
		for i := range g.Physical {
			if g.Physical[i].UUID == "pv-"+l {
				g.Physical[i].Allocated += extents + 1
			}
		}
	}
	g.Logical = append(g.Logical, v)
	f.Devices[lvm.DeviceName("tank", name)] = lvm.Device{Raid: &lvm.Raid{Legs: strings.Repeat("A", len(letters)), Action: "idle"}}
	return f
}

// A leg that lies on two disks loses one: LVM moves it as a whole, for which there
// must be room.
func TestLossAfterGrowing(t *testing.T) {
	lose := func(letters string) Facts {
		f := losing(using(facts(letters, raid("raid10", 40, "ae", "bf", "cg", "dh"))), "a", time.Unix(900, 0))
		f.Newest = map[string][]string{"uuid-tank": pvs("b", "c", "d", "f", "g", "h")}
		f.Seen = map[string]time.Time{"X": time.Unix(950, 0), "Y": time.Unix(960, 0)}
		return f
	}
	spec := Spec{Name: "tank", Layout: RAID10, Disks: strings.Split("A B C D E F G H X Y", " "), Volumes: []VolumeSpec{{Name: "vm1", Size: 64 * mib}}, SpareAfter: 10 * time.Minute}

	// What is on E, the other half of the leg, isn't the newest.
	f := lose("abcdefgh")
	if diff := cmp.Diff(f.Newest["uuid-tank"], f.newest(f.LVM.Groups[0])); diff != "" {
		t.Errorf("newest (-want +got):\n%s", diff)
	}
	if c := diagnose(f.LVM.Groups[0], f); c.State != Absent || fmt.Sprint(c.Disks) != "[A]" {
		t.Errorf("%+v", c)
	}
	small := func(f Facts, size int64) Facts {
		for i := range f.Disks {
			f.Disks[i].Size = size
		}
		return f
	}
	// A leg has 80 extents, 40 of them on E, which has 16 besides.
	if p := Make(spec, small(lose("abcdefghx"), 116*mib), nil); len(p.Steps) > 0 || !strings.Contains(fmt.Sprint(p.Problems), "disk X is too small for what pool tank has lost: 120 MiB are needed, on one disk or on several") {
		t.Errorf("one small disk: %+v", p)
	}
	p := Make(spec, small(lose("abcdefghxy"), 100*mib), nil)
	if diff := cmp.Diff([]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}, stamp("y", false), AddDisk{"tank", "Y", "/dev/sdy", true}}, p.Steps); diff != "" {
		t.Errorf("two small disks (-want +got):\n%s", diff)
	}
	p = Make(spec, small(lose("abcdefghxy"), 120*mib), nil)
	if diff := cmp.Diff([]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, p.Steps); diff != "" {
		t.Errorf("a disk with room for the rest (-want +got):\n%s", diff)
	}

	f = lose("abcdefghx")
	if lost, works := f.needInstead(f.LVM.Groups[0], "A"), f.needInstead(f.LVM.Groups[0], "B"); lost != 120*mib || works != 360*mib {
		t.Errorf("to replace A by command %d bytes are needed, and %d to replace B", lost, works)
	}

	// One that was there before the loss is there for growing, until the wait is over.
	f = small(lose("abcdefghx"), 400*mib)
	f.Seen = nil
	if p := Make(spec, f, nil); len(p.Steps) > 0 {
		t.Errorf("a disk for growing: %+v", p)
	}
	f.Now = f.Now.Add(10 * time.Minute)
	if p := Make(spec, f, nil); cmp.Diff([]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, p.Steps) != "" {
		t.Errorf("a disk for growing, after the wait: %+v", p)
	}

	// It is there: what E has is free once A is given up.
	f = lose("abcdefghxy")
	add := func(letters string, extents int64) *lvm.Group {
		g := &f.LVM.Groups[0]
		f.Instead = map[string]Joined{"X": {"uuid-tank", time.Unix(980, 0)}, "Y": {"uuid-tank", time.Unix(990, 0)}}
		for _, l := range letters {
			g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/sd" + string(l), UUID: "pv-" + string(l), Extents: extents})
			g.Tags = append(g.Tags, memberTag("pv-"+string(l), strings.ToUpper(string(l))))
		}
		return g
	}
	g := add("x", 29)
	if p = Make(spec, f, nil); cmp.Diff([]Step{CutMissing{"tank", "A", pvs("a")}}, p.Steps) != "" {
		t.Errorf("room once it is given up: %+v", p)
	}
	for i := range g.Logical { // CutMissing
		if v := &g.Logical[i]; v.Partial {
			v.Type, v.Devices, v.Partial = "error", nil, false
		}
	}
	g.Physical, g.Missing = g.Physical[1:], 0
	for i := range g.Physical {
		if g.Physical[i].UUID == "pv-e" {
			g.Physical[i].Allocated = 0
		}
	}
	g.Tags = slices.DeleteFunc(g.Tags, func(t string) bool { return strings.HasPrefix(t, memberTag("pv-a", "")) })
	p = Make(spec, f, nil)
	if diff := cmp.Diff([]Step{
		RepairVolume{"tank", "thinpool_tmeta", "X", paths("x")},
		RepairVolume{"tank", "thinpool_tdata", "X, E", paths("xe")},
	}, p.Steps); diff != "" {
		t.Errorf("repair with what is free (-want +got):\n%s", diff)
	}
	f.Instead, f.Replace = nil, map[string]Replacement{"tank": {Old: "A", New: "X"}}
	if diff := cmp.Diff(p.Steps, Make(spec, f, nil).Steps); diff != "" {
		t.Errorf("repair on a disk that was chosen (-want +got):\n%s", diff)
	}
	// Nothing is given up that others need: the other copy isn't whole.
	f = lose("abcdefghxy")
	f.Devices["tank-thinpool_tdata"] = lvm.Device{Raid: &lvm.Raid{Legs: "DAaA", Action: "recover"}}
	add("x", 29)
	if p = Make(spec, f, nil); slices.ContainsFunc(p.Steps, func(s Step) bool { _, is := s.(CutMissing); return is }) {
		t.Errorf("given up while a leg is being filled: %+v", p)
	}

	// Both are there now; the metadata needs one of them only.
	f = lose("abcdefghxy")
	add("xy", 60)
	p = Make(spec, f, nil)
	if diff := cmp.Diff([]Step{
		RepairVolume{"tank", "thinpool_tmeta", "X", paths("x")},
		RepairVolume{"tank", "thinpool_tdata", "Y, X", paths("yx")}, // Y is emptier then
	}, p.Steps); diff != "" {
		t.Errorf("repair (-want +got):\n%s", diff)
	}
}

// What may be done before a lost disk was waited for.
func TestBeforeTheWait(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	pairs := func(letters string, legs ...string) Facts { return using(facts(letters, raid("raid1", 40, legs...))) }
	came := func(f Facts, letter string, size int64) Facts {
		f = sized(f, letter, size)
		f.Seen = with(f.Seen, strings.ToUpper(letter), at(950))
		return f
	}
	given := func(f Facts, letter string) Facts { // up
		g := &f.LVM.Groups[0]
		g.Tags = append(slices.Clone(g.Tags), strings.Replace(memberTag("pv-"+letter, strings.ToUpper(letter)), diskTag, goneTag, 1))
		return f
	}
	for _, tt := range []struct {
		name  string
		f     Facts
		disks string // that the configuration names
		steps []Step
		late  bool // the wait is over
	}{
		{"room to grow waits", joining(joining(losing(pairs("abcdef", "ac", "bd"), "a", at(900)), "e", 90, time.Time{}), "f", 90, time.Time{}), "abcdef", nil, false},
		{"a small blank disk doesn't make it be used", came(joining(joining(losing(pairs("abcdefx", "ac", "bd"), "a", at(900)), "e", 90, time.Time{}), "f", 90, time.Time{}), "x", 16*mib), "abcdef", nil, false},
		{"nor given up what may come back", came(joining(joining(losing(pairs("abcdefghx", "ace", "bdf"), "a", at(900)), "g", 60, time.Time{}), "h", 60, time.Time{}), "x", 16*mib), "abcdefgh", nil, false},
		{"one as large as the lost one is taken", came(joining(joining(losing(pairs("abcdefx", "ac", "bd"), "a", at(900)), "e", 90, time.Time{}), "f", 90, time.Time{}), "x", 240*mib), "abcdef",
			[]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, false},
		{"and given room by others, too", came(losing(using(facts("abcdx", larger(raid("raid1", 40, "ac", "bd"), "c", 60))), "a", at(900)), "x", 60*4*mib), "abcd",
			[]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, false},
		{"but not a small one", came(losing(using(facts("abcdx", larger(raid("raid1", 40, "ac", "bd"), "c", 60))), "a", at(900)), "x", 16*mib), "abcd", nil, false},
		{"when it has come, the lost one is given up", joining(losing(using(facts("abcdx", larger(raid("raid1", 40, "ac", "bd"), "c", 60))), "a", at(900)), "x", 60, at(980)), "abcd", []Step{CutMissing{"tank", "A", pvs("a")}}, false},
		{"without one, it isn't", losing(using(facts("abcd", larger(raid("raid1", 40, "ac", "bd"), "c", 60))), "a", at(900)), "abcd", nil, false},
		{"even if that had other things, too", came(losing(onDisks(onDisks(pairs("abcdx", "ac", "bd"), "fat", 12, "a", "b"), "big", 12, "c", "d"), "a", at(900)), "x", 60*4*mib), "abcd",
			[]Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, false},
		{"then the lost one is given up", joining(losing(pairs("abcdx", "ac", "bd"), "a", at(900)), "x", 60, at(980)), "abcd", []Step{CutMissing{"tank", "A", pvs("a")}}, false},
		{"but not one that has gone since", joining(losing(losing(pairs("abcdefghix", "adg", "beh", "cfi"), "a", at(900)), "b", at(995)), "x", 60, at(980)), "abcdefghi", nil, false},
		{"nor one that has nothing, but may come back", losing(joining(joining(losing(pairs("abcdexy", "ac", "bd"), "a", at(900)), "e", 60, time.Time{}), "x", 60, at(980)), "e", at(995)), "abcde", nil, false},
		{"two lost, one blank disk", joining(losing(losing(pairs("abcdefghix", "adg", "beh", "cfi"), "a", at(900)), "b", at(901)), "x", 60, at(980)), "abcdefghi", nil, false},
		{"the largest volume has lost nothing", joining(losing(onDisks(joining(joining(pairs("abcdefx", "ac", "bd"), "e", 60, time.Time{}), "f", 60, time.Time{}), "fat", 12, "e", "f"), "e", at(900)), "x", 60, at(980)), "abcdef",
			[]Step{RepairVolume{"tank", "fat", "X", paths("x")}}, false},
		{"one that the configuration names while it waits for another", losing(pairs("abx", "a", "b"), "a", at(900)), "abx", nil, false},
		{"one that it names instead", losing(pairs("abx", "a", "b"), "a", at(900)), "bx", []Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, false},
		{"and it still names one that was given up", given(losing(pairs("abx", "a", "b"), "a", at(900)), "z"), "bxz", []Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}, false},
		{"a disk that hangs is waited for", func() Facts {
			f := losing(pairs("abx", "a", "b"), "a", at(900))
			f.Disks, f.Unread = append(f.Disks, d("a")), map[string]bool{"sda": true}
			f.Found["sda"] = probe.Finding{What: "LVM2"}
			return f
		}(), "abx", nil, false},
		{"what had come has gone, and another one comes", func() Facts {
			f := joining(losing(using(facts("abcdxy", larger(raid("raid1", 40, "ac", "bd"), "c", 60))), "a", at(900)), "x", 60, at(930))
			f = came(losing(f, "x", at(940)), "y", 60*4*mib)
			f.Instead = map[string]Joined{"X": {"uuid-tank", at(930)}}
			return f
		}(), "abcd", []Step{stamp("y", false), AddDisk{"tank", "Y", "/dev/sdy", true}}, false},
		{"the metadata leaves the new disk to the data", joining(losing(pairs("abcx", "a", "b", "c"), "a", at(100)), "x", 42, at(980)), "abc",
			[]Step{RepairVolume{"tank", "thinpool_tmeta", "C", paths("c")}, RepairVolume{"tank", "thinpool_tdata", "X", paths("x")}}, true},
		{"a chosen disk has all it can take, and another one has room", func() Facts {
			f := joining(losing(pairs("axcf", "a", "x", "c"), "c", at(100)), "f", 60, time.Time{})
			f.Replace = map[string]Replacement{"tank": {Old: "B", New: "X"}}
			return f
		}(), "axcf", []Step{RepairVolume{"tank", "thinpool_tdata", "F", paths("f")}}, true},
	} {
		spec := Spec{Name: "tank", Layout: Mirror, SpareAfter: 10 * time.Minute}
		for _, l := range tt.disks {
			spec.Disks = append(spec.Disks, strings.ToUpper(string(l)))
		}
		if tt.late {
			tt.f.Now = at(2000)
		}
		tt.f.Newest = map[string][]string{"uuid-tank": tt.f.newest(tt.f.LVM.Groups[0])}
		if diff := cmp.Diff(tt.steps, Make(spec, tt.f, nil).Steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%+v", tt.name, diff, Make(spec, tt.f, nil).Problems)
		}
	}
}
