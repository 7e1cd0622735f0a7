package pool

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
)

// failing has a leg fail whose disks are here, at 900, and all tries to use them again.
func failing(f Facts, leg int) Facts {
	g := f.LVM.Groups[0]
	for _, v := range raidVolumes(g) {
		r := f.Devices[lvm.DeviceName(g.Name, v.Name)].Raid
		if leg < len(r.Legs) {
			r.Legs = r.Legs[:leg] + "D" + r.Legs[leg+1:]
		}
	}
	for pv := range f.failedDisks(g) {
		f.Lost = with(f.Lost, pv, time.Unix(900, 0))
		f.Tried = with(f.Tried, pv, Tries{maxTries, time.Unix(990, 0)})
	}
	f.Now = time.Unix(1000, 0)
	return f
}

// beside puts the pool of other facts beside those of f, under another name.
func beside(f, other Facts, name string) Facts {
	g := other.LVM.Groups[0]
	g.Name, g.UUID = name, "uuid-"+name
	f.LVM.Groups, f.Disks = append(f.LVM.Groups, g), append(f.Disks, other.Disks...)
	for n, d := range other.Devices {
		d.Name = strings.Replace(n, "tank-", name+"-", 1)
		f.Devices[d.Name] = d
	}
	f.Lost = maps.Clone(f.Lost)
	maps.Copy(f.Lost, other.Lost)
	f.Marked[g.UUID] = true
	return f
}

// sized gives a disk another size.
func sized(f Facts, letter string, size int64) Facts {
	for i := range f.Disks {
		if f.Disks[i].Path == "/dev/sd"+letter {
			f.Disks[i].Size = size
		}
	}
	return f
}

// The status says what will be done once a lost disk has been waited for; and then that
// is done.
func TestNext(t *testing.T) {
	at := time.Unix(900, 0)
	pair := func(letters string) Facts { return using(facts(letters, raid("raid1", 40, "a", "b"))) }
	for _, tt := range []struct {
		name   string
		f      Facts
		spares string
		other  string // disks that the configuration names for another pool
		want   string
		step   Step // the first one, of that kind; nil: none
	}{
		{"no other disk", losing(pair("ab"), "a", at), "", "", "the pool goes on without it", CutMissing{}},
		{"a blank disk", losing(pair("abx"), "a", at), "", "", "disk X takes its place", StampDisk{}},
		{"a spare", losing(pair("abs"), "a", at), "s", "", "spare S takes its place", StampDisk{}},
		{"a spare that isn't here", losing(pair("ab"), "a", at), "s", "", "the pool goes on without it", CutMissing{}},
		{"the second spare is here", losing(pair("abt"), "a", at), "st", "", "spare T takes its place", StampDisk{}},
		{"a spare that is too small", sized(losing(pair("abs"), "a", at), "s", 16*mib), "s", "", "the pool goes on without it", CutMissing{}},
		{"a spare on which something is", holding(losing(pair("abs"), "a", at), "s", "NTFS filesystem"), "s", "", "the pool goes on without it", CutMissing{}},
		{"a blank disk that another pool is to get", losing(pair("abx"), "a", at), "", "x", "the pool goes on without it", CutMissing{}},
		{"room to grow", losing(joining(joining(pair("abcd"), "c", 90, time.Time{}), "d", 90, time.Time{}), "a", at), "s", "", "other disks of the pool take its place", RepairVolume{}},
		{"failed, no other disk", failing(pair("ab"), 0), "", "", "nothing takes its place: no blank disk is free for it", nil},
		{"failed, a blank disk", failing(pair("abx"), 0), "", "", "disk X takes its place", StampDisk{}},
		{"failed, a small one", sized(failing(pair("abx"), 0), "x", 16*mib), "", "", "nothing takes its place: disk X is too small for what pool tank has lost", nil},
		{"failed, room to grow", failing(joining(pair("abc"), "c", 90, time.Time{}), 0), "", "", "other disks of the pool take its place", ReplaceLeg{}},
		{"one on which nothing lay", losing(joining(pair("abc"), "c", 90, time.Time{}), "c", at), "", "", "the pool goes on without it", DropMissing{}},
		{"failed, a disk that two pools lack", beside(failing(pair("abx"), 0), losing(using(facts("cd", raid("raid1", 40, "c", "d"))), "c", at), "attic"), "", "",
			"nothing takes its place: disk X is blank, and pool tank could take it as well as pool attic", nil},
	} {
		g := tt.f.LVM.Groups[0]
		tt.f.Newest = map[string][]string{g.UUID: tt.f.newest(g)}
		spec := Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "vm1", Size: 64 * mib}}, SpareAfter: 10 * time.Minute}
		for _, s := range tt.spares {
			spec.Spares = append(spec.Spares, strings.ToUpper(string(s)))
		}
		other := Spec{Name: "attic", Layout: Mirror}
		for _, s := range tt.other {
			other.Disks = append(other.Disks, strings.ToUpper(string(s)))
		}
		v := view{specs: []Spec{spec, other}, facts: tt.f}
		if got := v.next(spec, g, tt.f); !strings.HasPrefix(got, "; in 8m20s "+tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		tt.f.Now = tt.f.Now.Add(8*time.Minute + 20*time.Second)
		p := Make(spec, tt.f, tt.f.namedFor(v.specs, "tank"))
		var got []Step
		if len(p.Steps) > 0 {
			got = p.Steps[:1]
		}
		if len(got) == 1 && fmt.Sprintf("%T", got[0]) != fmt.Sprintf("%T", tt.step) || len(got) == 0 && tt.step != nil {
			t.Errorf("%s: then %v, want %T", tt.name, got, tt.step)
		}
		if got := v.next(spec, g, tt.f); got != "" {
			t.Errorf("%s: afterwards %q", tt.name, got)
		}
	}
}

