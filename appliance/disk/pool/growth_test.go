package pool

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

// raid is a pool whose data lies on legs, each a string of the letters of its disks,
// with the size of the part on each of them in extents. Its metadata lies on the
// first two legs' first disks.
func raid(kind string, part int64, legs ...string) lvm.Group {
	g := lvm.Group{Name: "tank", UUID: "uuid-tank", SystemID: lvm.SystemID, Tags: []string{Tag}, ExtentSize: 4 * mib}
	stripes := map[string]int64{"raid1": 1, "raid10": int64(len(legs)) / 2, "raid5": int64(len(legs)) - 1, "raid6": int64(len(legs)) - 2}[kind]
	data := lvm.LogicalVolume{Name: "thinpool_tdata", Hidden: true, Active: true, Type: kind}
	meta := lvm.LogicalVolume{Name: "thinpool_tmeta", Hidden: true, Active: true, Type: "raid1", Size: 8 * mib}
	images := func(top *lvm.LogicalVolume, i int, size int64, on ...string) {
		image := lvm.LogicalVolume{Name: fmt.Sprint(top.Name, "_rimage_", i), Hidden: true, Active: true, Type: "linear", Size: size}
		for _, letter := range on {
			image.Devices = append(image.Devices, "/dev/sd"+letter)
		}
		top.Devices = append(top.Devices, image.Name)
		g.Logical = append(g.Logical, image)
		image.Name = strings.Replace(image.Name, "_rimage_", "_rmeta_", 1)
		image.Size, image.Devices = g.ExtentSize, slices.Clone(image.Devices[:1])
		g.Logical = append(g.Logical, image)
	}
	for i, leg := range legs {
		data.Size = part * int64(len(leg)) * stripes * g.ExtentSize
		images(&data, i, part*int64(len(leg))*g.ExtentSize, strings.Split(leg, "")...)
		for _, letter := range strings.Split(leg, "") {
			g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/sd" + letter, UUID: "pv-" + letter, Extents: part + 20, Allocated: part + 4})
			g.Tags = append(g.Tags, memberTag("pv-"+letter, strings.ToUpper(letter)))
		}
	}
	images(&meta, 0, 8*mib, legs[0][:1])
	images(&meta, 1, 8*mib, legs[1][:1])
	g.Logical = append(g.Logical, data, meta,
		lvm.LogicalVolume{Name: "thinpool", Type: "thin-pool", Active: true, Size: data.Size}, active(lvm.Group{Logical: []lvm.LogicalVolume{thin("vm1", 64*mib)}}).Logical[0])
	return g
}

// using has the kernel run a pool, all of whose legs are well.
func using(f Facts) Facts {
	f.Devices = map[string]lvm.Device{poolDevice("tank"): {ThinPool: &lvm.ThinPool{TotalChunks: 1}}}
	for _, v := range f.LVM.Groups[0].Logical {
		d := lvm.Device{Name: lvm.DeviceName("tank", v.Name)}
		if isRaid(v) {
			d.Raid = &lvm.Raid{Legs: strings.Repeat("A", len(v.Devices)), Action: "idle"}
		}
		f.Devices[d.Name] = d
	}
	return f
}

