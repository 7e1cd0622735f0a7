package pool

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
)

// d makes a disk: d("a") is /dev/sda with serial number A.
func d(letter string) disk.Disk {
	return disk.Disk{Name: "sd" + letter, Path: "/dev/sd" + letter, Serial: strings.ToUpper(letter), WWN: "wwn-0x500000000000000" + letter, Size: 256 << 20}
}

// facts are blank disks, and groups.
func facts(letters string, groups ...lvm.Group) Facts {
	f := Facts{Found: map[string]probe.Finding{}, Stamped: map[string]Stamp{}}
	for _, l := range letters {
		x := d(string(l))
		f.Disks = append(f.Disks, x)
		f.Found[x.Name] = probe.Finding{Blank: true}
	}
	f.LVM.Groups, f.Marked = groups, map[string]bool{}
	for _, g := range groups {
		f.Marked[g.UUID] = true
	}
	return f
}

// group is a finished pool on disks; capitals are disks that are missing.
func group(name, letters string, volumes ...lvm.LogicalVolume) lvm.Group {
	g := lvm.Group{Name: name, UUID: "uuid-" + name, SystemID: lvm.SystemID, Tags: []string{Tag}, ExtentSize: 4 << 20}
	lame := false
	for _, l := range letters {
		low := strings.ToLower(string(l))
		pv := lvm.PhysicalVolume{Path: "/dev/sd" + low, UUID: "pv-" + low, Extents: 63, Allocated: 44}
		if low != string(l) {
			pv.Path, pv.Missing = "", true
			g.Missing++
			lame = true
		}
		g.Physical = append(g.Physical, pv)
		g.Tags = append(g.Tags, memberTag(pv.UUID, strings.ToUpper(low)))
	}
	g.Logical = append(g.Logical, lvm.LogicalVolume{Name: "thinpool", Type: "thin-pool", Size: 160 << 20, Partial: lame})
	for _, sub := range []string{"thinpool_tdata", "thinpool_tmeta"} {
		top := lvm.LogicalVolume{Name: sub, Hidden: true, Type: "raid1", Partial: lame}
		var parts []lvm.LogicalVolume
		for i, pv := range g.Physical {
			n := string(rune('0' + i))
			dev := []string{pv.Path}
			parts = append(parts,
				lvm.LogicalVolume{Name: sub + "_rimage_" + n, Hidden: true, Type: "linear", Partial: pv.Missing, Devices: dev},
				lvm.LogicalVolume{Name: sub + "_rmeta_" + n, Hidden: true, Type: "linear", Partial: pv.Missing, Devices: dev})
			top.Devices = append(top.Devices, sub+"_rimage_"+n)
		}
		g.Logical = append(append(g.Logical, top), parts...)
	}
	g.Logical = append(g.Logical, volumes...)
	return g
}

func thin(name string, size int64) lvm.LogicalVolume {
	return lvm.LogicalVolume{Name: name, UUID: "lv-" + name, Type: "thin", Pool: "thinpool", Size: size}
}

// active marks everything of a group as active.
func active(g lvm.Group) lvm.Group {
	g.Logical = slices.Clone(g.Logical)
	for i := range g.Logical {
		g.Logical[i].Active = true
	}
	return g
}

// linear makes the group's pool one without a mirror.
func linear(g lvm.Group) lvm.Group {
	var keep []lvm.LogicalVolume
	for _, v := range g.Logical {
		if strings.Contains(v.Name, "_rimage_") || strings.Contains(v.Name, "_rmeta_") {
			continue
		}
		if v.Type == "raid1" {
			v.Type, v.Devices = "linear", nil
		}
		keep = append(keep, v)
	}
	g.Logical = keep
	return g
}

// creating makes of a group one whose creation was interrupted.
func creating(g lvm.Group, logical ...lvm.LogicalVolume) lvm.Group {
	g.Tags = []string{Tag, creatingTag}
	g.Logical = logical
	if len(logical) == 0 {
		for i := range g.Physical {
			g.Physical[i].Allocated = 0
		}
	}
	return g
}

