package pool

import (
	"cmp"
	"fmt"
	"slices"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// unused tells of a pool's disks how much of them can't be used, because the others
// have no room for the rest of what it would be a part of. What stays free in any
// case, and differences as small as that, don't count.
func (f Facts) unused(g lvm.Group) []status.Unused {
	data, _ := g.Volume(dataVolume + "_tdata")
	images := imagesOf(g, data)
	if len(images) == 0 || g.Missing > 0 || g.ExtentSize <= 0 {
		return nil // one copy uses everything
	}
	keep := keptFree(g)
	var all []status.Unused
	tell := func(m member, extents int64, why string) {
		if extents > m.pv.Extents/20+keep.extents {
			all = append(all, status.Unused{Disk: m.id, Bytes: extents * g.ExtentSize, Why: why})
		}
	}
	legs := make([][]member, len(images))
	var others []member
	for _, m := range f.membersOf(g) {
		i := slices.IndexFunc(images, func(v lvm.LogicalVolume) bool { return slices.Contains(v.Devices, m.pv.Path) })
		if i < 0 {
			others = append(others, m)
			continue
		}
		legs[i] = append(legs[i], m)
	}
	freest := func(a, b member) int { return cmp.Compare(usable(b.pv, keep), usable(a.pv, keep)) }
	left := func(ms []member) (sum int64) {
		for _, m := range ms {
			sum += usable(m.pv, keep)
		}
		return sum
	}
	least := slices.MinFunc(legs, func(a, b []member) int { return cmp.Compare(left(a), left(b)) })
	smallest, _ := places(least)
	for _, leg := range legs {
		more := left(leg) - left(least)
		slices.SortStableFunc(leg, freest)
		for _, m := range leg {
			n := min(more, usable(m.pv, keep))
			more -= n
			tell(m, n, fmt.Sprintf("each copy or part of the data is as large as the smallest, which is on disk %s; replace that by a larger one", smallest))
		}
	}
	slices.SortStableFunc(others, freest)
	for some := range slices.Chunk(others, len(images)) {
		for _, m := range some {
			last := some[len(some)-1]
			if n := len(images) - len(some); n > 0 {
				tell(m, usable(m.pv, keep), fmt.Sprintf("the data grows by %d disks at a time; add %d more", len(images), n))
			} else {
				tell(m, usable(m.pv, keep)-usable(last.pv, keep), fmt.Sprintf("disk %s, which was added with it, is smaller", last.id))
			}
		}
	}
	return all
}