func TestRounds(t *testing.T) {
	resize := func(g lvm.Group, letter string, free int64) lvm.Group {
		for i := range g.Physical {
			if g.Physical[i].UUID == "pv-"+letter {
				g.Physical[i].Extents = g.Physical[i].Allocated + free
				return g
			}
		}
		g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/sd" + letter, UUID: "pv-" + letter, Extents: free})
		return g
	}
	of := func(kind string, legs []string, free ...any) lvm.Group {
		g := raid(kind, 100, legs...)
		for i := 0; i < len(free); i += 2 {
			g = resize(g, free[i].(string), int64(free[i+1].(int)))
		}
		return g
	}
	ten, five := []string{"a", "b", "c", "d"}, []string{"a", "b", "c"}
	for _, tt := range []struct {
		name string
		g    lvm.Group
		want rounds // in extents
	}{
		{"nothing free", of("raid5", five, "a", 6, "b", 6, "c", 6), nil},
		{"each leg goes on where it is", of("raid5", five, "a", 16, "b", 26, "c", 6+20), rounds{{20, paths("abc")}}},
		{"one larger disk", of("raid5", five, "a", 6, "b", 6, "c", 500), nil},
		{"larger disks for all", of("raid10", ten, "a", 206, "b", 206, "c", 206, "d", 306), rounds{{400, paths("abcd")}}},
		{"too few added", of("raid5", five, "a", 6, "b", 6, "c", 6, "e", 106, "f", 106), nil},
		{"a larger one and two added aren't three added", of("raid5", five, "a", 106, "b", 6, "c", 6, "e", 106, "f", 106), nil},
		{"as many as legs added", of("raid5", five, "a", 6, "b", 6, "c", 6, "e", 106, "f", 206, "g", 156), rounds{{200, paths("fge")}}},
		{"both", of("raid10", ten, "a", 16, "b", 16, "c", 16, "d", 16, "e", 106, "f", 106, "g", 106, "h", 106, "i", 306),
			rounds{{20, paths("abcd")}, {200, paths("iefg")}}},
		{"a mirror's copies", of("raid1", []string{"a", "b"}, "a", 6, "b", 6, "c", 106, "d", 126), rounds{{100, paths("dc")}}},
		{"a leg on two disks", of("raid5", []string{"ad", "be", "cf"}, "a", 6, "b", 6, "c", 6, "d", 26, "e", 16, "f", 36), rounds{{20, paths("adbecf")}}},
	} {
		v, _ := tt.g.Volume("thinpool_tdata")
		got := roomOf(tt.g, v, keptFree(tt.g))
		for i := range got {
			got[i].bytes /= 4 * mib
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(round{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if got := (rounds{{20, nil}, {30, nil}}).atMost(25); got.bytes() != 25 || len(got) != 2 {
		t.Errorf("at most 25: %+v", got)
	}
}

func TestAddingDisks(t *testing.T) {
	for _, tt := range []struct {
		name, layout string
		g            lvm.Group
		disks        string // that the configuration names
		steps        string // disks that are added
		problem      string
	}{
		{"raid10, four more", RAID10, raid("raid10", 40, "a", "b", "c", "d"), "abcdefgh", "efgh", ""},
		{"raid10, two more", RAID10, raid("raid10", 40, "a", "b", "c", "d"), "abcdef", "", "disk E, F yet: its data lies on 4 disks, each with as much of it, and grows by 4 disks at a time; 2 more are lacking"},
		{"raid5, four more", RAID5, raid("raid5", 40, "a", "b", "c"), "abcdefg", "def", "disk G yet: its data lies on 3 disks, each with as much of it, and grows by 3 disks at a time; 2 more are lacking"},
		{"raid6", RAID6, raid("raid6", 40, "a", "b", "c", "d", "e"), "abcdefghij", "fghij", ""},
		{"mirror, a third copy", Mirror, raid("raid1", 40, "a", "b"), "abc", "c", ""},
		{"mirror, two more", Mirror, raid("raid1", 40, "a", "b"), "abcd", "cd", ""},
		{"mirror, three more", Mirror, raid("raid1", 40, "a", "b"), "abcde", "cd", "disk E yet: its data lies on 2 disks, each with as much of it, and grows by 2 disks at a time; 1 more are lacking"},
		{"mirror of pairs", Mirror, raid("raid1", 40, "ac", "bd"), "abcdef", "ef", ""},
		{"mirror of three copies, one more", Mirror, raid("raid1", 40, "a", "b", "c"), "abcd", "", "disk D yet: its data lies on 3 disks, each with as much of it, and grows by 3 disks at a time; 2 more are lacking"},
		{"mirror of three copies, three more", Mirror, raid("raid1", 40, "a", "b", "c"), "abcdef", "def", ""},
	} {
		spec := Spec{Name: "tank", Layout: tt.layout, Volumes: []VolumeSpec{{Name: "vm1", Size: 64 * mib}}}
		for _, l := range tt.disks {
			spec.Disks = append(spec.Disks, strings.ToUpper(string(l)))
		}
		p := Make(spec, using(facts(tt.disks, tt.g)), nil)
		var want []Step
		for _, l := range tt.steps {
			want = append(want, stamp(string(l), false), AddDisk{Pool: "tank", Disk: strings.ToUpper(string(l)), Path: "/dev/sd" + string(l)})
		}
		if diff := cmp.Diff(want, p.Steps); diff != "" {
			t.Errorf("%s: steps (-want +got):\n%s", tt.name, diff)
		}
		text := fmt.Sprint(p.Problems)
		if tt.problem != "" && !strings.Contains(text, tt.problem) || tt.problem == "" && strings.Contains(text, "can't use") {
			t.Errorf("%s: problems %s, want %q", tt.name, text, tt.problem)
		}
	}
}

// larger gives a disk of a group more extents, or adds one that has them.
func larger(g lvm.Group, letter string, extents int64) lvm.Group {
	for i := range g.Physical {
		if g.Physical[i].UUID == "pv-"+letter {
			g.Physical[i].Extents += extents
			return g
		}
	}
	g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/sd" + letter, UUID: "pv-" + letter, Extents: extents})
	return g
}

func TestUnused(t *testing.T) {
	for _, tt := range []struct {
		name string
		g    lvm.Group
		want []string // disk, MiB, words
	}{
		{"all alike", raid("raid5", 40, "a", "b", "c"), nil},
		{"a larger one", larger(raid("raid5", 40, "a", "b", "c"), "b", 100), []string{"B", "400", "smallest, which is on disk A; replace"}},
		{"a leg on two disks", larger(raid("raid5", 40, "ad", "be", "cf"), "e", 100), []string{"E", "400", "disk A, D"}},
		{"too few added", larger(raid("raid5", 40, "a", "b", "c"), "e", 100), []string{"E", "376", "add 2 more"}},
		{"one copy", lvm.Group{ExtentSize: 4 * mib, Physical: []lvm.PhysicalVolume{{Extents: 100}}}, nil},
	} {
		got := facts("abcdef", tt.g).unused(tt.g)
		if len(got) != len(tt.want)/3 {
			t.Errorf("%s: %+v", tt.name, got)
		} else if len(got) == 1 && (got[0].Disk != tt.want[0] || fmt.Sprint(got[0].Bytes/mib) != tt.want[1] || !strings.Contains(got[0].Why, tt.want[2])) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestMoreDisks(t *testing.T) {
	for want, g := range map[string]lvm.Group{
		"add disks to the pool":   {Logical: []lvm.LogicalVolume{{Name: "thinpool_tdata", Type: "linear"}}},
		"add 3 disks to the pool": raid("raid1", 40, "a", "b", "c"),
		"add 2 disks to the pool": raid("raid1", 40, "ac", "bd"),
		"add two disks to the pool (one makes a third copy), or replace each of its disks by a larger one": raid("raid1", 40, "a", "b"),
		"add 4 disks to the pool": raid("raid10", 40, "ae", "bf", "cg", "dh"),
		"add 5 disks to the pool": raid("raid6", 40, "a", "b", "c", "d", "e"),
	} {
		if got := moreDisks(g); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
