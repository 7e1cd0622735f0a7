package pool

import (
	"cmp"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// growth is by how many bytes a thin pool's data, or its metadata, can still be
// grown in its group. why says what is in the way if it can't at all.
type growth struct {
	data, meta rounds
	why        string
}

// A round is a growth of a volume that is one command: by so many bytes, on these
// disks; on any if none is named.
type round struct {
	bytes int64
	on    []string // paths
}

// rounds come one after another.
type rounds []round

func (r rounds) bytes() (sum int64) {
	for _, x := range r {
		sum += x.bytes
	}
	return sum
}

// atMost cuts off what is more than bytes.
func (r rounds) atMost(bytes int64) rounds {
	var out rounds
	for _, x := range r {
		if x.bytes = min(x.bytes, bytes); x.bytes > 0 {
			out, bytes = append(out, x), bytes-x.bytes
		}
	}
	return out
}

// maxMetadata is the most that the kernel uses, less what it keeps to itself.
const maxMetadata = 15 * gib

// roomToGrow works that out. What stays free: room for a repair of the metadata,
// which needs as much again, and at least 1 %, of which the metadata may take what it
// needs: clones and snapshots have it grow though the data doesn't. It is an estimate: LVM has the last
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
	keep := keptFree(g)
	room := growth{data: roomOf(g, data, keep), meta: roomOf(g, meta, margin{extents: keep.extents}).atMost(maxMetadata - meta.Size)}
	if room.data.bytes() == 0 {
		room.why = "its disks have no room left"
	}
	return room
}

// A margin is what stays free of each disk: so many extents, and as many per cent.
type margin struct{ extents, percent int64 }

// keptFree is what data leaves free.
func keptFree(g lvm.Group) margin {
	meta, _ := g.Volume(dataVolume + "_tmeta")
	return margin{meta.Size/max(g.ExtentSize, 1) + 4, 1}
}

func (m margin) of(extents int64) int64 { return max(extents*m.percent/100, m.extents) }

// usable is how many extents of a disk may still be used.
func usable(pv lvm.PhysicalVolume, keep margin) int64 {
	return max(pv.Extents-pv.Allocated-keep.of(pv.Extents), 0)
}

// roomOf is how a volume can grow. No two legs of a mirror or another RAID may lie
// on one disk, and which of several disks LVM puts a leg on can't be said. So they
// grow either all on the disks that they have, where LVM lets each go on, or all on
// as many disks that have none of them.
func roomOf(g lvm.Group, v lvm.LogicalVolume, keep margin) rounds {
	images := imagesOf(g, v)
	if len(images) == 0 { // one copy, on any disks
		var all, unused int64
		for _, pv := range g.Physical {
			all, unused = all+pv.Extents, unused+max(pv.Extents-pv.Allocated, 0)
		}
		if n := unused - keep.of(all); n > 0 {
			return rounds{{bytes: n * g.ExtentSize}}
		}
		return nil
	}
	own := make([]int64, len(images))
	var on []string
	var others []lvm.PhysicalVolume
	for _, pv := range g.Physical {
		i := slices.IndexFunc(images, func(v lvm.LogicalVolume) bool { return slices.Contains(v.Devices, pv.Path) })
		if i < 0 {
			others = append(others, pv)
			continue
		}
		own[i] += usable(pv, keep)
		on = append(on, pv.Path)
	}
	var all rounds
	add := func(extents int64, on []string) { // of each leg
		if bytes := int64(float64(extents)*float64(v.Size)/float64(images[0].Size)) * g.ExtentSize; bytes > 0 {
			all = append(all, round{bytes, on})
		}
	}
	add(slices.Min(own), on)
	slices.SortStableFunc(others, func(a, b lvm.PhysicalVolume) int { return cmp.Compare(usable(b, keep), usable(a, keep)) })
	for some := range slices.Chunk(others, len(images)) {
		if len(some) == len(images) {
			var on []string
			for _, pv := range some {
				on = append(on, pv.Path)
			}
			add(usable(some[len(some)-1], keep), on)
		}
	}
	return all
}

// imagesOf are the parts of a raid volume, each of which is a leg's.
func imagesOf(g lvm.Group, v lvm.LogicalVolume) []lvm.LogicalVolume {
	var images []lvm.LogicalVolume
	for _, name := range v.Devices {
		if image, ok := g.Volume(name); ok && image.Size > 0 {
			images = append(images, image)
		}
	}
	return images
}

// startWith is how many of the extents that a new thin pool may have it begins
// with: what its volumes are promised, and at least three fifths. The guard
// grows it as it fills; until then there is room for other things in the group.
func startWith(all int64, spec Spec, extent int64) int64 {
	var promised int64
	for _, v := range spec.Volumes {
		if !v.Thick { // for those there is room beside all
			promised += (v.Size + extent - 1) / extent
		}
	}
	start := (all*3 + 4) / 5
	if promised <= all {
		start = max(start, promised)
	}
	return start
}
