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

// anyNumber is how many disks a pool of any blank disks has, at least and at most.
func anyNumber(layout string) (least, most int) {
	switch layout {
	case Mirror:
		return 2, 64
	case RAID10:
		return 4, 64
	case RAID5:
		return 3, 32
	case RAID6:
		return 5, 32
	}
	return 1, 1024
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
		err = s.leave(spec.thick(g, l), l.elsewhere(g, s.Meta))
	}
	if err != nil {
		return refuse(fmt.Sprintf("pool %s can't be created: %v", spec.Name, err), "choose larger disks")
	}
	s.Data = startWith(s.Data, spec, g.ExtentSize)
	create := CreateThinPool{Pool: spec.Name, Copies: l.copies, Sizes: s}
	if n := l.legs(len(all)); n < len(all) {
		create.On = pathsOf(lvm.Group{Physical: largest(g)[:n]})
	}
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
