package pool

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

const (
	goneTag  = "sanstick.gone."     // like diskTag, of a disk that the pool has given up
	scrubTag = "sanstick.scrubbed." // + when copies were compared last, in seconds since 1970
)

// planMending plans what is to be done about the redundancy of a pool that is
// active. It tells whether that changes LVM's metadata, so that the rest is to be
// planned afterwards.
func (p *Plan) planMending(spec Spec, f Facts, g lvm.Group, taken map[string]string) (changes bool) {
	before := len(p.Steps)
	p.mend(spec, f, g, taken)
	changes = slices.ContainsFunc(p.Steps[before:], changesMetadata)
	p.Again = p.Again || changes
	return changes
}

func (p *Plan) mend(spec Spec, f Facts, g lvm.Group, taken map[string]string) {
	if admit, ok := newcomers(f, g); ok {
		p.Steps = append(p.Steps, admit)
		return
	}
	if add, remove := goneTags(g); len(remove) > 0 {
		p.Steps = append(p.Steps, Record{Pool: g.Name, Add: add, Remove: remove})
		return
	}
	c := diagnose(g, f)
	switch c.State {
	case Failed, Inactive:
		return
	case Returned:
		p.Steps = append(p.Steps, Refresh{Pool: g.Name, Volumes: users(f, g)})
		return
	case Healthy:
		if p.planReplace(f, g, taken) || p.planGrowth(spec, f, g, taken) {
			return
		}
		p.planScrub(spec, f, g)
		return
	}
	if c.Lacks == 0 {
		return // what is being filled or compared isn't disturbed
	}
	if p.tryAgain(f, g) {
		return
	}
	lost := f.lostMembers(g)
	used := slices.DeleteFunc(slices.Clone(lost), func(m member) bool { return m.pv.Allocated == 0 })
	waited := f.waited(used, spec.SpareAfter)
	// While a disk is missing LVM moves no leg away from another one that is here.
	inTheWay := (waited || idle(f, g)) && slices.ContainsFunc(used, func(m member) bool { return m.here })
	if p.dropIdle(f, g, lost, func(m member) bool {
		return inTheWay || f.Bore[m.pv.UUID] || f.waited([]member{m}, spec.SpareAfter)
	}) {
		return
	}
	if len(used) == 0 && !slices.ContainsFunc(f.legs(g), func(l leg) bool { return l.lost }) {
		return // nothing is to be rebuilt; what was added and isn't used yet may come back
	}
	// A disk of the pool itself is filled only once its disk is given up; one
	// that was added for this is there because somebody wants it.
	room := Plan{}
	switch all := room.rebuild(f, g); {
	case all && (waited || idle(f, g)):
		p.Steps = append(p.Steps, room.Steps...)
	case p.replace(spec, f, g, taken, used, waited):
	case waited && c.State == Absent:
		p.cut(f, g, lost)
	}
}

// newcomers are disks that were added and aren't recorded yet.
func newcomers(f Facts, g lvm.Group) (AdmitDisks, bool) {
	recorded := members(g)
	a := AdmitDisks{Pool: g.Name}
	for _, m := range f.membersOf(g) {
		if _, ok := recorded[m.pv.UUID]; m.here && !ok && m.pv.Allocated == 0 {
			a.Paths = append(a.Paths, m.pv.Path)
			a.Tags = append(a.Tags, memberTag(m.pv.UUID, m.id))
		}
	}
	return a, len(a.Paths) > 0
}

// goneTags are the changes of tags for disks that aren't in the group any more.
func goneTags(g lvm.Group) (add, remove []string) {
	for _, t := range g.Tags {
		rest, ok := strings.CutPrefix(t, diskTag)
		uuid, _, _ := strings.Cut(rest, ".")
		if ok && !slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.UUID == uuid }) {
			remove, add = append(remove, t), append(add, goneTag+rest)
		}
	}
	return add, remove
}

// idle tells whether a pool has a disk that was added and isn't used wholly yet:
// one without a leg of the largest volume.
func idle(f Facts, g lvm.Group) bool {
	all := raidVolumes(g)
	if len(all) == 0 {
		return false
	}
	_, lacks := f.targets(g, all[len(all)-1])
	return lacks == 0
}