// A disk has failed, and is waited for so long that it would be tried again.
func TestNextAfterALongWait(t *testing.T) {
	f := failing(using(facts("abx", raid("raid1", 40, "a", "b"))), 0)
	spec := Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, SpareAfter: 30 * 24 * time.Hour}
	v := view{specs: []Spec{spec}, facts: f}
	if got := v.next(spec, f.LVM.Groups[0], f); !strings.HasSuffix(got, " disk X takes its place") {
		t.Error(got)
	}
}

// Two pools lack a disk, and one comes that is blank.
func TestDiskForOneOfTwo(t *testing.T) {
	at := time.Unix(900, 0)
	spec := Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, SpareAfter: 10 * time.Minute}
	taken := []Step{stamp("x", false), AddDisk{"tank", "X", "/dev/sdx", true}}
	for _, tt := range []struct {
		name   string
		other  Facts
		size   int64
		change func(*Facts)
		steps  []Step
	}{
		{"both could use it", losing(using(facts("cd", raid("raid1", 40, "c", "d"))), "c", at), 1 << 30, nil, nil},
		{"it is too small for the other", losing(using(facts("cd", raid("raid1", 80, "c", "d"))), "c", at), 240 * mib, nil, taken},
		{"the other lacks none", using(facts("cd", raid("raid1", 40, "c", "d"))), 1 << 30, nil, taken},
		{"the other has failed", losing(losing(using(facts("cd", raid("raid1", 40, "c", "d"))), "c", at), "d", at), 1 << 30, nil, taken},
		{"someone has chosen it", losing(using(facts("cd", raid("raid1", 40, "c", "d"))), "c", at), 1 << 30, func(f *Facts) {
			f.Replace = map[string]Replacement{"tank": {Old: "A", New: "X"}}
		}, taken},
		{"the configuration names it", losing(using(facts("cd", raid("raid1", 40, "c", "d"))), "c", at), 1 << 30, func(f *Facts) { spec.Disks = []string{"X", "B"} }, taken},
	} {
		f := beside(losing(using(facts("abx", raid("raid1", 40, "a", "b"))), "a", at), tt.other, "attic")
		f = sized(f, "x", tt.size)
		f.Seen = map[string]time.Time{"X": time.Unix(950, 0)}
		f.Newest = map[string][]string{"uuid-tank": pvs("b")}
		if tt.change != nil {
			tt.change(&f)
		}
		p := Make(spec, f, nil)
		if diff := cmp.Diff(tt.steps, p.Steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		text := fmt.Sprint(p.Problems)
		if asks := strings.Contains(text, "pool tank could take it as well as pool attic") && strings.Contains(text, "sanctl disk replace A X"); asks != (tt.steps == nil) {
			t.Errorf("%s: problems %s", tt.name, text)
		}
	}
}

// A leg that lies on two disks fails: which of them it was, the kernel doesn't say. When
// one of them is pulled, the other is tried anew.
func TestHalfFails(t *testing.T) {
	f := failing(using(facts("abcdefghx", raid("raid10", 40, "ae", "bf", "cg", "dh"))), 0)
	f = sized(f, "x", 120*mib)
	f.Seen = map[string]time.Time{"X": time.Unix(950, 0)}
	f.Newest = map[string][]string{"uuid-tank": pvs("b", "c", "d", "f", "g", "h")}
	spec := Spec{Name: "tank", Layout: RAID10, Disks: strings.Split("A B C D E F G H", " "), SpareAfter: 10 * time.Minute}
	p := Make(spec, f, nil)
	if text := fmt.Sprint(p.Problems); len(p.Steps) > 0 || !strings.Contains(text, "disk X is too small") || !strings.Contains(text, "or remove the one of disks A, E that fails") {
		t.Errorf("%+v", p)
	}
	g := f.LVM.Groups[0]
	if diff := cmp.Diff(pvs("a", "e"), slices.Sorted(maps.Keys(f.stillTried(g)))); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
	f.Disks = slices.DeleteFunc(slices.Clone(f.Disks), func(d disk.Disk) bool { return d.ID() == "A" })
	if got := f.stillTried(g); len(got) > 0 {
		t.Errorf("after A was pulled: %+v", got)
	}
}
