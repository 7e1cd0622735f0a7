package pool

import (
	"fmt"

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
		if why, do := f.unfit(found[0], taken); why != "" || found[0].Size < room(g) {
			if why == "" {
				why, do = fmt.Sprintf("is too small: %d bytes are needed", room(g)), "choose a larger one"
			}
			p.problem(status.Degraded, fmt.Sprintf("disk %s can't take the place of %s in pool %s: it %s", w.New, w.Old, g.Name, why), do)
			return false
		}
		p.add(g, f, found[0])
	default:
		done := map[string]bool{}
		for _, l := range f.legs(g) {
			if l.pv == old.pv.UUID && !done[l.volume.Name] {
				done[l.volume.Name] = true
				p.Steps = append(p.Steps, ReplaceLeg{Pool: g.Name, Volume: l.volume.Name, From: old.pv.Path, To: target.pv.Path, Disk: target.id})
			}
		}
	}
	return len(p.Steps) > 0
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
			p.problem(status.Degraded, fmt.Sprintf("disk %s can't be added to pool %s: it %s", n, spec.Name, why), do)
			continue
		}
		fresh = append(fresh, found[0])
	}
	var idle []member
	for _, m := range all {
		if m.here && m.pv.Allocated == 0 {
			idle = append(idle, m)
		}
	}
	switch data, _ := g.Volume(dataVolume + "_tdata"); {
	case spec.Layout == Single && !isRaid(data) && len(fresh)+len(idle) > 0:
		return p.growSingle(f, g, fresh, idle)
	case spec.Layout == Mirror && data.Type == "raid1":
		return p.growMirror(spec, f, g, fresh)
	}
	if len(fresh) > 0 {
		p.problem(status.Degraded, fmt.Sprintf("pool %s can't take disk %s: a pool of layout %s keeps the number of disks that it was made with", spec.Name, names(fresh), spec.Layout),
			"make another pool of the new disks, or name them as spares")
	}
	return false
}

// growSingle uses all but the usual reserve of new disks.
func (p *Plan) growSingle(f Facts, g lvm.Group, fresh []disk.Disk, idle []member) bool {
	for _, d := range fresh {
		p.add(g, f, d)
	}
	if len(fresh) > 0 {
		return true
	}
	var extents int64
	for _, m := range idle {
		extents += m.pv.Extents * 19 / 20
	}
	// Old disks have some room, too, which LVM may take first: so a disk may stay
	// idle, and a little is added again and again, ever less.
	if extents = min(extents, g.Free/g.ExtentSize*19/20); extents <= 0 {
		return false
	}
	p.Steps = append(p.Steps, ExtendPool{Pool: g.Name, Extents: extents})
	return true
}

// growMirror makes three copies of two.
func (p *Plan) growMirror(spec Spec, f Facts, g lvm.Group, fresh []disk.Disk) bool {
	ready := true
	for _, v := range raidVolumes(g) {
		n := len(v.Devices)
		if n >= min(3, len(spec.Disks)) || v.Type != "raid1" {
			continue
		}
		m, ok := f.target(g, v)
		if ready = ready && ok; ok {
			p.Steps = append(p.Steps, AddCopy{Pool: g.Name, Volume: v.Name, Copies: n + 1, Disk: m.id, Path: m.pv.Path})
		}
	}
	if ready {
		return len(p.Steps) > 0
	}
	p.Steps = nil
	for _, d := range fresh {
		if d.Size < room(g) {
			p.problem(status.Degraded, fmt.Sprintf("disk %s is too small for one more copy in pool %s: %d bytes are needed", d.ID(), g.Name, room(g)), "choose a larger one")
			continue
		}
		p.add(g, f, d)
		return true
	}
	return false
}
