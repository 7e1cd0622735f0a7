package pool

import (
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// volumes tells what is in a pool, as people see it.
func (v view) volumes(p *status.Pool, s Spec, g lvm.Group) {
	grace := s.Trash
	if grace == 0 {
		grace = DefaultTrash
	}
	for _, lv := range g.Logical {
		d, active := v.devices[lvm.DeviceName(g.Name, lv.Name)]
		used := lv.Size // of a thick one
		if d.Thin != nil {
			used = d.Thin.Mapped
		} else if isThin(lv) {
			used = 0
		}
		switch kindOf(lv) {
		case volume:
			from, _ := tagValue(lv, fromTag)
			if !isThick(lv) {
				p.Promised += lv.Size
			}
			p.Volumes = append(p.Volumes, status.Volume{
				Name: lv.Name, UUID: identity(lv), Size: lv.Size, Used: used, Active: active,
				From: shown(from), Thick: isThick(lv), Block: blockOf(lv), Cleared: v.clearingNow(lv),
				Unreferenced: !slices.ContainsFunc(s.Volumes, func(w VolumeSpec) bool { return w.Name == lv.Name }),
			})
		case snapshot:
			of, _, _ := strings.Cut(lv.Name, joint)
			p.Snapshots = append(p.Snapshots, status.VolumeSnapshot{
				Name: shown(lv.Name), Pool: s.Name, Volume: of, Size: lv.Size, Used: used,
				Created: tagTime(lv, createdTag), Scheduled: slices.Contains(lv.Tags, scheduleTag),
			})
		case trash:
			was, _ := tagValue(lv, wasTag)
			deleted := tagTime(lv, lvm.TrashTag)
			p.Trash = append(p.Trash, status.Trashed{
				Name: shown(was), ID: lv.Name, Size: lv.Size, Used: used, Deleted: deleted, Until: deleted.Add(grace),
			})
		}
	}
	slices.SortStableFunc(p.Snapshots, func(a, b status.VolumeSnapshot) int {
		if c := strings.Compare(a.Volume, b.Volume); c != 0 {
			return c
		}
		return a.Created.Compare(b.Created)
	})
	slices.SortStableFunc(p.Trash, func(a, b status.Trashed) int { return a.Deleted.Compare(b.Deleted) })
}
