package pool

import (
	"cmp"
	"fmt"
	"slices"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// A thick volume lies beside the thin pool, in the same layout. Nothing hides what
// was on its disks before, so it is cleared before it is served: see clear.go.

// roundThick is the size of a thick volume: as many extents on each disk for data.
func roundThick(size int64, g lvm.Group, l layout) int64 {
	unit := g.ExtentSize * l.stripes()
	return (size + unit - 1) / unit * unit
}

// createThick plans a new thick volume. No two of its legs may be on one disk, which
// is certain if it gets no more disks than it has legs.
func (p *Plan) createThick(g lvm.Group, want VolumeSpec, tags []string) {
	l, legs, err := layoutIn(g)
	if err != nil {
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created: %v", want.Name, err), "see the log")
		return
	}
	size := roundThick(want.Size, g, l)
	each := size/l.stripes()/g.ExtentSize + 1 // extents on each disk; one is for raid's own records
	emptiest := slices.Clone(g.Physical)
	slices.SortStableFunc(emptiest, func(a, b lvm.PhysicalVolume) int { return cmp.Compare(usable(b, keptFree(g)), usable(a, keptFree(g))) })
	var on []string
	room := int64(0) // extents of each leg
	if l.kind == "" {
		each--
		room = roomOf(g, lvm.LogicalVolume{}, keptFree(g)).bytes() / g.ExtentSize
	} else if len(emptiest) >= legs {
		for _, pv := range emptiest[:legs] {
			on = append(on, pv.Path)
		}
		room = usable(emptiest[legs-1], keptFree(g))
	}
	if each > room {
		p.noRoom(g, want.Name, size, max(room-1, 0)*l.stripes()*g.ExtentSize)
		return
	}
	n := l.copies
	if l.striped() {
		n = l.data
	}
	p.Steps = append(p.Steps, CreateThick{Pool: g.Name, Volume: want.Name, Kind: l.kind, N: n, Size: size, Tags: append(tags, thickTag, clearing{}.tag()), On: on})
	p.Again = true
	take(g, each, on)
}

// growThick plans to make a thick volume larger. What it gets is cleared before
// anybody sees it, so it is marked first.
func (p *Plan) growThick(g lvm.Group, have lvm.LogicalVolume, size int64) {
	room := roomOf(g, have, keptFree(g))
	if more := size - have.Size; room.bytes() < more {
		p.noRoom(g, have.Name, more, room.bytes())
		return
	}
	p.Again = true
	if _, is := clearingOf(have); !is {
		p.Steps = append(p.Steps, TagVolume{Pool: g.Name, Volume: have.Name, Add: []string{clearing{from: have.Size, done: have.Size}.tag()}})
		return
	}
	r := room.atMost(size - have.Size)[0] // the next one comes in the next round
	p.Steps = append(p.Steps, GrowVolume{Pool: g.Name, Volume: have.Name, From: have.Size, Size: have.Size + r.bytes, On: r.on})
	take(g, r.bytes/g.ExtentSize, r.on) // or less
}

func (p *Plan) noRoom(g lvm.Group, name string, bytes, room int64) {
	p.problem(status.Degraded, fmt.Sprintf("volume %s can't get %s in pool %s: outside of the thin pool there are %s", name, status.FormatBytes(bytes), g.Name, status.FormatBytes(room)),
		"make it thin or smaller, or "+moreDisks(g))
}

// takeInTurn notes that so many extents will be used on some disks, the first ones
// wholly.
func takeInTurn(g lvm.Group, extents int64, on []member) {
	for _, m := range on {
		n := min(extents, m.free())
		take(g, n, []string{m.pv.Path})
		extents -= n
	}
}

// take notes in a group that so many extents of each of some disks will be used; if
// none is named, of all together.
func take(g lvm.Group, extents int64, on []string) {
	for i := range g.Physical {
		pv := &g.Physical[i]
		switch {
		case slices.Contains(on, pv.Path):
			pv.Allocated += extents
		case len(on) == 0:
			n := min(extents, pv.Extents-pv.Allocated)
			pv.Allocated, extents = pv.Allocated+n, extents-n
		}
	}
}
