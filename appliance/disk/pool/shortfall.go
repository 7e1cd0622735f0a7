package pool

import (
	"slices"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
)

// Until a lost disk has been waited for, it may come back, and then only what has
// changed is copied. So until then only disks that have come since count as room for
// what it held. What a pool has to grow into counts afterwards.

// Joined tells when a disk joined a pool, by its UUID, to take a lost one's place. It
// holds until the pool is well.
type Joined struct {
	Group string
	At    time.Time
}

// anyMember has all of a pool's disks count.
func anyMember(member) bool { return true }

// instead tells whether a member is there to take a lost one's place.
func (f Facts) instead(g lvm.Group, m member) bool {
	order := f.Replace[g.Name]
	return f.Instead[m.id].Group == g.UUID || m.here && m.disk.Is(order.New) && !f.works(g, order.Old)
}

// replaced tells whether a disk is here that joined instead of lost ones after m was.
func (f Facts) replaced(g lvm.Group, m member) bool {
	since, ok := f.Lost[m.pv.UUID]
	return ok && slices.ContainsFunc(f.membersOf(g), func(x member) bool {
		return x.here && f.Instead[x.id].Group == g.UUID && f.Instead[x.id].At.After(since)
	})
}

// room tells whose room counts: with spare that of all members.
func (f Facts) room(g lvm.Group, spare bool) func(member) bool {
	if spare {
		return anyMember
	}
	return func(m member) bool { return f.instead(g, m) }
}

// ordered tells whether a disk is here, and isn't a member yet, that somebody has chosen
// to take a lost one's place; then no other need be found.
func (f Facts) ordered(g lvm.Group, taken map[string]string) bool {
	order := f.Replace[g.Name]
	found := disk.Find(f.Disks, order.New)
	if len(found) != 1 || f.works(g, order.Old) || found[0].Size < f.wanting(g, false) {
		return false
	}
	why, _ := f.unfit(found[0], taken)
	return why == ""
}

// works tells whether a disk is a member of a pool and isn't lost.
func (f Facts) works(g lvm.Group, name string) bool {
	lost := f.lostMembers(g)
	return slices.ContainsFunc(f.membersOf(g), func(m member) bool {
		return m.here && (m.disk.Is(name) || m.id == name) && !slices.ContainsFunc(lost, func(l member) bool { return l.pv.UUID == m.pv.UUID })
	})
}

// shortfall is by how many bytes the disks that count lack room for the legs that are
// lost: for one of each volume, or for every one, each on disks of its own.
func (f Facts) shortfall(g lvm.Group, counts func(member) bool, every bool) int64 {
	_, lacks := f.seats(g, counts, every)
	return lacks
}

// seats are the disks that lost legs are to lie on, the first one of each volume, by its
// name. lacks is by how many bytes there isn't room. Small volumes come first, unless
// only the other way round all find room.
func (f Facts) seats(g lvm.Group, counts func(member) bool, every bool) (on map[string][]member, lacks int64) {
	lost := map[string]bool{}
	for _, m := range f.lostMembers(g) {
		lost[m.pv.UUID] = true
	}
	legs := slices.DeleteFunc(f.legs(g), func(l leg) bool {
		return !l.lost && !slices.ContainsFunc(l.pvs, func(pv string) bool { return lost[pv] })
	})
	if on, lacks = f.seatInTurn(g, legs, counts, every); lacks > 0 {
		slices.Reverse(legs)
		if others, less := f.seatInTurn(g, legs, counts, every); less < lacks {
			return others, less
		}
	}
	return on, lacks
}

func (f Facts) seatInTurn(g lvm.Group, legs []leg, counts func(member) bool, every bool) (on map[string][]member, lacks int64) {
	on = map[string][]member{}
	taken := map[string][]string{}        // physical volumes, by volume
	g.Physical = slices.Clone(g.Physical) // what is planned takes room
	for _, l := range legs {
		name := l.volume.Name
		_, again := on[name]
		if again && !every {
			continue
		}
		some, more := f.targets(g, l.volume, func(m member) bool { return counts(m) && !slices.Contains(taken[name], m.pv.UUID) })
		takeInTurn(g, legSize(g, l.volume)/g.ExtentSize+1, some)
		lacks += more
		for _, m := range some {
			taken[name] = append(taken[name], m.pv.UUID)
		}
		if !again {
			on[name] = some
		}
	}
	return on, lacks
}

