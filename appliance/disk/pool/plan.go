package pool

import (
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// A Plan is what to do about one pool.
type Plan struct {
	Steps []Step
	// Again says that more is to be planned once the steps are done and the
	// facts have been read anew.
	Again bool
	// Wait says what isn't here yet; empty if nothing is missing. Steps are
	// what to do if it doesn't come.
	Wait string
	// Settle asks to go ahead only when no new disks turn up any more.
	Settle bool
	// Problems are what a person should know. With one that is Failed the
	// pool can't be used.
	Problems []status.Problem
}

func (p *Plan) problem(h status.Health, what, do string) {
	p.Problems = append(p.Problems, status.Problem{Health: h, What: what, Do: do})
}

func refuse(what, do string) Plan {
	var p Plan
	p.problem(status.Failed, what, do)
	return p
}

// Make plans one pool. taken are disks that other pools of the configuration
// own or are about to take, by kernel name, with that pool's name.
func Make(spec Spec, f Facts, taken map[string]string) Plan {
	p := makePlan(spec, f, taken)
	if spec.ActivateOnly {
		p.activateOnly(spec.Name)
	}
	return p
}

// activateOnly takes everything out of the plan that would write to a disk.
func (p *Plan) activateOnly(pool string) {
	all := len(p.Steps)
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool {
		switch s.(type) {
		case Activate, Remember, RecordDisks, MarkUse, RestoreDisk, Refresh:
			return false
		}
		return true
	})
	p.Again = false
	if len(p.Steps) < all {
		p.problem(status.Degraded, fmt.Sprintf("pool %s: nothing is created or grown as long as the configuration has errors", pool),
			"correct the configuration")
	}
}

func makePlan(spec Spec, f Facts, taken map[string]string) Plan {
	if err := checkSpec(spec); err != nil {
		return refuse(fmt.Sprintf("pool %s: %v", spec.Name, err), "correct the [[pool]] in the configuration")
	}
	var same []lvm.Group
	for _, g := range f.LVM.Groups {
		if g.Name == spec.Name {
			same = append(same, g)
		}
	}
	switch {
	case len(same) > 1:
		var where []string
		for _, g := range same {
			where = append(where, f.describe(g))
		}
		return refuse(fmt.Sprintf("pool %s exists %d times: on %s", spec.Name, len(same), strings.Join(where, "; and on ")),
			"remove the disks of those that you don't want")
	case len(same) == 0:
		return planNew(spec, f, taken)
	case !ours(same[0]):
		return refuse(fmt.Sprintf("an LVM volume group called %s is on %s, but sanstick didn't make it; it is left alone", spec.Name, f.describe(same[0])),
			"give the pool another name in the configuration, or remove those disks")
	case same[0].Tagged(creatingTag):
		return planUnfinished(spec, f, same[0])
	}
	if p, is := undecided(same[0], f); is {
		return p
	}
	return planExisting(spec, f, same[0], taken)
}

func checkSpec(s Spec) error {
	if len(s.Disks) == 0 {
		return fmt.Errorf("it names no disks")
	}
	n := len(s.Disks)
	if s.anyDisk() {
		n, _ = anyNumber(s.Layout)
	}
	_, err := layoutOn(s.Layout, n)
	return err
}

// describe names a group's disks.
func (f Facts) describe(g lvm.Group) string {
	var ids []string
	for _, m := range f.membersOf(g) {
		switch {
		case m.here:
			ids = append(ids, "disk "+m.id)
		case m.pv.Missing:
			ids = append(ids, "missing disk "+m.id)
		default:
			ids = append(ids, m.pv.Path)
		}
	}
	return strings.Join(ids, ", ")
}

// compareMembers tells where the configuration and the group disagree about
// the disks. strangers says that they have none in common. A missing disk is
// known by one of its names only, which needn't be the one that the
// configuration uses, so it gets the benefit of the doubt.
//
// A disk that the pool has given up may still be named: then one that took its
// place needn't be.
func compareMembers(spec Spec, all []member, gone []string) (p Plan, strangers bool) {
	if spec.anyDisk() {
		return p, false
	}
	means := func(m member, name string) bool { return m.disk.Is(name) || strings.EqualFold(m.id, name) }
	named := slices.Concat(spec.Disks, spec.Spares)
	common, doubtful, replaced := 0, 0, 0
	for _, name := range spec.Disks {
		if slices.ContainsFunc(gone, func(id string) bool { return strings.EqualFold(id, name) }) &&
			!slices.ContainsFunc(all, func(m member) bool { return means(m, name) }) {
			replaced++
		}
	}
	for _, m := range all {
		switch {
		case slices.ContainsFunc(named, func(name string) bool { return means(m, name) }):
			common++
		case !m.here:
			doubtful++
		case replaced > 0:
			replaced--
			common++
		default:
			p.problem(status.Degraded, fmt.Sprintf("disk %s belongs to pool %s, but the configuration doesn't name it", m.id, spec.Name),
				"add it to disks in the configuration; a pool never gets smaller")
		}
	}
	for _, name := range spec.Disks {
		if slices.ContainsFunc(all, func(m member) bool { return means(m, name) }) ||
			slices.ContainsFunc(gone, func(id string) bool { return strings.EqualFold(id, name) }) {
			continue
		}
		if doubtful--; doubtful < 0 {
			p.problem(status.Degraded, fmt.Sprintf("the configuration names disk %s for pool %s, but it isn't a part of it", name, spec.Name),
				"if it is to join, connect it, blank; otherwise correct disks in the configuration")
		}
	}
	return p, common == 0
}

