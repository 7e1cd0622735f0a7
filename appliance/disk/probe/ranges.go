package probe

import (
	"cmp"
	"slices"
)

// wipeBlock is what ranges are multiples of: it fits any disk's blocks.
const wipeBlock = 4096

// Ranges lists what must be overwritten with zeros to make a disk blank, as
// start and end of each range, in order, in blocks of 4 KiB (the last one may
// be shorter): every place where a known signature can lie, on the disk and in
// the partitions among found, and every place where Probe looks for data.
// Afterwards Probe finds the disk blank. It isn't empty: what lies between the
// ranges stays on it.
//
// The places are those that Probe itself reads on a blank disk, so neither can
// forget what the other one knows.
func Ranges(size int64, found []Finding) [][2]int64 {
	if size <= 0 {
		return nil
	}
	all := placesOf(0, size)
	for _, f := range found {
		if f.isPartition() && f.Offset >= 0 && f.Offset < size {
			all = append(all, placesOf(f.Offset, min(f.Size, size-f.Offset))...)
		}
	}
	for i, r := range all {
		all[i] = [2]int64{r[0] &^ (wipeBlock - 1), min((r[1]+wipeBlock-1)&^(wipeBlock-1), size)}
	}
	slices.SortFunc(all, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	merged := all[:1]
	for _, r := range all[1:] {
		last := &merged[len(merged)-1]
		if r[0] <= last[1] {
			last[1] = max(last[1], r[1])
		} else {
			merged = append(merged, r)
		}
	}
	return slices.Clip(merged)
}

// placesOf lists what is read of a blank disk, or of a blank partition that
// begins at start: there the probers alone, because data in a partition is
// looked for on the disk.
func placesOf(start, size int64) [][2]int64 {
	z := &blankDisk{start: start}
	d := newDevice(z, size, 0)
	for _, p := range probers {
		p(d)
	}
	if start == 0 {
		for at, n := range areas(size) {
			z.read = append(z.read, [2]int64{at, at + n})
		}
	}
	return z.read
}

// blankDisk is blank, and knows what was read of it.
type blankDisk struct {
	start int64
	read  [][2]int64
}

func (z *blankDisk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	z.read = append(z.read, [2]int64{z.start + off, z.start + off + int64(len(p))})
	return len(p), nil
}
