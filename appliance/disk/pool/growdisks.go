package pool

import (
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// A Replacement is a command to put a disk in another's place.
type Replacement struct{ Old, New string }

// planReplace does what such a command says about a disk that works.
func (p *Plan) planReplace(f Facts, g lvm.Group, taken map[string]string) bool {
	w := f.Replace[g.Name]
	if w.New == "" {
		return false
	}
	var old, target member
	for _, m := range f.membersOf(g) {
		switch {
		case m.here && (m.disk.Is(w.Old) || m.id == w.Old):
			old = m
		case m.here && (m.disk.Is(w.New) || m.id == w.New):
			target = m
		}
	}
	switch {
	case old.pv.UUID == "":
		return false
	case old.pv.Allocated == 0:
		p.Steps = append(p.Steps, RemoveDisk{Pool: g.Name, Disk: old.id, Path: old.pv.Path})
	case target.pv.UUID == "":
		found := disk.Find(f.Disks, w.New)
		if len(found) != 1 {
			return false
		}
		if why, do := f.unfit(found[0], taken); why != "" || found[0].Size < f.need(g) {
			if why == "" {
				why, do = fmt.Sprintf("is too small: %d bytes are needed", f.need(g)), "choose a larger one"
			}
			p.problem(status.Degraded, fmt.Sprintf("disk %s can't take the place of %s in pool %s: it %s", w.New, w.Old, g.Name, why), do)
			return false
		}
		p.add(g, f, found[0], false)
	default:
		done := map[string]bool{}
		for _, l := range f.legs(g) {
			if slices.Contains(l.pvs, old.pv.UUID) && !done[l.volume.Name] {
				done[l.volume.Name] = true
				to := []member{target}
				if target.free()*g.ExtentSize < legSize(g, l.volume)+g.ExtentSize {
					to = append(to, slices.DeleteFunc(f.idleMembers(g), func(m member) bool { return m.pv.UUID == target.pv.UUID })...)
				}
				names, paths := places(to)
				p.Steps = append(p.Steps, ReplaceLeg{Pool: g.Name, Volume: l.volume.Name, From: old.pv.Path, To: paths, Disk: names})
			}
		}
	}
	return len(p.Steps) > 0
}

// idleMembers are a pool's disks on which nothing lies.
func (f Facts) idleMembers(g lvm.Group) []member {
	return slices.DeleteFunc(f.membersOf(g), func(m member) bool { return !m.here || m.pv.Allocated > 0 })
}

// planGrowth uses disks that the configuration names and that aren't in the pool
// yet.
func (p *Plan) planGrowth(spec Spec, f Facts, g lvm.Group, taken map[string]string) bool {
	if spec.anyDisk() {
		return false
	}
	all := f.membersOf(g)
	var fresh []disk.Disk
	for _, n := range spec.Disks {
		found := disk.Find(f.Disks, n)
		if len(found) != 1 {
			continue
		}
		member := false
		for _, m := range all {
			member = member || m.here && m.disk.Name == found[0].Name
		}
		if member {
			continue
		}
		if why, do := f.unfit(found[0], taken); why != "" {
			if slices.Contains(goneDisks(g), found[0].ID()) {
				continue // the status tells that it is out of date; the pool is whole
			}
			p.problem(status.Degraded, fmt.Sprintf("disk %s can't be added to pool %s: it %s", n, spec.Name, why), do)
			continue
		}
		fresh = append(fresh, found[0])
	}
	switch data, _ := g.Volume(dataVolume + "_tdata"); {
	case len(imagesOf(g, data)) == 0:
		p.join(f, g, fresh, false)
	case data.Type == "raid1" && len(data.Devices) == 2 && len(spec.Disks) == 3:
		return p.growMirror(spec, f, g, fresh)
	case len(fresh) > 0:
		p.growLegs(spec, f, g, data, fresh)
	}
	return len(p.Steps) > 0
}

// join makes blank disks a part of the pool: instead of lost ones, or to make it larger.
// Then their room is used as that of its other disks is; see guardState.look.
func (p *Plan) join(f Facts, g lvm.Group, fresh []disk.Disk, instead bool) {
	for _, d := range fresh {
		p.add(g, f, d, instead)
	}
}

// growLegs adds disks on which the legs of the pool's data can go on, if there are
// as many as it has legs.
func (p *Plan) growLegs(spec Spec, f Facts, g lvm.Group, data lvm.LogicalVolume, fresh []disk.Disk) {
	legs := len(data.Devices)
	waiting := 0 // members without a leg
	var smallest int64
	for _, m := range f.membersOf(g) {
		if m.here && !slices.ContainsFunc(imagesOf(g, data), func(i lvm.LogicalVolume) bool { return slices.Contains(i.Devices, m.pv.Path) }) {
			waiting++
		}
	}
	for _, d := range fresh {
		if smallest == 0 || d.Size < smallest {
			smallest = d.Size
		}
	}
	have := waiting%legs + len(fresh)
	if use := have / legs * legs; use > 0 {
		p.join(f, g, fresh[:use-waiting%legs], false)
		fresh = fresh[use-waiting%legs:]
		have -= use
	}
	if len(fresh) == 0 {
		return
	}
	p.problem(status.Degraded, fmt.Sprintf("pool %s can't use disk %s yet: its data lies on %d disks, each with as much of it, and grows by %d disks at a time; %d more are lacking",
		spec.Name, ids(fresh), legs, legs, legs-have),
		fmt.Sprintf("connect %d more blank disks of at least %s each and name them under disks, or name disk %s as a spare", legs-have, status.FormatBytes(smallest), ids(fresh)))
}

func ids(disks []disk.Disk) string {
	var s []string
	for _, d := range disks {
		s = append(s, d.ID())
	}
	return strings.Join(s, ", ")
}

// growMirror makes three copies of two.
func (p *Plan) growMirror(spec Spec, f Facts, g lvm.Group, fresh []disk.Disk) bool {
	ready := true
	all := g
	g.Physical = slices.Clone(g.Physical) // what is planned takes room
	for _, v := range raidVolumes(g) {
		n := len(v.Devices)
		if n >= 3 || v.Type != "raid1" {
			continue
		}
		on, lacks := f.targets(g, v, anyMember)
		names, paths := places(on)
		takeInTurn(g, legSize(g, v)/g.ExtentSize+1, on)
		if ready = ready && lacks == 0; lacks == 0 {
			p.Steps = append(p.Steps, AddCopy{Pool: g.Name, Volume: v.Name, Copies: n + 1, Disk: names, Paths: paths})
		}
	}
	if ready {
		return len(p.Steps) > 0
	}
	p.Steps = nil
	for _, d := range fresh {
		if d.Size < room(all) {
			p.problem(status.Degraded, fmt.Sprintf("disk %s is too small for one more copy in pool %s: %d bytes are needed", d.ID(), g.Name, room(all)), "choose a larger one")
			continue
		}
		p.add(g, f, d, false)
		return true
	}
	return false
}
