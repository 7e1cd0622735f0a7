package pool

import (
	"context"
	"errors"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// LVM suspends volumes while it changes them. If it dies in the middle of that (it was
// killed with the daemon, say), they stay so, and everything that is asked of them
// waits. Their tables and LVM's metadata tell nothing of it.

// resume wakes volumes of ours that are suspended. It must hold op, so that no
// command of ours is at work; one that an earlier daemon has left is waited for by
// LVM's own locks. LVM's state must have been read.
func (m *Manager) resume(ctx context.Context) error {
	names, err := m.lvm.Suspended(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	var errs []error
	for _, g := range m.known().LVM.Groups {
		if !ours(g) || len(devicesOf(g, names)) == 0 {
			continue
		}
		m.o.Log.Warn("volumes are suspended, by a change that was broken off; they are resumed", "pool", g.Name, "devices", devicesOf(g, names))
		// This gives them the tables that they should have. It is refused while a disk
		// is missing.
		refreshErr := m.lvm.RefreshGroup(ctx, g.Name)
		names, err := m.lvm.Suspended(ctx)
		if err != nil {
			return errors.Join(refreshErr, err)
		}
		still := devicesOf(g, names)
		if len(still) > 0 {
			m.o.Log.Warn("volumes are still suspended; they go on as they were", "pool", g.Name, "devices", still, "error", refreshErr)
		}
		for _, name := range still {
			errs = append(errs, m.lvm.Resume(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// devicesOf are those of some devices that are a group's, by their names.
func devicesOf(g lvm.Group, names []string) []string {
	var all []string
	for _, name := range names {
		// A hyphen in the group's name is doubled, so a single one follows it.
		if rest, ok := strings.CutPrefix(name, lvm.DeviceName(g.Name, "")); ok && !strings.HasPrefix(rest, "-") {
			all = append(all, name)
		}
	}
	return all
}