// planExisting activates a finished pool and brings its volumes in line.
func planExisting(spec Spec, f Facts, g lvm.Group, taken map[string]string) Plan {
	all := f.membersOf(g)
	p, strangers := compareMembers(spec, all, goneDisks(g))
	if strangers {
		return refuse(fmt.Sprintf("a pool called %s is on %s, none of which the configuration names; it is left alone", spec.Name, f.describe(g)),
			"name its disks in the configuration, give the new pool another name, or remove those disks")
	}
	if data, ok := g.Volume(dataVolume); !ok || data.Type != "thin-pool" {
		return refuse(fmt.Sprintf("pool %s has no thin pool called %s; someone has changed it", spec.Name, dataVolume),
			"repair volume group "+spec.Name+" with LVM's tools")
	}
	if p, is := stale(g, f); is {
		return p
	}
	inactive := slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool { return !v.Hidden && !v.Active && !f.runs(g, v) })
	hole := uncovered(g) != ""
	for _, m := range all {
		if m.flagged(f) || m.restorable(f) && (hole || !inactive) {
			p.Steps = append(p.Steps, RestoreDisk{Pool: spec.Name, Disk: m.id, Path: m.pv.Path, PV: m.pv.UUID})
		}
	}
	if len(p.Steps) > 0 {
		p.Again = true
		return p
	}
	var gone, away []string // missing; of these not here
	for _, m := range all {
		if !m.pv.Missing {
			continue
		}
		gone = append(gone, m.id)
		if !m.back(f) {
			away = append(away, m.id)
			continue
		}
		p.problem(status.Degraded, fmt.Sprintf("pool %s: disk %s is here again, but LVM couldn't take it back; it counts as missing", spec.Name, m.id),
			"check its cable, or replace it; it is tried again every 10 minutes")
	}
	mode := lvm.Degraded
	lame, wait := "", ""
	if len(away) > 0 {
		wait = "disk " + strings.Join(away, ", ")
	}
	if len(gone) > 0 {
		lame = "disk " + strings.Join(gone, ", ")
		if hole {
			p.problem(status.Failed, fmt.Sprintf("pool %s can't be used: %s is missing, and no mirror has what was on it", spec.Name, lame),
				"connect the disk")
			p.Wait = wait
			return p
		}
		mode = lvm.Partial
	}
	p.planRecord(g, f, lame)
	if lame == "" && len(p.Steps) == 0 {
		p.planMark(g, f)
	}
	p.planAlone(g, f, lame)
	if inactive {
		p.Steps = append(p.Steps, Activate{Pool: spec.Name, Mode: mode})
		p.Wait = wait // once it is active there is nothing to wait for
		if others := f.moved(g); lame == "" && len(others) > 0 {
			p.Wait = "disk " + strings.Join(others, ", ") // what is here may be a copy of it
		}
	} else if p.planMending(spec, f, g, taken) {
		return p
	}
	if lame == "" {
		p.planMetadata(g)
	}
	p.planVolumes(spec, g, lame)
	return p
}

// uncovered names a volume that lacks something which no copy or parity makes up
// for; empty if there is none.
func uncovered(g lvm.Group) string { return uncoveredWithout(g, nil) }

// uncoveredWithout is the same if legs on some devices don't count, by path.
func uncoveredWithout(g lvm.Group, old map[string]bool) string {
	onOld := func(v lvm.LogicalVolume) bool {
		return slices.ContainsFunc(v.Devices, func(path string) bool { return old[path] })
	}
	covered := map[string]bool{} // parts of raid volumes
	for _, v := range g.Logical {
		if !isRaid(v) {
			continue
		}
		var gone []bool
		for _, image := range v.Devices {
			meta := strings.Replace(image, "_rimage_", "_rmeta_", 1)
			covered[image], covered[meta] = true, true
			i, ok := g.Volume(image)
			m, ok2 := g.Volume(meta)
			gone = append(gone, !ok || !ok2 || i.Partial || m.Partial || i.Type == "error" || m.Type == "error" || onOld(i) || onOld(m))
		}
		if !bears(v, gone) {
			return v.Name
		}
	}
	for _, v := range g.Logical {
		// These are partial when what they lie on is.
		inherits := isRaid(v) || v.Type == "thin-pool" || v.Type == "thin"
		if v.Partial && !inherits && !covered[v.Name] {
			return v.Name
		}
	}
	return ""
}

// runs tells whether the kernel has a volume, whatever LVM's state said when it
// was read.
func (f Facts) runs(g lvm.Group, v lvm.LogicalVolume) bool {
	name := lvm.DeviceName(g.Name, v.Name)
	if v.Type == "thin-pool" {
		name = poolDevice(g.Name)
	}
	_, ok := f.Devices[name]
	return ok
}

func layoutError(layout string, disks int) error {
	_, err := layoutOn(layout, disks)
	return err
}
