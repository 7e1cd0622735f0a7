package pool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
)

// redundancy tells how a pool's redundancy is, and what happens next.
func (v view) redundancy(s Spec, p *status.Pool, g lvm.Group, note func(status.Health, string, string)) {
	f := v.facts
	f.Devices = v.devices
	// LVM may not have noticed yet that a disk has gone.
	f.Disks = slices.DeleteFunc(slices.Clone(f.Disks), func(d disk.Disk) bool { return !slices.Contains(v.now, d) })
	for _, lv := range raidVolumes(g) {
		if lv.Name == dataVolume+"_tdata" {
			p.Layout = layoutOf(lv)
		}
		if r := v.devices[lvm.DeviceName(g.Name, lv.Name)].Raid; r != nil {
			p.Sync = min(p.Sync, inSync(*r))
		}
	}
	c := diagnose(g, f)
	p.State, p.Progress = string(c.State), c.Progress
	disks := strings.Join(c.Disks, ", ")
	next := v.next(s, g, f)
	switch c.State {
	case Failed:
		if disks != "" {
			note(status.Failed, fmt.Sprintf("disk %s is missing, and nothing has what was on it", disks), "connect the disk again")
		} else {
			note(status.Failed, "more copies are lost than the layout bears", "connect the disks again")
		}
	case Absent:
		if slices.ContainsFunc(c.Disks, v.mute) {
			note(status.Degraded, fmt.Sprintf("disk %s doesn't answer%s; the pool works with what is left%s", disks, v.port(c.Disks), next), "check its cable, or replace it")
			break
		}
		if slices.ContainsFunc(c.Disks, v.shuns) {
			note(status.Degraded, fmt.Sprintf("disk %s has failed%s: writing to it gave errors; the pool works with what is left%s", disks, v.port(c.Disks), next), "check its cable, or replace it")
			break
		}
		if slices.ContainsFunc(c.Disks, v.unreadable) {
			note(status.Degraded, fmt.Sprintf("disk %s can't be read%s; the pool works with what is left%s", disks, v.port(c.Disks), next), "check its cable, or replace it")
			break
		}
		note(status.Degraded, fmt.Sprintf("disk %s is missing%s; the pool works with what is left%s", disks, v.port(c.Disks), next), "connect the disk again, or a blank one in its place")
	case Returned:
		note(status.Degraded, fmt.Sprintf("disk %s is back and isn't used yet", disks), "wait; volumes can be used meanwhile")
	case LegFailed:
		note(status.Degraded, fmt.Sprintf("disk %s has failed%s: reading or writing it gave errors; the pool works with what is left%s", disks, v.port(c.Disks), next), "check its cable, or replace it")
	case Cut:
		note(status.Degraded, "the pool lacks a disk, which it has given up; it works with what is left, and volumes can be made", "connect a blank disk; it is taken by itself")
	case Syncing:
		note(status.Degraded, fmt.Sprintf("the copies are being synchronised, %.1f %% done", c.Progress), "wait; volumes can be used meanwhile")
	case Rebuilding:
		note(status.Degraded, fmt.Sprintf("the pool is being rebuilt on disk %s, %.1f %% done", disks, c.Progress), "wait; volumes can be used meanwhile")
	}
	if c.Bare {
		note(status.Degraded, "the metadata of its volumes has one copy only, since it was repaired", "wait: the others are made as soon as all disks are here; if it stays, the log says why")
	}
	if c.Mismatches > 0 && c.State != Checking {
		note(status.Degraded, fmt.Sprintf("%d sectors differ between its copies", c.Mismatches),
			"nobody can tell which copy is right, so nothing was changed; check what the volumes hold, and replace the disk that reports errors")
	}
	p.Mismatches = c.Mismatches
	p.Unused = f.unused(g)
	for _, m := range f.membersOf(g) {
		if m.here && m.pv.Allocated == 0 && p.State == string(Healthy) {
			p.Idle = append(p.Idle, m.id)
		}
	}
}

// next says what will happen to a pool that lacks a disk, in words that follow: what
// would be planned now if the disk had been waited for.
func (v view) next(s Spec, g lvm.Group, f Facts) string {
	var until time.Duration
	for _, m := range f.membersOf(g) {
		if left, ok := f.wait(m.pv.UUID, s.SpareAfter); ok {
			until = max(until, left)
		}
	}
	if until <= 0 || s.ActivateOnly {
		return ""
	}
	f.Now = f.Now.Add(until)
	for pv := range f.failedDisks(g) { // all tries will have been made
		f.Tried = with(f.Tried, pv, Tries{maxTries, f.Now})
	}
	if !f.lostLegs(g) { // nothing lay on it
		return fmt.Sprintf("; in %v the pool goes on without it", until.Round(time.Second))
	}
	var then Plan
	then.restore(s, f, g, f.namedFor(v.specs, s.Name))
	return fmt.Sprintf("; in %v %s", until.Round(time.Second), then.place(s, f))
}

// place says what takes the place of a pool's lost disks.
func (p Plan) place(s Spec, f Facts) string {
	var joining []string
	what := "disk"
	for _, step := range p.Steps {
		switch step := step.(type) {
		case AddDisk:
			joining = append(joining, step.Disk)
			if found := disk.Find(f.Disks, step.Disk); len(found) > 0 && slices.ContainsFunc(s.Spares, found[0].Is) {
				what = "spare"
			}
		case RepairVolume, ReplaceLeg:
			return "other disks of the pool take its place"
		case CutMissing:
			return "the pool goes on without it"
		}
	}
	switch {
	case len(joining) > 0:
		return fmt.Sprintf("%s %s takes its place", what, strings.Join(joining, ", "))
	case len(p.Problems) > 0:
		return "nothing takes its place: " + p.Problems[0].What
	}
	return "nothing takes its place: no blank disk is free for it"
}

// unreadable tells whether a disk is here, but gives errors when it is read, so that LVM
// doesn't find it.
func (v view) unreadable(id string) bool {
	return slices.ContainsFunc(v.now, func(d disk.Disk) bool { return d.ID() == id && v.facts.Found[d.Name].What == probe.Unreadable })
}

// port says where disks are plugged, as far as is known.
func (v view) port(ids []string) string {
	for _, id := range ids {
		if at := v.facts.Ports[id]; at != "" {
			return " (at " + at + ")"
		}
	}
	return ""
}

// layoutOf is the layout of a pool whose data is on this volume.
func layoutOf(v lvm.LogicalVolume) string {
	for _, l := range []string{RAID10, RAID5, RAID6} {
		if strings.HasPrefix(v.Type, l) {
			return l
		}
	}
	return Mirror
}

// outdated tells of disks that pools have given up and that are here again.
func (v view) outdated() []status.Problem {
	var all []status.Problem
	for _, g := range v.facts.LVM.Groups {
		if !ours(g) {
			continue
		}
		for _, id := range goneDisks(g) {
			for _, d := range v.now {
				_, used := v.facts.groupOf(d)
				if found, looked := v.facts.Found[d.Name]; d.ID() == id && !used && looked && !found.Blank {
					all = append(all, status.Problem{Health: status.Degraded,
						What: fmt.Sprintf("disk %s was a part of pool %s, which went on without it: what is on it is out of date, and it isn't used", id, g.Name),
						Do:   "remove it; or, to use it again, sanctl disk wipe " + id})
				}
			}
		}
	}
	return all
}
