package pool

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// room is how many bytes a disk must have to take any other's place in a group. In
// a pool that has grown a leg lies on several disks, and LVM moves it as a whole.
func room(g lvm.Group) int64 {
	var most int64
	for _, pv := range g.Physical {
		most = max(most, pv.Allocated)
	}
	for _, v := range raidVolumes(g) {
		for _, name := range v.Devices {
			var all int64
			image, _ := g.Volume(name)
			for _, pv := range g.Physical {
				if slices.Contains(image.Devices, pv.Path) {
					all += pv.Allocated
				}
			}
			most = max(most, all)
		}
	}
	// After a cut the lost disk isn't listed any more, but its equals are.
	return most*g.ExtentSize + 8*mib
}

// targets finds the disks of a pool, of those that count, that a leg of a volume can be
// put on: such that have none yet, with room; one if there is one that has it all, or
// else as few as will do. First come those that joined it for that, then the emptiest.
// lacks is by how many bytes their room is too small.
func (f Facts) targets(g lvm.Group, v lvm.LogicalVolume, counts func(member) bool) (on []member, lacks int64) {
	failed := f.failedDisks(g)
	has := map[string]bool{}
	for _, l := range f.legs(g) {
		for _, pv := range l.pvs {
			has[pv] = has[pv] || l.volume.Name == v.Name
		}
	}
	var all []member
	for _, m := range f.membersOf(g) {
		if m.here && !failed[m.pv.UUID] && f.Tried[m.pv.UUID].left(f.Now) && !has[m.pv.UUID] && m.free() > 0 && counts(m) {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b member) int {
		if i := f.instead(g, a); i != f.instead(g, b) {
			return map[bool]int{true: -1, false: 1}[i]
		}
		return cmp.Compare(b.free(), a.free())
	})
	lacks = legSize(g, v) + g.ExtentSize // for raid's own records
	if i := slices.IndexFunc(all, func(m member) bool { return m.free()*g.ExtentSize >= lacks }); i >= 0 {
		return all[i : i+1], 0
	}
	for _, m := range all {
		if lacks <= 0 {
			break
		}
		on, lacks = append(on, m), lacks-m.free()*g.ExtentSize
	}
	return on, max(lacks, 0)
}

// free is how many extents of a disk are free.
func (m member) free() int64 { return m.pv.Extents - m.pv.Allocated }

// places are the disks' names for people, and their paths for LVM.
func places(on []member) (ids string, paths []string) {
	var names []string
	for _, m := range on {
		names, paths = append(names, m.id), append(paths, m.pv.Path)
	}
	return strings.Join(names, ", "), paths
}

// legSize is how many bytes one leg of a volume has.
func legSize(g lvm.Group, v lvm.LogicalVolume) int64 {
	var most int64
	for _, name := range v.Devices {
		image, _ := g.Volume(name)
		most = max(most, image.Size)
	}
	return most
}

// rebuild puts lost legs on other disks of the pool that count, one of each volume. It
// tells whether there is room for all of these.
func (p *Plan) rebuild(f Facts, g lvm.Group, counts func(member) bool) bool {
	on, lacks := f.seats(g, counts, false)
	if lacks > 0 {
		return false
	}
	lost := map[string]member{}
	for _, m := range f.lostMembers(g) {
		lost[m.pv.UUID] = m
	}
	done, bad := map[string]bool{}, map[string]bool{}
	for _, l := range f.legs(g) {
		v := l.volume
		i := slices.IndexFunc(l.pvs, func(pv string) bool { return lost[pv].pv.UUID != "" })
		if done[v.Name] || !l.lost && i < 0 {
			continue
		}
		done[v.Name] = true
		ids, paths := places(on[v.Name])
		if l.lost {
			p.Steps = append(p.Steps, RepairVolume{Pool: g.Name, Volume: v.Name, Disk: ids, Paths: paths})
			continue
		}
		m := lost[l.pvs[i]]
		p.Steps = append(p.Steps, ReplaceLeg{Pool: g.Name, Volume: v.Name, From: m.pv.Path, To: paths, Disk: ids})
		bad[m.pv.UUID] = true
	}
	for _, m := range f.membersOf(g) {
		if bad[m.pv.UUID] {
			p.Steps = append(p.Steps, RemoveDisk{Pool: g.Name, Disk: m.id, Path: m.pv.Path})
		}
	}
	return true
}