func foreign(g lvm.Group) lvm.Group { g.Tags = nil; return g }

func stamped(f Facts, letters string) Facts {
	for _, l := range letters {
		x := d(string(l))
		delete(f.Found, x.Name)
		f.Stamped[x.Name] = Stamp{Pool: "tank", Disk: x.Serial}
	}
	return f
}

func holding(f Facts, letter, what string) Facts {
	f.Found["sd"+letter] = probe.Finding{What: what, Offset: 1024}
	return f
}

func stamp(letter string, reset bool) Step {
	return StampDisk{Path: "/dev/sd" + letter, Stamp: Stamp{Pool: "tank", Disk: strings.ToUpper(letter)}, Reset: reset}
}

func paths(letters string) (p []string) {
	for _, l := range letters {
		p = append(p, "/dev/sd"+string(l))
	}
	return p
}

// newest has the witness know the disks that hold the newest state of the pool.
func newest(f Facts, letters ...string) Facts {
	f.Newest = map[string][]string{f.LVM.Groups[0].UUID: pvs(letters...)}
	return f
}

func pvs(letters ...string) (uuids []string) {
	for _, l := range letters {
		uuids = append(uuids, "pv-"+l)
	}
	return uuids
}

func usedWithout(missing string, here ...string) Step {
	return Remember{Pool: "tank", UUID: group("tank", "a").UUID, Newest: pvs(here...), Without: "disk " + missing}
}

