package pool

import (
	"cmp"
	"errors"
	"slices"

	"sanstick/appliance/disk/lvm"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

// Sizes are how a group's space is shared out.
type Sizes struct {
	Data, Meta int64 // extents, of which each copy has as many
	Chunk      int64 // bytes
}

// errTooSmall says that there isn't room for a pool.
var errTooSmall = errors.New("its disks are too small for a pool")

// sizes shares out a group without any volumes. Five per cent stay free, and
// at least what a repair of the thin pool's metadata needs as room.
//
// Metadata: 64 bytes per chunk hold a full pool and as much again for what
// clones make different, within what the kernel takes (16 GiB). Chunks grow
// with the pool to keep it there; small ones waste less when clones differ.
func sizes(g lvm.Group, name string) (Sizes, error) {
	const minMeta, maxMeta = 8 * mib, 15 * gib
	if g.ExtentSize <= 0 || len(g.Physical) == 0 {
		return Sizes{}, errTooSmall
	}
	l, err := layoutOn(name, len(g.Physical))
	if err != nil {
		return Sizes{}, err
	}
	// room and overhead are of one leg at the beginning, most is when all disks are used.
	var room, overhead, most int64
	if name == Single {
		for _, pv := range g.Physical {
			room += pv.Extents
		}
		most = room
	} else {
		legs := l.legs(len(g.Physical))
		for some := range slices.Chunk(largest(g), legs) {
			if len(some) == legs {
				most += some[legs-1].Extents
				room = max(room, some[legs-1].Extents)
			}
		}
	}
	if l.kind != "" {
		overhead = 2 // each raid volume has a metadata extent per leg
	}
	stripes := l.stripes()
	s := Sizes{Chunk: 64 * kib}
	switch bytes := most * stripes * g.ExtentSize; {
	case bytes > 16*tib:
		s.Chunk = 256 * kib
	case bytes > 4*tib:
		s.Chunk = 128 * kib
	}
	meta := min(max(most*stripes*g.ExtentSize/s.Chunk*64, minMeta), maxMeta)
	s.Meta = (meta + g.ExtentSize - 1) / g.ExtentSize
	reserve := max((room+19)/20, s.Meta)
	s.Data = (room - overhead - s.Meta - reserve) * stripes
	if s.Data < s.Meta {
		return Sizes{}, errTooSmall
	}
	return s, nil
}

// largest are a group's disks, the largest first.
func largest(g lvm.Group) []lvm.PhysicalVolume {
	return slices.SortedStableFunc(slices.Values(g.Physical), func(a, b lvm.PhysicalVolume) int { return cmp.Compare(b.Extents, a.Extents) })
}

// leave takes room out of the thin pool, for volumes outside of it. elsewhere is how
// much room there is for them on each set of disks where the thin pool doesn't begin:
// that comes first, as it is emptier.
func (s *Sizes) leave(volumes, elsewhere []int64) error {
	for _, extents := range volumes {
		if len(elsewhere) > 0 {
			i := slices.Index(elsewhere, slices.Max(elsewhere))
			if elsewhere[i] >= extents {
				elsewhere[i] -= extents
				continue
			}
		}
		if s.Data -= extents; s.Data < s.Meta {
			return errTooSmall
		}
	}
	return nil
}

// thick is how many extents of data each thick volume of a new pool takes.
func (s Spec) thick(g lvm.Group, l layout) (extents []int64) {
	for _, v := range s.Volumes {
		if v.Thick {
			extents = append(extents, roundThick(v.Size, g, l)/g.ExtentSize+l.stripes()) // and raid's own records
		}
	}
	return extents
}

// elsewhere is how many extents of data there is room for on each set of disks where a
// new pool's thin pool, with so much metadata, doesn't begin.
func (l layout) elsewhere(g lvm.Group, meta int64) (extents []int64) {
	n := l.legs(len(g.Physical))
	for some := range slices.Chunk(largest(g)[n:], n) {
		if len(some) == n {
			extents = append(extents, usable(some[n-1], margin{meta + 4, 1}))
		}
	}
	return extents
}
