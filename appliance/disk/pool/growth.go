package pool

import (
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// growth is by how many bytes a thin pool's data, or its metadata, can still be
// grown in its group. why says what is in the way if it can't at all.
type growth struct {
	data, meta int64
	why        string
}

// maxMetadata is the most that the kernel uses, less what it keeps to itself.
const maxMetadata = 15 * gib

// roomToGrow works that out. What stays free: room for a repair of the metadata,
// which needs as much again, and at least 1 %. It is an estimate: LVM has the last
// word.
func roomToGrow(g lvm.Group, devices map[string]lvm.Device) growth {
	if g.Missing > 0 {
		return growth{why: "a disk is missing"}
	}
	for _, part := range []string{dataVolume + "_tdata", dataVolume + "_tmeta"} {
		if r := devices[lvm.DeviceName(g.Name, part)].Raid; r != nil && strings.Contains(r.Legs, "D") {
			return growth{why: "a copy of it has failed"}
		}
	}
	data, _ := g.Volume(dataVolume + "_tdata")
	meta, _ := g.Volume(dataVolume + "_tmeta")
	if g.ExtentSize <= 0 || data.Size <= 0 || meta.Size <= 0 {
		return growth{why: "it isn't known how it lies on its disks"}
	}
	keep := meta.Size/g.ExtentSize + 4 // extents
	room := growth{data: roomOf(g, data, keep), meta: min(roomOf(g, meta, keep), max(maxMetadata-meta.Size, 0))}
	if room.data == 0 {
		room.why = "its disks have no room left"
	}
	return room
}

// roomOf is by how many bytes a volume can grow. Each of the images of a mirror or
// another RAID has disks of its own, which the others can't use; disks with none
// of them go to those that have least.
func roomOf(g lvm.Group, v lvm.LogicalVolume, keep int64) int64 {
	free := func(pv lvm.PhysicalVolume) int64 { return max(pv.Extents-pv.Allocated-max(pv.Extents/100, keep), 0) }
	var images []lvm.LogicalVolume
	for _, name := range v.Devices {
		if image, ok := g.Volume(name); ok && image.Size > 0 {
			images = append(images, image)
		}
	}
	if len(images) == 0 { // one copy, on any disks
		var all, unused int64
		for _, pv := range g.Physical {
			all, unused = all+pv.Extents, unused+max(pv.Extents-pv.Allocated, 0)
		}
		return max(unused-max(all/100, keep), 0) * g.ExtentSize
	}
	own := make([]int64, len(images))
	var spare []int64
	for _, pv := range g.Physical {
		i := slices.IndexFunc(images, func(v lvm.LogicalVolume) bool { return slices.Contains(v.Devices, pv.Path) })
		if i < 0 {
			spare = append(spare, free(pv))
			continue
		}
		own[i] += free(pv)
	}
	slices.Sort(spare)
	for _, n := range slices.Backward(spare) {
		own[slices.Index(own, slices.Min(own))] += n
	}
	extents := float64(slices.Min(own)) * float64(v.Size) / float64(images[0].Size)
	return int64(extents) * g.ExtentSize
}

// startWith is how many of the extents that a new thin pool may have it begins
// with: what its volumes are promised, and at least three fifths. The guard
// grows it as it fills; until then there is room for other things in the group.
func startWith(all int64, spec Spec, extent int64) int64 {
	var promised, thick int64
	for _, v := range spec.Volumes {
		if v.Thick {
			thick += (v.Size+extent-1)/extent + 1
		} else {
			promised += (v.Size + extent - 1) / extent
		}
	}
	all = max(all-thick, all/10)
	start := (all*3 + 4) / 5
	if promised <= all {
		start = max(start, promised)
	}
	return start
}