// goneDisks are the disks that a pool has given up, as they were recorded.
func goneDisks(g lvm.Group) []string {
	var gone lvm.Group
	for _, t := range g.Tags {
		if rest, ok := strings.CutPrefix(t, goneTag); ok {
			gone.Tags = append(gone.Tags, diskTag+rest)
		}
	}
	var ids []string
	for _, id := range members(gone) {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// users are the volumes to refresh so that all legs of a group are.
func users(f Facts, g lvm.Group) []string {
	var all []string
	for _, l := range f.legs(g) {
		if u := user(l.volume); (l.moved || l.letter == 'D') && !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// startWait is how long a disk that was lost before the start is waited for after
// it, though its time is over: it may have been put back in between, and be slow.
const startWait = 2 * time.Minute

// wait is how long a lost disk is waited for yet; ok is false if it isn't known to
// be lost.
func (f Facts) wait(pv string, spareAfter time.Duration) (left time.Duration, ok bool) {
	since, ok := f.Lost[pv]
	left = spareAfter - f.Now.Sub(since)
	if since.Before(f.Started) {
		left = max(left, min(startWait, spareAfter)-f.Now.Sub(f.Started))
	}
	return left, ok
}

// lostMembers are the disks that a pool has to do without: those that aren't
// here, and those that failed and have been tried often enough.
func (f Facts) lostMembers(g lvm.Group) []member {
	failed := f.failedDisks(g)
	var lost []member
	for _, m := range f.membersOf(g) {
		if !m.here && !m.flagged(f) || failed[m.pv.UUID] && !f.Tried[m.pv.UUID].left(f.Now) {
			lost = append(lost, m)
		}
	}
	return lost
}

// tryAgain has a disk that failed used again, a few times. While one still has
// attempts left it isn't replaced.
func (p *Plan) tryAgain(f Facts, g lvm.Group) (waiting bool) {
	failed := f.failedDisks(g)
	for _, m := range f.membersOf(g) {
		t := f.Tried[m.pv.UUID]
		if !failed[m.pv.UUID] || !t.left(f.Now) {
			continue
		}
		waiting = true
		if t.due(f.Now) {
			p.Steps = append(p.Steps, Refresh{Pool: g.Name, Volumes: users(f, g), Disk: m.id, Path: m.pv.Path, PV: m.pv.UUID})
			return true
		}
	}
	return waiting
}

// waited tells whether lost disks have been waited for long enough.
func (f Facts) waited(lost []member, spareAfter time.Duration) bool {
	return !slices.ContainsFunc(lost, func(m member) bool {
		left, ok := f.wait(m.pv.UUID, spareAfter)
		return !ok || left > 0
	})
}

// dropIdle takes lost disks out of the pool on which nothing lies: any more, since
// others have taken their place, or yet. LVM forgets all that are missing or none.
func (p *Plan) dropIdle(f Facts, g lvm.Group, lost []member, ready func(member) bool) bool {
	var missing []string
	for _, m := range lost {
		switch {
		case m.pv.Allocated > 0:
		case !ready(m):
			return false
		case m.here:
			p.Steps = append(p.Steps, RemoveDisk{Pool: g.Name, Disk: m.id, Path: m.pv.Path})
		default:
			missing = append(missing, m.id)
		}
	}
	all := strings.Join(missing, ", ")
	drop := all != "" && f.Undropped[g.Name] != all
	if drop {
		p.Steps = append(p.Steps, DropMissing{Pool: g.Name, Disks: all})
	}
	return len(p.Steps) > 0 && (drop || slices.ContainsFunc(p.Steps, func(s Step) bool { _, ok := s.(RemoveDisk); return ok }))
}

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

// targets finds the disks of a pool that a leg of a volume can be put on: such that
// have none yet, with room, and as few of them as will do, the emptiest first. lacks
// is by how many bytes their room is too small.
func (f Facts) targets(g lvm.Group, v lvm.LogicalVolume) (on []member, lacks int64) {
	failed := f.failedDisks(g)
	has := map[string]bool{}
	for _, l := range f.legs(g) {
		for _, pv := range l.pvs {
			has[pv] = has[pv] || l.volume.Name == v.Name
		}
	}
	var all []member
	for _, m := range f.membersOf(g) {
		if m.here && !failed[m.pv.UUID] && f.Tried[m.pv.UUID].left(f.Now) && !has[m.pv.UUID] && m.free() > 0 {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b member) int { return cmp.Compare(b.free(), a.free()) })
	lacks = legSize(g, v) + g.ExtentSize // for raid's own records
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

// rebuild puts lost legs on other disks of the pool. It tells whether there is
// room for all of them.
func (p *Plan) rebuild(f Facts, g lvm.Group) bool {
	lost := map[string]member{}
	for _, m := range f.lostMembers(g) {
		lost[m.pv.UUID] = m
	}
	done, bad := map[string]bool{}, map[string]member{}
	all := true
	g.Physical = slices.Clone(g.Physical) // what is planned takes room
	for _, l := range f.legs(g) {
		v := l.volume
		i := slices.IndexFunc(l.pvs, func(pv string) bool { return lost[pv].pv.UUID != "" })
		if done[v.Name] || !l.lost && i < 0 {
			continue
		}
		done[v.Name] = true
		on, lacks := f.targets(g, v)
		ids, paths := places(on)
		takeInTurn(g, legSize(g, v)/g.ExtentSize+1, on)
		switch {
		case lacks > 0:
			all = false
		case l.lost:
			p.Steps = append(p.Steps, RepairVolume{Pool: g.Name, Volume: v.Name, Disk: ids, Paths: paths})
		default:
			m := lost[l.pvs[i]]
			p.Steps = append(p.Steps, ReplaceLeg{Pool: g.Name, Volume: v.Name, From: m.pv.Path, To: paths, Disk: ids})
			bad[m.pv.UUID] = m
		}
	}
	if all {
		for _, m := range f.membersOf(g) {
			if _, ok := bad[m.pv.UUID]; ok {
				p.Steps = append(p.Steps, RemoveDisk{Pool: g.Name, Disk: m.id, Path: m.pv.Path})
			}
		}
	}
	return all
}

// replace adds a disk that takes the place of a lost one; or several, if legs lie on
// several and no disk is large enough.
func (p *Plan) replace(spec Spec, f Facts, g lvm.Group, taken map[string]string, lost []member, waited bool) bool {
	need := f.need(g)
	names := slices.Concat([]string{f.Replace[g.Name].New}, spec.Disks)
	if waited {
		names = append(names, spec.Spares...)
	}
	var named []disk.Disk
	for _, n := range names {
		if found := disk.Find(f.Disks, n); len(found) == 1 && !slices.Contains(named, found[0]) {
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
	p.join(f, g, some)
	if len(some) == 0 && len(named)+len(blank) > 0 {
		p.problem(status.Degraded, fmt.Sprintf("disk %s is too small for what pool %s has lost: %s are needed, on one disk or on several", ids(slices.Concat(named, blank)), g.Name, status.FormatBytes(need)),
			"connect a larger blank disk, or more of them")
	}
	return len(some) > 0
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

// need is how many bytes a disk must have to take a lost one's place, besides
// disks of the pool that aren't used.
func (f Facts) need(g lvm.Group) int64 {
	n := room(g)
	for _, m := range f.idleMembers(g) {
		n -= m.free() * g.ExtentSize
	}
	return max(n, 8*mib)
}

func name(lost []member) string {
	if len(lost) == 0 {
		return "OLD"
	}
	return lost[0].id
}

// blanks are the disks that nobody has named and that may be taken, the smallest
// first. They have come after the loss, or the wait is over.
func (f Facts) blanks(taken map[string]string, lost []member, waited bool) []disk.Disk {
	var all []disk.Disk
	for _, d := range f.Disks {
		if why, _ := f.unfit(d, taken); why != "" || slices.Contains(sameDisk(f.Disks), d) {
			continue
		}
		late := len(lost) == 0 // the pool has given up a disk
		for _, m := range lost {
			since, ok := f.Lost[m.pv.UUID]
			late = late || ok && f.Seen[d.ID()].After(since)
		}
		if late || waited {
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
		if o.UUID != g.UUID && ours(o) && !o.Tagged(creatingTag) && diagnose(o, f).Lacks > 0 && d.Size >= f.need(o) {
			names = append(names, o.Name)
		}
	}
	return names
}

// add makes a blank disk a part of the pool.
func (p *Plan) add(g lvm.Group, f Facts, d disk.Disk) {
	s := StampDisk{Path: d.Path, Stamp: Stamp{Pool: g.Name, Disk: d.ID()}}
	_, s.Reset = f.Stamped[d.Name]
	p.Steps = append(p.Steps, s, AddDisk{Pool: g.Name, Disk: d.ID(), Path: d.Path})
}

// cut gives up missing disks, if every volume has all of its data without them:
// no leg of what is left is failed or being filled.
func (p *Plan) cut(f Facts, g lvm.Group, lost []member) {
	var ids []string
	for _, m := range lost {
		if m.here {
			return
		}
		ids = append(ids, m.id)
	}
	if uncovered(g) != "" {
		return
	}
	for _, l := range f.legs(g) {
		if !l.lost && l.letter != 'A' {
			return
		}
	}
	p.Steps = append(p.Steps, CutMissing{Pool: g.Name, Disks: strings.Join(ids, ", ")})
}

// firstScrub is when the copies of a pool that never were compared are.
const firstScrub = 24 * time.Hour

func (p *Plan) planScrub(spec Spec, f Facts, g lvm.Group) {
	var volumes []string
	for _, v := range raidVolumes(g) {
		volumes = append(volumes, v.Name)
	}
	last := f.Started.Add(firstScrub - spec.ScrubEvery)
	for _, t := range g.Tags {
		if s, ok := strings.CutPrefix(t, scrubTag); ok {
			var unix int64
			if _, err := fmt.Sscanf(s, "%d", &unix); err == nil {
				last = time.Unix(unix, 0)
			}
		}
	}
	due := spec.ScrubEvery > 0 && f.Now.Sub(last) >= spec.ScrubEvery || f.ScrubNow[g.Name]
	if due && len(volumes) > 0 {
		s := Scrub{Pool: g.Name, Volumes: volumes}
		s.Add, s.Remove = scrubTags(g.Tags, f.Now)
		p.Steps = append(p.Steps, s)
	}
}
