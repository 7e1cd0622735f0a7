package pool

import (
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
)

// A disk that takes no writes any more, and is here, is in the way of replacing it: LVM
// changes nothing of a group if it can't write that to all of its disks. So such a disk
// is hidden from LVM, like one that hangs, until it is gone; a day later it is tried
// again. To its pool it is a missing one.

// shun hides the failed disks of a pool to which LVM couldn't write. It tells whether
// there are any.
func (m *Manager) shun(pool string, err error) bool {
	f := m.known()
	i := slices.IndexFunc(f.LVM.Groups, func(g lvm.Group) bool { return g.Name == pool && ours(g) })
	if i < 0 {
		return false
	}
	g := f.LVM.Groups[i]
	failed, found := f.failedDisks(g), false
	for _, x := range f.membersOf(g) {
		if !x.here || !failed[x.pv.UUID] || f.Tried[x.pv.UUID].left(f.Now) || !unwritten(err, x.pv.Path) {
			continue
		}
		m.o.Log.Warn("LVM can't write to a disk that has failed, and goes on without it", "disk", x.id, "pool", pool)
		m.mu.Lock()
		m.shunned = with(m.shunned, diskKey(x.disk), m.o.Now())
		m.mu.Unlock()
		found = true
	}
	return found
}

// unwritten tells whether LVM says that it couldn't write to a disk.
func unwritten(err error, path string) bool {
	text := err.Error()
	return strings.Contains(text, "Failed to write metadata to "+path+".") || strings.Contains(text, "Error writing device "+path+" at")
}

// shuns are the disks that are hidden for that, by diskKey. m.mu is held.
func (m *Manager) shuns() map[string]bool {
	all := map[string]bool{}
	for key, at := range m.shunned {
		if m.o.Now().Sub(at) < triesForget {
			all[key] = true
		}
	}
	return all
}

// forgetShunned forgets those that aren't here any more. m.mu is held.
func (m *Manager) forgetShunned(disks []disk.Disk) {
	for key := range m.shunned {
		if !slices.ContainsFunc(disks, func(d disk.Disk) bool { return diskKey(d) == key }) {
			m.shunned = without(m.shunned, key)
		}
	}
}

// shuns tells whether a disk is here and hidden for that, by what it is called.
func (v view) shuns(id string) bool {
	return slices.ContainsFunc(v.now, func(d disk.Disk) bool { return d.ID() == id && v.shunned[diskKey(d)] })
}