func TestMake(t *testing.T) {
	mirror := func(disks ...string) Spec { return Spec{Name: "tank", Layout: Mirror, Disks: disks} }
	single := func(disks ...string) Spec { return Spec{Name: "tank", Layout: Single, Disks: disks} }
	volumes := func(s Spec, v ...VolumeSpec) Spec { s.Volumes = v; return s }
	boot := func(f Facts, names ...string) Facts { f.Boot = names; return f }
	half := Sizes{Data: 33, Meta: 2, Chunk: 64 << 10}
	tags := []string{"sanstick.disk.pv-a.A", "sanstick.disk.pv-b.B"}
	activate := Activate{Pool: "tank", Mode: lvm.Degraded}

	tests := []struct {
		name     string
		spec     Spec
		facts    Facts
		taken    map[string]string
		steps    []Step
		again    bool
		wait     string
		settle   bool
		problems []string // what each must contain
		health   status.Health
	}{
		// A new pool.
		{name: "new mirror", spec: mirror("A", "B"), facts: facts("abc"), again: true,
			steps: []Step{stamp("a", false), stamp("b", false), CreateGroup{"tank", paths("ab")}}},
		{name: "new by WWN", spec: single("wwn-0x500000000000000C"), facts: facts("abc"), again: true,
			steps: []Step{stamp("c", false), CreateGroup{"tank", paths("c")}}},
		{name: "a disk isn't here", spec: mirror("A", "X"), facts: facts("ab"), wait: "disk X", health: status.Failed, problems: []string{"disk X isn't here"}},
		{name: "a disk has a filesystem", spec: mirror("A", "B"), facts: holding(facts("ab"), "b", "ext4 filesystem"), health: status.Failed, problems: []string{"disk B isn't blank: it holds ext4 filesystem (at byte 1024)"}},
		{name: "a disk can't be read", spec: mirror("A", "B"), facts: holding(facts("ab"), "b", probe.Unreadable), health: status.Failed, problems: []string{"disk B can't be read"}},
		{name: "both unfit", spec: mirror("A", "B"), facts: boot(holding(facts("ab"), "b", "swap space"), "sda"), health: status.Failed, problems: []string{"disk A is the boot stick", "disk B isn't blank"}},
		{name: "not looked at", spec: single("A"), facts: Facts{Disks: []disk.Disk{d("a")}}, health: status.Failed, problems: []string{"hasn't been looked at"}},
		{name: "one serial number, two disks", spec: single("A"), facts: func() Facts { f := facts("ab"); f.Disks[1].Serial = "A"; return f }(), health: status.Failed, problems: []string{"2 disks call themselves A (sda: A, sdb: A)"}},
		{name: "one disk, two names", spec: mirror("A", "wwn-0x500000000000000a"), facts: facts("ab"), health: status.Failed, problems: []string{"names disk A twice"}},
		{name: "in another pool of ours", spec: mirror("A", "B"), facts: facts("ab", group("other", "b")), health: status.Failed, problems: []string{"disk B belongs to pool other"}},
		{name: "in a foreign group", spec: mirror("A", "B"), facts: facts("ab", foreign(group("other", "b"))), health: status.Failed, problems: []string{"disk B belongs to LVM volume group other"}},
		{name: "a partition of it in a group", spec: single("A"), facts: facts("a", lvm.Group{Name: "x", Physical: []lvm.PhysicalVolume{{Path: "/dev/sda3"}}}), health: status.Failed, problems: []string{"disk A belongs to LVM volume group x"}},
		{name: "taken", spec: single("A"), facts: facts("a"), taken: map[string]string{"sda": "first"}, health: status.Failed, problems: []string{"taken by pool first"}},
		{name: "read-only", spec: single("A"), facts: func() Facts { f := facts("a"); f.Disks[0].ReadOnly = true; return f }(), health: status.Failed, problems: []string{"is read-only"}},
		{name: "mirror of four", spec: mirror("A", "B", "C", "D"), facts: facts("abcd"), again: true,
			steps: []Step{stamp("a", false), stamp("b", false), stamp("c", false), stamp("d", false), CreateGroup{"tank", paths("abcd")}}},
		{name: "mirror of one", spec: mirror("A"), facts: facts("a"), health: status.Failed, problems: []string{"a pool of layout mirror has 2 or more disks, not 1"}},

		// Any disks.
		{name: "any: two blank ones", spec: mirror("*"), facts: boot(facts("abc"), "sda"), again: true, settle: true,
			steps: []Step{stamp("b", false), stamp("c", false), CreateGroup{"tank", paths("bc")}}},
		{name: "any: what isn't blank is left out", spec: single("*"), facts: holding(facts("abc"), "b", "NTFS filesystem"), again: true, settle: true,
			steps: []Step{stamp("a", false), stamp("c", false), CreateGroup{"tank", paths("ac")}}},
		{name: "any: too few", spec: mirror("*"), facts: holding(facts("ab"), "b", "NTFS filesystem"), wait: "2 blank disks (1 here)", settle: true, health: status.Failed, problems: []string{"needs 2 blank disks, and 1 are here; disk B isn't blank: it holds NTFS"}},
		{name: "any: one too many", spec: Spec{Name: "tank", Disks: []string{"*"}, Layout: RAID10}, facts: facts("abcde"), settle: true, wait: "one more blank disk", health: status.Failed, problems: []string{"has 4 or more and an even number of disks, not 5"}},
		{name: "any: exists", spec: mirror("*"), facts: facts("abc", group("tank", "ab")), steps: []Step{activate}},

		// Interrupted creation.
		{name: "after the first stamp", spec: mirror("A", "B"), facts: stamped(facts("ab"), "a"), again: true,
			steps: []Step{stamp("a", true), stamp("b", false), CreateGroup{"tank", paths("ab")}}},
		{name: "after both stamps, or with labels but no group", spec: mirror("A", "B"), facts: stamped(facts("ab"), "ab"), again: true,
			steps: []Step{stamp("a", true), stamp("b", true), CreateGroup{"tank", paths("ab")}}},
		{name: "stamped, the other one isn't here", spec: mirror("A", "B"), facts: stamped(facts("a"), "a"), wait: "disk B", health: status.Failed, problems: []string{"disk B isn't here"}},
		{name: "stamped, the other one has got data", spec: mirror("A", "B"), facts: holding(stamped(facts("ab"), "a"), "b", "xfs filesystem"), health: status.Failed, problems: []string{"disk B isn't blank"}},
		{name: "a label without group and stamp", spec: mirror("A", "B"), facts: holding(facts("ab"), "b", "LVM physical volume"), health: status.Failed, problems: []string{"disk B isn't blank: it holds LVM physical volume"}},
		{name: "after the group", spec: mirror("A", "B"), facts: facts("ab", creating(group("tank", "ab"))), again: true,
			steps: []Step{ClearStamps{paths("ab")}, CreateThinPool{Pool: "tank", Copies: 2, Sizes: half}, Finish{"tank", paths("ab"), tags}}},
		{name: "with half a thin pool", spec: mirror("A", "B"), facts: facts("ab", creating(group("tank", "ab"), lvm.LogicalVolume{Name: "thinpool", Type: "raid1"})), again: true,
			steps: []Step{RemoveUnfinished{"tank"}, ClearStamps{paths("ab")}, CreateThinPool{Pool: "tank", Copies: 2, Sizes: half}, Finish{"tank", paths("ab"), tags}}},
		{name: "single, after the group", spec: single("A"), facts: facts("a", creating(group("tank", "a"))), again: true,
			steps: []Step{ClearStamps{paths("a")}, CreateThinPool{Pool: "tank", Copies: 1, Sizes: Sizes{Data: 35, Meta: 2, Chunk: 64 << 10}}, Finish{"tank", paths("a"), tags[:1]}}},
		{name: "half-made and a disk is missing", spec: mirror("A", "B"), facts: facts("a", creating(group("tank", "aB"))), wait: "all disks of half-made pool tank", health: status.Failed, problems: []string{"a disk is missing"}},
		{name: "half-made and other disks are named", spec: mirror("A", "C"), facts: facts("abc", creating(group("tank", "ab"))), health: status.Failed, problems: []string{"the configuration names other disks"}},
		{name: "half-made mirror of five", spec: mirror("*"), facts: facts("abcde", creating(larger(group("tank", "abcde"), "d", 37))), again: true,
			steps: []Step{ClearStamps{paths("abcde")}, CreateThinPool{Pool: "tank", Copies: 2, Sizes: half, On: paths("da")}, Finish{"tank", paths("abcde"), slices.Concat(tags, []string{"sanstick.disk.pv-c.C", "sanstick.disk.pv-d.D", "sanstick.disk.pv-e.E"})}}},
		{name: "half-made mirror of four, with a thick volume as large as a disk", spec: volumes(mirror("A", "B", "C", "D"), VolumeSpec{Name: "fat", Size: 50 * 4 * mib, Thick: true}), facts: facts("abcd", creating(group("tank", "abcd"))), again: true,
			steps: []Step{ClearStamps{paths("abcd")}, CreateThinPool{Pool: "tank", Copies: 2, Sizes: half, On: paths("ab")}, Finish{"tank", paths("abcd"), slices.Concat(tags, []string{"sanstick.disk.pv-c.C", "sanstick.disk.pv-d.D"})}}},
		{name: "half-made mirror of two, with a thick volume that leaves little", spec: volumes(mirror("A", "B"), VolumeSpec{Name: "fat", Size: 50 * 4 * mib, Thick: true}), facts: facts("ab", creating(group("tank", "ab"))), again: true,
			steps: []Step{ClearStamps{paths("ab")}, CreateThinPool{Pool: "tank", Copies: 2, Sizes: Sizes{Data: 3, Meta: 2, Chunk: 64 << 10}}, Finish{"tank", paths("ab"), tags}}},
		{name: "half-made, of too few disks", spec: Spec{Name: "tank", Disks: []string{"*"}, Layout: RAID10}, facts: facts("ab", creating(group("tank", "ab"))), health: status.Failed, problems: []string{"on 2 disks"}},
		{name: "half-made of tiny disks", spec: single("A"), facts: facts("a", creating(lvm.Group{Name: "tank", ExtentSize: 4 << 20, Physical: []lvm.PhysicalVolume{{Path: "/dev/sda", UUID: "pv-a", Extents: 3}}})), health: status.Failed, problems: []string{"too small"}},

		// A pool that exists.
		{name: "activate", spec: mirror("A", "B"), facts: facts("ab", group("tank", "ab")), steps: []Step{activate}},
		{name: "active already", spec: mirror("A", "B"), facts: facts("ab", active(group("tank", "ab")))},
		{name: "a disk is missing", spec: mirror("A", "B"), facts: facts("a", group("tank", "aB")), wait: "disk B", steps: []Step{usedWithout("B", "a"), Activate{"tank", lvm.Partial}}},
		{name: "a disk is missing again", spec: mirror("A", "B"), facts: newest(facts("a", group("tank", "aB")), "a"), wait: "disk B", steps: []Step{Activate{"tank", lvm.Partial}}},
		{name: "out of date", spec: mirror("A", "B"), facts: newest(facts("b", group("tank", "Ab")), "a"), wait: "disk A", health: status.Failed, problems: []string{"out of date; the newest state is on disk A, which is missing"}},
		{name: "one of three is out of date", spec: mirror("A", "B", "C"), facts: newest(facts("bc", group("tank", "Abc")), "a", "c"), wait: "disk A", steps: []Step{usedWithout("A, B", "c"), Activate{"tank", lvm.Partial}}},
		{name: "the one of three that is out of date", spec: mirror("A", "B", "C"), facts: newest(facts("b", group("tank", "AbC")), "a", "c"), wait: "disk A, C", health: status.Failed, problems: []string{"disk A, C, which is missing"}},
		{name: "whole again", spec: mirror("A", "B"), facts: newest(facts("ab", group("tank", "ab")), "a"), steps: []Step{activate}},
		{name: "missing, and named by its WWN", spec: mirror("A", "wwn-0x500000000000000b"), facts: facts("a", group("tank", "aB")), wait: "disk B", steps: []Step{usedWithout("B", "a"), Activate{"tank", lvm.Partial}}},
		{name: "both missing in turn", spec: mirror("A", "B"), facts: facts("", group("tank", "AB")), wait: "disk A, B", health: status.Failed, problems: []string{"no mirror has what was on it"}},
		{name: "missing without a mirror", spec: single("A", "B"), facts: facts("a", linear(group("tank", "aB"))), wait: "disk B", health: status.Failed, problems: []string{"no mirror has what was on it"}},
		{name: "one leg on each side is gone", spec: mirror("A", "B"), facts: facts("a", func() lvm.Group {
			g := group("tank", "aB")
			for i := range g.Logical {
				if g.Logical[i].Name == "thinpool_tmeta_rmeta_0" {
					g.Logical[i].Partial = true
				}
			}
			return g
		}()), wait: "disk B", health: status.Failed, problems: []string{"no mirror"}},
		{name: "foreign group of that name", spec: mirror("A", "B"), facts: facts("ab", foreign(group("tank", "ab"))), health: status.Failed, problems: []string{"sanstick didn't make it"}},
		{name: "our tag, another system's ID", spec: mirror("A", "B"), facts: facts("ab", func() lvm.Group { g := group("tank", "ab"); g.SystemID = "other"; return g }()), health: status.Failed, problems: []string{"sanstick didn't make it"}},
		{name: "two of that name", spec: mirror("A", "B"), facts: facts("abcd", group("tank", "ab"), group("tank", "cd")), health: status.Failed, problems: []string{"exists 2 times: on disk A, disk B; and on disk C, disk D"}},
		{name: "pool on quite other disks", spec: mirror("A", "B"), facts: facts("abcd", group("tank", "cd")), health: status.Failed, problems: []string{"none of which the configuration names"}},
		{name: "one disk differs", spec: mirror("A", "C"), facts: facts("abc", group("tank", "ab")), steps: []Step{activate}, health: status.Degraded, problems: []string{"disk B belongs to pool tank, but", "names disk C for pool tank, but"}},
		{name: "no thin pool", spec: mirror("A", "B"), facts: facts("ab", func() lvm.Group { g := group("tank", "ab"); g.Logical = nil; return g }()), health: status.Failed, problems: []string{"has no thin pool"}},

		// Volumes.
		{name: "create, grow, keep", spec: volumes(mirror("A", "B"), VolumeSpec{Name: "new", Size: 10 << 20}, VolumeSpec{Name: "old", Size: 64 << 20}, VolumeSpec{Name: "same", Size: 9 << 20}),
			facts: facts("ab", active(group("tank", "ab", thin("old", 32<<20), thin("same", 12<<20), thin("kept", 4<<20)))), again: true,
			steps: []Step{CreateVolume{Pool: "tank", Volume: "new", Size: 12 << 20}, GrowVolume{Pool: "tank", Volume: "old", From: 32 << 20, Size: 64 << 20}}},
		{name: "shrink", spec: volumes(mirror("A", "B"), VolumeSpec{Name: "v", Size: 4 << 20}), facts: facts("ab", active(group("tank", "ab", thin("v", 8<<20)))), health: status.Degraded, problems: []string{"volumes never shrink"}},
		{name: "not thin", spec: volumes(mirror("A", "B"), VolumeSpec{Name: "thinpool", Size: 4 << 20}), facts: facts("ab", active(group("tank", "ab"))), health: status.Failed, problems: []string{"not thin"}},
		{name: "while degraded", spec: volumes(mirror("A", "B"), VolumeSpec{Name: "new", Size: 4 << 20}, VolumeSpec{Name: "old", Size: 64 << 20}),
			facts: facts("a", active(group("tank", "aB", thin("old", 32<<20)))), health: status.Degraded, steps: []Step{usedWithout("B", "a")},
			problems: []string{"volume new can't be created while disk B is missing", "volume old can't grow while disk B is missing"}},

		{name: "bad layout", spec: Spec{Name: "tank", Layout: "raid0", Disks: []string{"A"}}, facts: facts("a"), health: status.Failed, problems: []string{"layout"}},
		{name: "no disks", spec: Spec{Name: "tank", Layout: Single}, facts: facts("a"), health: status.Failed, problems: []string{"names no disks"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Make(tt.spec, tt.facts, tt.taken)
			problems := got.Problems
			got.Problems = nil
			want := Plan{Steps: tt.steps, Again: tt.again, Wait: tt.wait, Settle: tt.settle}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if len(problems) != len(tt.problems) {
				t.Fatalf("problems %+v, want %d", problems, len(tt.problems))
			}
			for i, p := range problems {
				if !strings.Contains(p.What, tt.problems[i]) || p.Health != tt.health || p.Do == "" {
					t.Errorf("problem %+v, want %s, %q and advice", p, tt.health, tt.problems[i])
				}
			}
		})
	}
}