// replace adds a disk that takes the place of a lost one; or several, if legs lie on
// several and no disk is large enough.
func (p *Plan) replace(spec Spec, f Facts, g lvm.Group, taken map[string]string, lost []member, waited, spare bool) bool {
	need := f.wanting(g, spare)
	if need == 0 {
		return false
	}
	chosen := f.Replace[g.Name].New
	if f.works(g, f.Replace[g.Name].Old) {
		chosen = ""
	}
	names := slices.Concat([]string{chosen}, spec.Disks)
	if waited {
		names = append(names, spec.Spares...)
	}
	// While the configuration names one that is missing, which may come back, what it
	// names besides is there to make the pool larger.
	awaits := !waited && slices.ContainsFunc(spec.Disks, func(n string) bool {
		if slices.Contains(goneDisks(g), n) || slices.ContainsFunc(f.membersOf(g), func(m member) bool { return m.here && m.disk.Is(n) }) {
			return false
		}
		found := disk.Find(f.Disks, n)
		if len(found) == 1 {
			why, _ := f.unfit(found[0], taken)
			return why != ""
		}
		return true
	})
	var named []disk.Disk
	for i, n := range names {
		if found := disk.Find(f.Disks, n); len(found) == 1 && !slices.Contains(named, found[0]) && (i == 0 || !awaits || f.late(found[0], lost)) {
			if why, _ := f.unfit(found[0], taken); why == "" {
				named = append(named, found[0])
			}
		}
	}
	blank := slices.DeleteFunc(f.blanks(taken, lost, waited), func(d disk.Disk) bool {
		return slices.Contains(named, d) || slices.ContainsFunc(spec.Spares, d.Is)
	})
	some := enough(named, blank, need)
	for _, d := range some {
		if others := f.lacking(g, d); slices.Contains(blank, d) && len(others) > 0 {
			p.problem(status.Degraded, fmt.Sprintf("disk %s is blank, and pool %s could take it as well as pool %s", d.ID(), g.Name, strings.Join(others, ", ")),
				fmt.Sprintf("say which: sanctl disk replace %s %s", name(lost), d.ID()))
			return false
		}
	}
	p.join(f, g, some, true)
	if len(some) == 0 && len(named)+len(blank) > 0 {
		p.problem(status.Degraded, fmt.Sprintf("disk %s is too small for what pool %s has lost: %s are needed, on one disk or on several", ids(slices.Concat(named, blank)), g.Name, status.FormatBytes(need)), "connect a larger blank disk, or more of them"+lessNeeded(g, lost))
	}
	return len(some) > 0
}

// lessNeeded tells what helps, too, if a leg failed that lies on several disks which are
// here: LVM moves it as a whole. Which of them failed, the kernel doesn't say.
func lessNeeded(g lvm.Group, lost []member) string {
	var parts []string
	for _, m := range lost {
		if m.here && slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool { return len(v.Devices) > 1 && slices.Contains(v.Devices, m.pv.Path) }) {
			parts = append(parts, m.id)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("; or remove the one of disks %s that fails: then less is needed", strings.Join(parts, ", "))
}

// enough chooses disks that have need bytes together: one, if there is one that has
// them; the first of those with a name, otherwise the first of all.
func enough(named, blank []disk.Disk, need int64) []disk.Disk {
	all := slices.Concat(named, blank)
	for _, d := range all {
		if d.Size >= need {
			return []disk.Disk{d}
		}
	}
	for i, d := range all {
		if need -= d.Size - 8*mib; need <= 8*mib {
			return all[:i+1]
		}
	}
	return nil
}

// need is how many bytes a disk must have to take any other's place, besides
// disks of the pool that aren't used.
func (f Facts) need(g lvm.Group) int64 {
	n := room(g)
	for _, m := range f.idleMembers(g) {
		n -= m.free() * g.ExtentSize
	}
	return max(n, 8*mib)
}

// needInstead is how many bytes a disk must have to take the place of one that works, is
// lost, or was given up.
func (f Facts) needInstead(g lvm.Group, old string) int64 {
	if f.works(g, old) {
		return f.need(g)
	}
	return f.wanting(g, false)
}

func name(lost []member) string {
	if len(lost) == 0 {
		return "OLD"
	}
	return lost[0].id
}

// late tells whether a disk has come after the loss of others, or was noticed together
// with that; none, if the pool has given them up.
func (f Facts) late(d disk.Disk, lost []member) bool {
	return len(lost) == 0 || slices.ContainsFunc(lost, func(m member) bool {
		since, ok := f.Lost[m.pv.UUID]
		return ok && !f.Seen[d.ID()].Before(since)
	})
}

// blanks are the disks that nobody has named and that may be taken, the smallest
// first. They have come after the loss, or the wait is over.
func (f Facts) blanks(taken map[string]string, lost []member, waited bool) []disk.Disk {
	var all []disk.Disk
	for _, d := range f.Disks {
		if why, _ := f.unfit(d, taken); why != "" || slices.Contains(sameDisk(f.Disks), d) {
			continue
		}
		if waited || f.late(d, lost) {
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(a, b disk.Disk) int { return cmp.Compare(a.Size, b.Size) })
	return all
}

// lacking are other pools that lack a disk which d could replace.
func (f Facts) lacking(g lvm.Group, d disk.Disk) []string {
	var names []string
	for _, o := range f.LVM.Groups {
		if o.UUID == g.UUID || !ours(o) || o.Tagged(creatingTag) || !f.lostLegs(o) || diagnose(o, f).State == Failed {
			continue
		}
		if need := f.wanting(o, false); need > 0 && d.Size >= need {
			names = append(names, o.Name)
		}
	}
	return names
}

// add makes a blank disk a part of the pool.
func (p *Plan) add(g lvm.Group, f Facts, d disk.Disk, instead bool) {
	s := StampDisk{Path: d.Path, Stamp: Stamp{Pool: g.Name, Disk: d.ID()}}
	_, s.Reset = f.Stamped[d.Name]
	p.Steps = append(p.Steps, s, AddDisk{Pool: g.Name, Disk: d.ID(), Path: d.Path, Instead: instead})
}