// onceCut is a pool as CutMissing would leave it: of a leg that lay on several disks,
// what is on those that are here, freed, is free. Of how much that is it is an estimate:
// rather less.
func (f Facts) onceCut(g lvm.Group) (cut lvm.Group, freed map[string]int64) {
	var missing []int64 // extents of each missing disk
	var whole int64     // of them those that belong to what lies on nothing else
	for _, pv := range g.Physical {
		if pv.Missing {
			missing = append(missing, pv.Allocated)
		}
	}
	slices.Sort(missing)
	slices.Reverse(missing)
	here := func(v lvm.LogicalVolume) (on []member) {
		for _, m := range f.membersOf(g) {
			if m.here && slices.Contains(v.Devices, m.pv.Path) {
				on = append(on, m)
			}
		}
		return on
	}
	gone := func(v lvm.LogicalVolume) bool { return v.Partial && !isRaid(v) && v.Type == "linear" }
	for _, v := range g.Logical {
		if gone(v) && len(here(v)) == 0 {
			whole += v.Size / max(g.ExtentSize, 1)
		}
	}
	freed = map[string]int64{} // extents, by path
	cut = g
	cut.Logical = slices.Clone(g.Logical)
	for i := range cut.Logical {
		v := &cut.Logical[i]
		if !gone(*v) {
			continue
		}
		on := here(*v)
		var most, all int64 // of it on missing disks
		for n, extents := range missing {
			if all += extents; n < max(len(v.Devices)-len(on), 1) {
				most += extents
			}
		}
		left := max(v.Size/max(g.ExtentSize, 1)-min(most, max(all-whole, 0)), 0)
		for _, m := range on {
			n := min(left, m.pv.Allocated-freed[m.pv.Path])
			freed[m.pv.Path], left = freed[m.pv.Path]+n, left-n
		}
		v.Type, v.Devices, v.Partial = "error", nil, false
	}
	cut.Missing, cut.Physical = 0, slices.DeleteFunc(slices.Clone(g.Physical), func(pv lvm.PhysicalVolume) bool { return pv.Missing })
	for i := range cut.Physical {
		cut.Physical[i].Allocated -= freed[cut.Physical[i].Path]
	}
	return cut, freed
}

// shortfallOnceCut is the shortfall without the disks that are missing; what that frees
// counts, too.
func (f Facts) shortfallOnceCut(g lvm.Group, counts func(member) bool, every bool) int64 {
	cut, freed := f.onceCut(g)
	return f.shortfall(cut, func(m member) bool { return counts(m) || freed[m.pv.Path] > 0 }, every)
}

// roomOnceCut tells whether a pool that lacks room for its lost legs would have it on
// disks that have come since, if it gave up those that are missing: none of which may
// have gone after that, unless it has been waited for.
func (f Facts) roomOnceCut(g lvm.Group, spareAfter time.Duration) bool {
	wanted := slices.ContainsFunc(f.membersOf(g), func(m member) bool {
		return !m.here && !f.waited([]member{m}, spareAfter) && !f.replaced(g, m)
	})
	counts := f.room(g, false)
	return !wanted && f.expendable(g) && f.shortfall(g, counts, true) > 0 && f.shortfallOnceCut(g, counts, true) == 0
}

// wanting is how many bytes more disks must have to take the place of those that a pool
// has lost, of one first; 0 if none are wanted. With spare, all the room counts that it
// has. Otherwise a disk is wanted even if giving up the missing one makes room enough:
// without one that isn't done.
func (f Facts) wanting(g lvm.Group, spare bool) int64 {
	counts := f.room(g, spare)
	for _, every := range []bool{false, true} {
		lacks := f.shortfall(g, counts, every)
		if lacks > 0 && f.expendable(g) {
			once := f.shortfallOnceCut(g, counts, every)
			if once == 0 && !spare {
				for _, m := range f.membersOf(g) {
					if !m.here && !f.replaced(g, m) {
						once = max(once, m.pv.Allocated*g.ExtentSize)
					}
				}
			}
			lacks = min(lacks, once)
		}
		if lacks > 0 {
			return lacks + 8*mib
		}
	}
	return 0
}

// lostLegs tells whether a pool has lost a leg for good, or one on a disk that is lost.
func (f Facts) lostLegs(g lvm.Group) bool {
	lost := f.lostMembers(g)
	return slices.ContainsFunc(f.legs(g), func(l leg) bool {
		return l.lost || slices.ContainsFunc(lost, func(m member) bool { return slices.Contains(l.pvs, m.pv.UUID) })
	})
}
