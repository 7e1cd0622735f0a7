package pool

import (
	"fmt"

	"sanstick/appliance/disk/lvm"
)

// A layout says how a pool's data and the thin pool's metadata lie on n disks.
type layout struct {
	kind   lvm.RaidKind // of the data; empty for one copy
	data   int          // disks' worth of data
	copies int          // of the metadata, each on another disk; of the data, too, in a mirror
}

// layoutOn works that out. The metadata is always a mirror, which bears as many
// losses as the data does.
func layoutOn(name string, n int) (layout, error) {
	wrong := func(needs string) (layout, error) {
		return layout{}, fmt.Errorf("a pool of layout %s has %s disks, not %d", name, needs, n)
	}
	switch name {
	case Single:
		return layout{data: n, copies: 1}, nil
	case Mirror:
		switch {
		case n < 2:
			return wrong("2 or more")
		case n == 3:
			return layout{kind: lvm.Raid1, data: 1, copies: 3}, nil
		}
		return layout{kind: lvm.Raid1, data: 1, copies: 2}, nil
	case RAID10:
		if n < 4 || n%2 != 0 {
			return wrong("4 or more and an even number of")
		}
		return layout{kind: lvm.Raid10, data: n / 2, copies: 2}, nil
	case RAID5:
		if n < 3 {
			return wrong("3 or more")
		}
		return layout{kind: lvm.Raid5, data: n - 1, copies: 2}, nil
	case RAID6:
		if n < 5 {
			return wrong("5 or more")
		}
		return layout{kind: lvm.Raid6, data: n - 2, copies: 3}, nil
	}
	return layout{}, fmt.Errorf("layout %q is unknown", name)
}

// layoutIn is the layout of a pool that exists, and on how many disks each of its
// volumes lies.
func layoutIn(g lvm.Group) (l layout, legs int, err error) {
	data, _ := g.Volume(dataVolume + "_tdata")
	if !isRaid(data) {
		return layout{data: 1, copies: 1}, 1, nil
	}
	l, err = layoutOn(layoutOf(data), len(data.Devices))
	return l, len(data.Devices), err
}

// striped tells whether the data lies on several disks in stripes.
func (l layout) striped() bool { return l.kind != "" && l.kind != lvm.Raid1 }

// legs is on how many of a new pool's n disks its data begins. It grows to the others,
// as many at a time.
func (l layout) legs(n int) int {
	if l.kind == lvm.Raid1 {
		return l.copies
	}
	return n
}

// stripes is on how many disks data lies in turn.
func (l layout) stripes() int64 {
	if l.striped() {
		return int64(l.data)
	}
	return 1
}
