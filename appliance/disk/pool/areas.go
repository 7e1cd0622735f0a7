package pool

import (
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/stickcopy"
)

// A StickArea is where a disk of one of our pools keeps a copy of the stick.
type StickArea struct {
	stickcopy.Area
	Pool       string
	Configured bool // the configuration names the pool
}

// StickAreas lists the areas on the disks that are here, by what was last known
// of them. It reads nothing. Of disks that are copies of one another, and of which
// nobody knows which one is right, none is among them.
func (m *Manager) StickAreas() []StickArea {
	var all []StickArea
	twins := undecidedDisks(m.known())
	m.members(func(g lvm.Group, x member, configured bool) {
		if x.here && x.pv.AreaSize != 0 && !twins[x.disk.Name] {
			all = append(all, StickArea{
				Area: stickcopy.Area{Path: x.pv.Path, Disk: x.id, Seq: x.disk.Seq, PV: x.pv.UUID, Start: x.pv.AreaStart, Size: x.pv.AreaSize},
				Pool: g.Name, Configured: configured,
			})
		}
	})
	return all
}

// Missing lists the disks of a configured pool that aren't here.
func (m *Manager) Missing(pool string) []string {
	var all []string
	m.members(func(g lvm.Group, x member, configured bool) {
		if configured && g.Name == pool && !x.here {
			all = append(all, x.id)
		}
	})
	return all
}

// members goes through the disks of our pools, those that aren't here included.
func (m *Manager) members(do func(g lvm.Group, x member, configured bool)) {
	m.mu.Lock()
	v := view{specs: m.specs, facts: m.facts}
	m.mu.Unlock()
	offered := map[string]bool{} // by UUID
	for _, o := range v.offers() {
		offered[o.UUID] = true
	}
	for _, g := range v.facts.LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		for _, x := range v.facts.membersOf(g) {
			do(g, x, !offered[g.UUID])
		}
	}
}

// Identities lists what the volumes and snapshots of a pool are known by for
// life, those in the trash included; see Export. known is false if the pool isn't
// here.
func (m *Manager) Identities(pool string) (all []string, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.facts.LVM.Groups {
		if g.Name != pool || !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		known = true
		for _, v := range g.Logical {
			all = append(all, identity(v))
			if kindOf(v) == trash { // perhaps of a snapshot
				all = append(all, snapshotIdentity(v))
			}
		}
	}
	return all, known
}
