package pool

import (
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// Commands that take several changes of LVM begin with one that puts a tag on a
// volume: from then on the command is decided, and whatever is lacking can be
// told from the tags. unfinished returns it, so that the one who began, or the
// next start after a power cut, goes on with the very same code.
//
//   - swapTag on a new volume: it becomes the volume that the tag names, which
//     is kept as a snapshot. The new one has the identity and LUNs of the old.
//   - renameTag on a volume: its snapshots are renamed, then it is.
//   - lvm.TrashTag: the volume is moved to the trash. This comes off last when
//     a volume is restored, so a restoration that broke off is undone.
func unfinished(g lvm.Group) []Step {
	var steps []Step
	for _, v := range g.Logical {
		if v.Hidden {
			continue
		}
		if swap, ok := tagValue(v, swapTag); ok {
			name, kept, _ := strings.Cut(swap, "/")
			steps = append(steps, finishSwap(g, v, name, kept)...)
		}
		if name, ok := tagValue(v, renameTag); ok {
			steps = append(steps, finishRename(g, v, name)...)
		}
		if _, ok := tagValue(v, lvm.TrashTag); ok && !strings.HasPrefix(v.Name, trashPrefix) {
			steps = append(steps, RenameVolume{Pool: g.Name, From: v.Name, To: trashName(g.Name, v)})
		}
	}
	return steps
}

func finishSwap(g lvm.Group, next lvm.LogicalVolume, name, kept string) []Step {
	var steps []Step
	if next.Name != name {
		if old, ok := g.Volume(name); ok {
			tag := TagVolume{Pool: g.Name, Volume: name}
			if _, done := tagValue(old, createdTag); !done {
				tag.Add = tagsWith(next, createdTag)
			}
			tag.Remove = tagsWith(old, lunTag)
			if len(tag.Add)+len(tag.Remove) > 0 {
				steps = append(steps, tag)
			}
			if old.Size > next.Size { // volumes never shrink
				steps = append(steps, GrowVolume{Pool: g.Name, Volume: next.Name, From: next.Size, Size: old.Size})
			}
			steps = append(steps, RenameVolume{Pool: g.Name, From: name, To: kept})
		}
		steps = append(steps, RenameVolume{Pool: g.Name, From: next.Name, To: name})
	}
	return append(steps, TagVolume{Pool: g.Name, Volume: name, Remove: slices.Concat(tagsWith(next, swapTag), tagsWith(next, createdTag))})
}

func finishRename(g lvm.Group, v lvm.LogicalVolume, name string) []Step {
	var steps []Step
	if v.Name != name {
		for _, s := range snapshotsOf(g, v.Name) {
			steps = append(steps, RenameVolume{Pool: g.Name, From: s.Name, To: name + strings.TrimPrefix(s.Name, v.Name)})
		}
		steps = append(steps, RenameVolume{Pool: g.Name, From: v.Name, To: name})
	}
	return append(steps, TagVolume{Pool: g.Name, Volume: name, Remove: tagsWith(v, renameTag)})
}

// tagsWith returns the tags of a volume that begin with prefix.
func tagsWith(v lvm.LogicalVolume, prefix string) []string {
	var tags []string
	for _, t := range v.Tags {
		if strings.HasPrefix(t, prefix) {
			tags = append(tags, t)
		}
	}
	return tags
}

// changing tells whether a command that isn't finished is about the volume: it
// must not be used, nor may one of that name be created.
func changing(g lvm.Group, name string) bool {
	return slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool {
		swap, _ := tagValue(v, swapTag)
		becomes, _, _ := strings.Cut(swap, "/")
		rename, renaming := tagValue(v, renameTag)
		_, trashed := tagValue(v, lvm.TrashTag)
		return !v.Hidden && (becomes == name || renaming && (rename == name || v.Name == name) || trashed && v.Name == name)
	})
}
