package pool

import (
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// planVolumes brings the volumes of a pool that is up in line with the
// configuration. lame names what is missing from the pool, if anything is.
func (p *Plan) planVolumes(spec Spec, g lvm.Group, lame string) {
	if steps := unfinished(g); len(steps) > 0 {
		if lame == "" {
			p.Steps = append(p.Steps, steps...)
			p.Again = true
			return // all else once that is done
		}
		p.problem(status.Degraded, fmt.Sprintf("pool %s: a command on a volume was interrupted and can't be finished while %s is missing", spec.Name, lame),
			"connect or replace the disk")
	}
	g.Physical = slices.Clone(g.Physical) // what is planned takes room
	for _, v := range spec.Volumes {
		p.planVolume(spec, v, g, lame)
	}
}

func (p *Plan) planVolume(spec Spec, want VolumeSpec, g lvm.Group, lame string) {
	if changing(g, want.Name) {
		return // which planVolumes has told
	}
	have, ok := g.Volume(want.Name)
	if !ok {
		p.planNewVolume(spec, want, g, lame)
		return
	}
	size := roundUp(want.Size, g)
	if kindOf(have) != volume {
		p.problem(status.Failed, fmt.Sprintf("volume %s in pool %s is of LVM's type %q, not thin; it is left alone", want.Name, spec.Name, have.Type),
			"give the volume another name")
		return
	}
	if isThick(have) && want.Size != 0 {
		if l, _, err := layoutIn(g); err == nil {
			size = roundThick(want.Size, g, l)
		}
	}
	if is := isThick(have); is != want.Thick {
		words := map[bool]string{true: "thick", false: "thin"}
		p.problem(status.Degraded, fmt.Sprintf("volume %s is %s, and the configuration wants it %s: that can't be changed", want.Name, words[is], words[want.Thick]),
			fmt.Sprintf("set thick = %v for volume %s, or make a new volume and copy the data", is, want.Name))
	}
	if is := blockOf(have); want.Block != 0 && is != want.Block && (is != 0 || want.Block != 512) {
		p.problem(status.Degraded, fmt.Sprintf("volume %s has blocks of %d bytes, and the configuration wants %d: what it holds would be unreadable, so it is served as it is", want.Name, max(is, 512), want.Block),
			fmt.Sprintf("set block = %d for volume %s, or make a new volume and copy the data", max(is, 512), want.Name))
	}
	switch {
	case want.Size == 0: // from decides
	case have.Size > size:
		p.problem(status.Degraded, fmt.Sprintf("volume %s has %d bytes, and the configuration wants %d: volumes never shrink", want.Name, have.Size, size),
			fmt.Sprintf("set size of volume %s to at least %d MiB", want.Name, have.Size/mib))
	case have.Size == size:
	case lame != "":
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't grow while %s is missing from pool %s", want.Name, lame, spec.Name), "connect or replace the disk")
	case isThick(have):
		p.growThick(g, have, size)
	default:
		p.Steps = append(p.Steps, GrowVolume{Pool: spec.Name, Volume: want.Name, From: have.Size, Size: size})
		p.Again = true
	}
}

// planNewVolume creates a volume, unless it would hide that an existing one was
// meant.
func (p *Plan) planNewVolume(spec Spec, want VolumeSpec, g lvm.Group, lame string) {
	if lame != "" {
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created while %s is missing from pool %s", want.Name, lame, spec.Name), "connect or replace the disk")
		return
	}
	if i := slices.IndexFunc(g.Logical, func(v lvm.LogicalVolume) bool {
		return kindOf(v) == volume && slices.Contains(v.Tags, renamedTag+want.Name) &&
			!slices.ContainsFunc(spec.Volumes, func(w VolumeSpec) bool { return w.Name == v.Name })
	}); i >= 0 {
		now := g.Logical[i].Name
		p.problem(status.Degraded, fmt.Sprintf("volume %s was renamed to %s, but the configuration has the old name", want.Name, now),
			fmt.Sprintf("write %s instead of %s in the configuration", now, want.Name))
		return
	}
	var tags []string
	if want.Block != 0 && want.From == "" {
		tags = append(tags, fmt.Sprint(blockTag, want.Block))
	}
	size := roundUp(want.Size, g)
	switch {
	case want.From != "":
		if from, ok := p.origin(spec, want, g, size); ok {
			p.Steps = append(p.Steps, CloneVolume{Pool: spec.Name, From: from.Name, Volume: want.Name, Tags: cloneTags(from)})
			p.Again = true
		}
	case want.Thick:
		p.createThick(g, want, tags)
	default:
		p.Steps = append(p.Steps, CreateVolume{Pool: spec.Name, Volume: want.Name, Size: size, Tags: tags})
		p.Again = true
	}
}

// origin finds what a volume is to be a clone of.
func (p *Plan) origin(spec Spec, want VolumeSpec, g lvm.Group, size int64) (from lvm.LogicalVolume, ok bool) {
	from, ok = g.Volume(inLVM(want.From))
	k := kindOf(from)
	switch {
	case ok && (k == volume || k == snapshot) && isThick(from):
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created: %s is thick, and only thin volumes can be cloned", want.Name, want.From), "correct from")
		return from, false
	case ok && (k == volume || k == snapshot) && size != 0 && size < from.Size:
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created with %d bytes: %s has %d, and a clone isn't smaller", want.Name, size, want.From, from.Size),
			"leave size out, or make it larger")
		return from, false
	case ok && (k == volume || k == snapshot) && want.Block != 0 && want.Block != max(blockOf(from), 512):
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created with blocks of %d bytes: %s has blocks of %d", want.Name, want.Block, want.From, max(blockOf(from), 512)),
			"leave block out")
		return from, false
	case ok && (k == volume || k == snapshot) && refuseUnfinished(from) != nil:
		p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created: the import into %s isn't finished", want.Name, want.From), "finish that import")
		return from, false
	case ok && (k == volume || k == snapshot):
		return from, true
	}
	name, _, _ := strings.Cut(want.From, "@")
	if name == want.From && slices.ContainsFunc(p.Steps, func(s Step) bool { return creates(s) == name }) {
		return from, false // next round
	}
	p.problem(status.Degraded, fmt.Sprintf("volume %s can't be created: there is no %s in pool %s", want.Name, want.From, spec.Name),
		"correct from; sanctl snapshots lists what there is")
	return from, false
}

// creates names the volume that a step creates.
func creates(s Step) string {
	switch s := s.(type) {
	case CreateVolume:
		return s.Volume
	case CloneVolume:
		return s.Volume
	}
	return ""
}

func roundUp(size int64, g lvm.Group) int64 {
	return (size + g.ExtentSize - 1) / g.ExtentSize * g.ExtentSize
}
