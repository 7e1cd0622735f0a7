package pool

import (
	"slices"

	"sanstick/appliance/disk/lvm"
)

// shortfall is by how many bytes the disks of a pool lack room for the legs that are
// lost.
func (f Facts) shortfall(g lvm.Group) (lacks int64) {
	lost := map[string]bool{}
	for _, m := range f.lostMembers(g) {
		lost[m.pv.UUID] = true
	}
	done := map[string]bool{}
	g.Physical = slices.Clone(g.Physical) // what is planned takes room
	for _, l := range f.legs(g) {
		if done[l.volume.Name] || !l.lost && !slices.ContainsFunc(l.pvs, func(pv string) bool { return lost[pv] }) {
			continue
		}
		done[l.volume.Name] = true
		on, more := f.targets(g, l.volume)
		takeInTurn(g, legSize(g, l.volume)/g.ExtentSize+1, on)
		lacks += more
	}
	return lacks
}

// onceCut is a pool as CutMissing would leave it: of a leg that lay on several disks,
// what is on those that are here is free. Of how much that is it is an estimate: rather
// less.
func (f Facts) onceCut(g lvm.Group) lvm.Group {
	var missing int64
	for _, pv := range g.Physical {
		if pv.Missing {
			missing += pv.Allocated
		}
	}
	free := map[string]int64{} // extents, by path
	g.Logical = slices.Clone(g.Logical)
	for i := range g.Logical {
		v := &g.Logical[i]
		if !v.Partial || isRaid(*v) || v.Type != "linear" {
			continue
		}
		left := max(v.Size/max(g.ExtentSize, 1)-missing, 0)
		for _, m := range f.membersOf(g) {
			if m.here && slices.Contains(v.Devices, m.pv.Path) {
				n := min(left, m.pv.Allocated-free[m.pv.Path])
				free[m.pv.Path], left = free[m.pv.Path]+n, left-n
			}
		}
		v.Type, v.Devices, v.Partial = "error", nil, false
	}
	g.Missing, g.Physical = 0, slices.DeleteFunc(slices.Clone(g.Physical), func(pv lvm.PhysicalVolume) bool { return pv.Missing })
	for i := range g.Physical {
		g.Physical[i].Allocated -= free[g.Physical[i].Path]
	}
	return g
}

// roomOnceCut tells whether a pool that has no room for its lost legs would have it
// without the disks that are missing.
func (f Facts) roomOnceCut(g lvm.Group) bool {
	return f.shortfall(g) > 0 && f.expendable(g) && f.shortfall(f.onceCut(g)) == 0
}

// wanting is how many bytes more disks must have to take the place of those that a
// pool has lost; 0 if none are wanted, since it has the room. Until lost ones were
// waited for, that which it has to grow into doesn't count.
func (f Facts) wanting(g lvm.Group, waited bool) int64 {
	lacks := f.shortfall(g)
	if lacks > 0 && f.expendable(g) {
		lacks = min(lacks, f.shortfall(f.onceCut(g)))
	}
	if lacks == 0 && (waited || f.hasInstead(g)) {
		return 0
	}
	return lacks + 8*mib
}
