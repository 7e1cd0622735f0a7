package pool

import (
	"fmt"
	"slices"

	"sanstick/appliance/disk/lvm"
)

// An Export is what is needed to serve a volume or a snapshot.
type Export struct {
	Path     string // of its device
	Identity string // what NAA and serial number are made of; the same for life
	Size     int64  // bytes that may be used; see Manager.Usable
	Block    int    // bytes; 0: that of the disks
	ReadOnly bool
	Thin     bool // what was never written takes no space, and reads as zeros
}

// Volume tells where an active volume is: its device, what its identity comes
// from, and its size in bytes.
func (m *Manager) Volume(pool, name string) (path, uuid string, size int64, err error) {
	e, err := m.Export(pool, name)
	return e.Path, e.Identity, e.Size, err
}

// Export finds an active volume, or a snapshot as in "golden@monday".
func (m *Manager) Export(pool, name string) (Export, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	inside := inLVM(name)
	var same []lvm.Group
	for _, g := range m.facts.LVM.Groups {
		if g.Name == pool && ours(g) && !g.Tagged(creatingTag) {
			same = append(same, g)
		}
	}
	if len(same) > 1 { // a copy has come; the path is that of the one in use
		same = slices.DeleteFunc(same, func(g lvm.Group) bool {
			v, _ := g.Volume(inside)
			return !v.Active
		})
		if len(same) != 1 {
			return Export{}, fmt.Errorf("pool %s exists more than once", pool)
		}
	}
	if len(same) == 0 {
		return Export{}, fmt.Errorf("pool %s isn't here", pool)
	}
	v, ok := same[0].Volume(inside)
	k := kindOf(v)
	switch {
	case changing(same[0], inside):
		return Export{}, fmt.Errorf("volume %s of pool %s is being changed by a command that was interrupted; it is finished as soon as all disks of the pool are here", name, pool)
	case !ok && inside != name:
		return Export{}, fmt.Errorf("snapshot %s isn't in pool %s", name, pool)
	case !ok || k != volume && k != snapshot:
		return Export{}, fmt.Errorf("volume %s isn't in pool %s", name, pool)
	case !m.active[lvm.DeviceName(pool, inside)]:
		return Export{}, fmt.Errorf("volume %s of pool %s isn't active", name, pool)
	}
	if err := refuseUnfinished(v); err != nil {
		return Export{}, err
	}
	e := Export{
		Path: devicePath(pool, inside), Identity: identity(v), Size: v.Size, Block: blockOf(v),
		ReadOnly: k == snapshot, Thin: isThin(v),
	}
	if c, is := clearingOf(v); is {
		e.Size = c.from
	}
	return e, nil
}
