package pool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
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
	used, waited, spare := f.loss(spec, g, taken)
	all := f.shortfall(g, f.room(g, spare), false) == 0
	// While a disk is missing LVM moves no leg away from another one that is here.
	inTheWay := (waited || all) && slices.ContainsFunc(used, func(m member) bool { return m.here })
	if p.dropIdle(f, g, f.lostMembers(g), func(m member) bool {
		return inTheWay || f.Bore[m.pv.UUID] || f.waited([]member{m}, spec.SpareAfter)
	}) {
		return
	}
	p.restore(spec, f, g, taken)
}

// loss are the lost disks on which something lay, whether they have been waited for, and
// whether all the room counts that the pool has.
func (f Facts) loss(spec Spec, g lvm.Group, taken map[string]string) (used []member, waited, spare bool) {
	used = slices.DeleteFunc(f.lostMembers(g), func(m member) bool { return m.pv.Allocated == 0 })
	waited = f.waited(used, spec.SpareAfter)
	return used, waited, (waited || len(used) == 0) && !f.ordered(g, taken)
}

// restore plans what takes the place of legs that are lost: other disks of the pool, or
// one that joins it; or else that the pool goes on without.
func (p *Plan) restore(spec Spec, f Facts, g lvm.Group, taken map[string]string) {
	if !f.lostLegs(g) {
		return // what was added and isn't used yet may come back
	}
	used, waited, spare := f.loss(spec, g, taken)
	switch {
	case p.rebuild(f, g, f.room(g, spare)):
	case p.replace(spec, f, g, taken, used, waited, spare):
	case diagnose(g, f).State == Absent && (waited && f.expendable(g) || f.roomOnceCut(g, spec.SpareAfter)):
		names, _ := places(f.lostMembers(g))
		p.Steps = append(p.Steps, CutMissing{Pool: g.Name, Disks: names, PVs: missing(f, g)})
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

// stillTried are the attempts to use disks again, without those of disks that were tried
// because another part of their leg failed, which has gone since.
func (f Facts) stillTried(g lvm.Group) map[string]Tries {
	tried, failed := f.Tried, f.failedDisks(g)
	for _, l := range f.legs(g) {
		for _, pv := range l.pvs {
			if l.lost && !failed[pv] {
				tried = without(tried, pv)
			}
		}
	}
	return tried
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
		case m.pv.Allocated > 0 && !m.here:
			return false // LVM forgets none then
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

// expendable tells whether every volume of a pool has all of its data without the disks
// that it has lost, and these are missing: no leg of what is left is failed or being
// filled.
func (f Facts) expendable(g lvm.Group) bool {
	return uncovered(g) == "" && !slices.ContainsFunc(f.lostMembers(g), func(m member) bool { return m.here }) &&
		!slices.ContainsFunc(f.legs(g), func(l leg) bool { return !l.lost && l.letter != 'A' })
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
