package pool

import "sanstick/appliance/disk/stickcopy"

// A StickArea is where a disk of one of our pools keeps a copy of the stick.
type StickArea struct {
	stickcopy.Area
	Pool       string
	Configured bool // the configuration names the pool
}

// StickAreas lists the areas on the disks that are here, by what was last known
// of them. It reads nothing.
func (m *Manager) StickAreas() []StickArea {
	m.mu.Lock()
	v := view{specs: m.specs, facts: m.facts}
	m.mu.Unlock()
	offered := map[string]bool{} // by UUID
	for _, o := range v.offers() {
		offered[o.UUID] = true
	}
	var all []StickArea
	for _, g := range v.facts.LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		for _, x := range v.facts.membersOf(g) {
			if !x.here || x.pv.AreaSize == 0 {
				continue
			}
			all = append(all, StickArea{
				Area: stickcopy.Area{Path: x.pv.Path, Disk: x.id, Start: x.pv.AreaStart, Size: x.pv.AreaSize},
				Pool: g.Name, Configured: !offered[g.UUID],
			})
		}
	}
	return all
}