// TestNothingDestructiveOnRefusal: a plan that refuses a pool, or waits for a
// new one, never writes.
func TestNothingDestructiveOnRefusal(t *testing.T) {
	for _, f := range []Facts{facts(""), facts("a"), holding(facts("ab"), "b", "x"), facts("ab", foreign(group("tank", "ab"))), facts("a", creating(group("tank", "aB")))} {
		for _, layout := range []string{Single, Mirror} {
			for _, disks := range [][]string{{"A", "B"}, {"A", "X"}} {
				p := Make(Spec{Name: "tank", Layout: layout, Disks: disks}, f, nil)
				refused := slices.ContainsFunc(p.Problems, func(x status.Problem) bool { return x.Health == status.Failed })
				if refused && len(p.Steps) > 0 {
					t.Errorf("refused with %v, and yet steps %v", p.Problems, p.Steps)
				}
			}
		}
	}
}

func TestSizes(t *testing.T) {
	pvs := func(extents ...int64) (p []lvm.PhysicalVolume) {
		for _, e := range extents {
			p = append(p, lvm.PhysicalVolume{Extents: e})
		}
		return p
	}
	const perTiB = 1 << 18 // extents of 4 MiB
	tests := []struct {
		name   string
		pvs    []lvm.PhysicalVolume
		layout string
		want   Sizes
		err    error
	}{
		{name: "256 MiB", pvs: pvs(63, 63), layout: Mirror, want: Sizes{Data: 55, Meta: 2, Chunk: 64 << 10}},
		{name: "the smallest leg counts", pvs: pvs(perTiB, perTiB/2), layout: Mirror, want: Sizes{Data: perTiB/2 - 2 - 128 - perTiB/40 - 1, Meta: 128, Chunk: 64 << 10}},
		{name: "a mirror of more begins on the largest", pvs: pvs(63, perTiB, perTiB+9, 80, 64), layout: Mirror, want: Sizes{Data: perTiB - 2 - 257 - 13108, Meta: 257, Chunk: 64 << 10}},
		{name: "single adds up", pvs: pvs(perTiB, perTiB/2), layout: Single, want: Sizes{Data: perTiB*3/2 - 384 - 19661, Meta: 384, Chunk: 64 << 10}},
		{name: "8 TiB", pvs: pvs(8*perTiB, 8*perTiB), layout: Mirror, want: Sizes{Data: 8*perTiB - 2 - 1024 - 104858, Meta: 1024, Chunk: 128 << 10}},
		{name: "100 TiB", pvs: pvs(100 * perTiB), layout: Single, want: Sizes{Data: 100*perTiB - 3840 - 5*perTiB, Meta: 3840, Chunk: 256 << 10}},
		{name: "too small", pvs: pvs(5), layout: Single, err: errTooSmall},
		{name: "nothing", layout: Single, err: errTooSmall},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sizes(lvm.Group{ExtentSize: 4 << 20, Physical: tt.pvs}, tt.layout)
			if err != tt.err {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sizes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMemberTag(t *testing.T) {
	for _, id := range []string{"WD-WCC4E1234567", "wwn-0x5000c500a1b2c3d4", "with space, comma#1", "a.b", ""} {
		tag := memberTag("Imi9Yv-6H22", id)
		if strings.ContainsAny(tag, " ,") {
			t.Errorf("tag %q", tag)
		}
		got := members(lvm.Group{Tags: []string{Tag, tag, diskTag + "junk"}})
		if diff := cmp.Diff(map[string]string{"Imi9Yv-6H22": id}, got); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
	}
}

// A configuration that isn't the user's own doesn't write to disks: the pool
// that is there is activated, and that is all.
func TestActivateOnly(t *testing.T) {
	p := Plan{Steps: []Step{
		StampDisk{Path: "/dev/vda"}, CreateGroup{Pool: "tank"}, Activate{Pool: "tank"},
		CreateVolume{Pool: "tank", Volume: "vm1"}, GrowVolume{Pool: "tank", Volume: "vm2"},
	}, Again: true}
	p.activateOnly("tank")
	if diff := cmp.Diff([]Step{Activate{Pool: "tank"}}, p.Steps); diff != "" {
		t.Errorf("steps (-want +got)\n%s", diff)
	}
	if p.Again || len(p.Problems) != 1 || p.Problems[0].Health != status.Degraded {
		t.Errorf("again %v, problems %+v; want the restriction told once", p.Again, p.Problems)
	}

	p = Plan{Steps: []Step{Activate{Pool: "tank"}}}
	p.activateOnly("tank")
	if len(p.Problems) != 0 {
		t.Errorf("nothing was held back, but problems are %+v", p.Problems)
	}
}
