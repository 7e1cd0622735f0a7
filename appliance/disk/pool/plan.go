package pool

import (
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
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

// anyNumber is how many disks a pool of any blank disks has, at least and at most.
func anyNumber(layout string) (least, most int) {
	switch layout {
	case Mirror:
		return 2, 3
	case RAID10:
		return 4, 64
	case RAID5:
		return 3, 32
	case RAID6:
		return 5, 32
	}
	return 1, 1024
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

// planNew is about a pool that doesn't exist yet.
func planNew(spec Spec, f Facts, taken map[string]string) Plan {
	var p Plan
	var disks []disk.Disk
	if spec.anyDisk() {
		p, disks = chooseAny(spec, f, taken)
	} else {
		p, disks = chooseNamed(spec, f, taken)
	}
	if len(p.Problems) > 0 || p.Wait != "" {
		return p
	}
	var paths []string
	for _, d := range disks {
		s := StampDisk{Path: d.Path, Stamp: Stamp{Pool: spec.Name, Disk: d.ID()}}
		_, s.Reset = f.Stamped[d.Name]
		p.Steps = append(p.Steps, s)
		paths = append(paths, d.Path)
	}
	p.Steps = append(p.Steps, CreateGroup{Pool: spec.Name, Paths: paths})
	p.Again = true
	return p
}

// chooseNamed finds the disks that the configuration names. Each of them must
// be there and fit, or none is touched.
func chooseNamed(spec Spec, f Facts, taken map[string]string) (p Plan, disks []disk.Disk) {
	var missing []string
	for _, name := range spec.Disks {
		found := disk.Find(f.Disks, name)
		if len(found) == 0 {
			missing = append(missing, name)
			continue
		}
		d := found[0]
		if len(found) > 1 {
			p.problem(status.Failed,
				fmt.Sprintf("pool %s can't be created: %d disks call themselves %s (%s)", spec.Name, len(found), name, names(found)),
				"name the disk by its WWN, or remove the others")
			continue
		}
		if slices.ContainsFunc(disks, func(o disk.Disk) bool { return o.Name == d.Name }) {
			p.problem(status.Failed, fmt.Sprintf("pool %s can't be created: it names disk %s twice", spec.Name, d.ID()),
				"correct disks in the configuration")
			continue
		}
		if why, do := f.unfit(d, taken); why != "" {
			p.problem(status.Failed, fmt.Sprintf("pool %s can't be created: disk %s %s", spec.Name, name, why), do)
			continue
		}
		disks = append(disks, d)
	}
	if len(missing) > 0 {
		p.Wait = "disk " + strings.Join(missing, ", ")
		p.problem(status.Failed,
			fmt.Sprintf("pool %s can't be created: disk %s isn't here", spec.Name, strings.Join(missing, ", ")),
			"connect it, or correct disks in the configuration; sanctl status lists the disks that are here")
	}
	return p, disks
}

// chooseAny takes every blank disk.
func chooseAny(spec Spec, f Facts, taken map[string]string) (p Plan, disks []disk.Disk) {
	p.Settle = true
	var others []string
	for _, d := range f.Disks {
		if why, _ := f.unfit(d, taken); why != "" {
			others = append(others, fmt.Sprintf("disk %s %s", d.ID(), why))
			continue
		}
		disks = append(disks, d)
	}
	least, most := anyNumber(spec.Layout)
	twins := sameDisk(disks)
	switch {
	case len(twins) > 0:
		p.problem(status.Failed, fmt.Sprintf("pool %s can't be created: these may be one disk, for they tell the same serial number or WWN (%s)", spec.Name, names(twins)),
			"connect each disk once, or name the disks in the configuration instead of \"*\"")
	case len(disks) < least:
		p.Wait = fmt.Sprintf("%d blank disks (%d here)", least, len(disks))
		what := fmt.Sprintf("pool %s can't be created: it needs %d blank disks, and %d are here", spec.Name, least, len(disks))
		if len(others) > 0 {
			what += "; " + strings.Join(others, "; ")
		}
		p.problem(status.Failed, what, "connect blank disks")
	case len(disks) > most:
		p.problem(status.Failed, fmt.Sprintf("pool %s can't be created: it has %d disks at most, and %d blank ones are here (%s)", spec.Name, most, len(disks), names(disks)),
			"name the disks in the configuration instead of \"*\"")
	case layoutError(spec.Layout, len(disks)) != nil:
		p.Wait = "one more blank disk"
		p.problem(status.Failed, fmt.Sprintf("pool %s can't be created: %v", spec.Name, layoutError(spec.Layout, len(disks))), "connect one more blank disk, or name the disks in the configuration")
	}
	return p, disks
}

// unfit tells why a disk can't be initialised, in words that follow its name;
// empty if it can.
func (f Facts) unfit(d disk.Disk, taken map[string]string) (why, do string) {
	g, inGroup := f.groupOf(d)
	finding, looked := f.Found[d.Name]
	_, stamped := f.Stamped[d.Name]
	switch other := taken[d.Name]; {
	case slices.Contains(f.Boot, d.Name):
		return "is the boot stick", "choose another disk"
	case f.Busy[d.Name] != "":
		return f.Busy[d.Name], "wait for that"
	case inGroup && ours(g):
		return "belongs to pool " + g.Name, "choose another disk"
	case inGroup:
		return "belongs to LVM volume group " + g.Name, "choose another disk"
	case other != "":
		return "is taken by pool " + other, "choose another disk"
	case d.ReadOnly:
		return "is read-only", "choose another disk"
	case stamped:
		return "", ""
	case !looked:
		return "hasn't been looked at yet", "wait"
	case !finding.Blank && finding.What == probe.Unreadable:
		return "can't be read: " + finding.String(), "replace it"
	case !finding.Blank:
		return "isn't blank: it holds " + f.inWords(d, finding.String()), "if nobody needs what is on it: sanctl disk wipe " + d.ID() + "; otherwise choose another disk"
	}
	return "", ""
}

func names(disks []disk.Disk) string {
	var s []string
	for _, d := range disks {
		if d.ID() == d.Name {
			s = append(s, d.Name)
		} else {
			s = append(s, d.Name+": "+d.ID())
		}
	}
	return strings.Join(s, ", ")
}

// planUnfinished goes on with a pool whose creation was interrupted. Its
// volumes never held data.
func planUnfinished(spec Spec, f Facts, g lvm.Group) Plan {
	all := f.membersOf(g)
	p, strangers := compareMembers(spec, all, goneDisks(g))
	if strangers || len(p.Problems) > 0 {
		return refuse(fmt.Sprintf("pool %s was being created on %s, and now the configuration names other disks", spec.Name, f.describe(g)),
			"name those disks in the configuration, or wipe them")
	}
	if g.Missing > 0 {
		p.Wait = fmt.Sprintf("all disks of half-made pool %s", spec.Name)
		p.problem(status.Failed, fmt.Sprintf("the creation of pool %s was interrupted, and now a disk is missing; it had %s", spec.Name, f.describe(g)),
			"connect the missing disk; the pool holds no data yet")
		return p
	}
	l, err := layoutOn(spec.Layout, len(all))
	if err != nil {
		return refuse(fmt.Sprintf("pool %s was being created on %d disks: %v", spec.Name, len(all), err),
			"name the disks in the configuration")
	}
	s, err := sizes(g, spec.Layout)
	if err == nil {
		err = s.leave(spec.thick(g, l))
	}
	if err != nil {
		return refuse(fmt.Sprintf("pool %s can't be created: %v", spec.Name, err), "choose larger disks")
	}
	s.Data = startWith(s.Data, spec, g.ExtentSize)
	create := CreateThinPool{Pool: spec.Name, Copies: l.copies, Sizes: s}
	if l.striped() {
		create.Kind, create.Disks = l.kind, l.data
		create.Sizes.Data = s.Data / int64(l.data) * int64(l.data)
	}
	var paths, tags []string
	for _, m := range all {
		paths = append(paths, m.pv.Path)
		tags = append(tags, memberTag(m.pv.UUID, m.id))
	}
	if len(g.Logical) > 0 {
		p.Steps = append(p.Steps, RemoveUnfinished{Pool: spec.Name})
	}
	p.Steps = append(p.Steps,
		ClearStamps{Paths: paths},
		create,
		Finish{Pool: spec.Name, Paths: paths, Tags: tags})
	p.Again = true
	return p
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
