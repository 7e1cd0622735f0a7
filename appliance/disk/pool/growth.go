package pool

import (
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

// roomToGrow works that out. What stays free in the group: room for a repair of
// the metadata, which needs as much again, and at least 1 %. It is an estimate
// where disks differ in size: LVM has the last word.
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
	var free, all int64
	for _, pv := range g.Physical {
		all += pv.Extents * g.ExtentSize
		free += max(pv.Extents-pv.Allocated, 0) * g.ExtentSize
	}
	keep := max(all/100, rawSize(g, meta)+4*g.ExtentSize*int64(len(g.Physical)))
	free = max(free-keep, 0)
	room := growth{data: share(free, g, data), meta: min(share(free, g, meta), max(maxMetadata-meta.Size, 0))}
	if room.data == 0 {
		room.why = "its disks have no room left"
	}
	return room
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

// share is how many bytes a volume can grow by with so many bytes of disks, in
// whole extents.
func share(free int64, g lvm.Group, v lvm.LogicalVolume) int64 {
	bytes := int64(float64(free) * float64(v.Size) / float64(max(rawSize(g, v), v.Size)))
	return bytes / g.ExtentSize * g.ExtentSize
}

// rawSize is how many bytes of disks a volume takes: with its copies and
// parity, without their metadata.
func rawSize(g lvm.Group, v lvm.LogicalVolume) int64 {
	var sum int64
	for _, part := range v.Devices {
		if leg, ok := g.Volume(part); ok {
			sum += leg.Size
		}
	}
	if sum == 0 { // on disks as it is
		return v.Size
	}
	return sum
}
