package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// A mirror that was used without one of its disks must not be used with that one
// alone later: what it holds is older, and nothing on it says so. So before a
// pool is used without all its disks, a witness that isn't on them keeps which
// ones hold the newest state. If those that are here don't hold all of it, the pool
// is refused.

// A Witness keeps, somewhere else than on a pool's disks, which physical volumes
// hold the newest state of a pool that was used without the others. All are
// UUIDs of LVM. It is used by one goroutine at a time.
type Witness interface {
	// Newest returns the volumes for a group; none if all are the same. kept says
	// that this will be known after a power cut, too.
	Newest(group string) (newest []string, kept bool)
	// Remember has them known from now on; none: all are the same. An error says
	// that a power cut may have them forgotten; the witness goes on trying by itself.
	Remember(group string, newest []string) error
}

// readWitness adds to the facts what the witness knows of our groups. It tells
// whether something else of that is kept than was. m.mu is held.
func (m *Manager) readWitness() (changed bool) {
	if m.o.Witness == nil {
		return false
	}
	newest, unkept := m.newest(m.facts.LVM)
	changed = !maps.Equal(unkept, m.facts.Unkept)
	m.facts.Newest, m.facts.Unkept = newest, unkept
	return changed
}

// newest is what the witness knows of our groups, and which of that isn't kept.
func (m *Manager) newest(s lvm.State) (newest map[string][]string, unkept map[string]bool) {
	newest, unkept = map[string][]string{}, map[string]bool{}
	for _, g := range s.Groups {
		if m.o.Witness == nil || !ours(g) {
			continue
		}
		if pvs, kept := m.o.Witness.Newest(g.UUID); len(pvs) > 0 {
			newest[g.UUID] = pvs
			if !kept {
				unkept[g.UUID] = true
			}
		}
	}
	return newest, unkept
}

// askWitness is readWitness for who doesn't hold mu.
func (m *Manager) askWitness() (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readWitness()
}

func (m *Manager) remember(s Remember) error {
	if m.o.Witness == nil {
		return nil
	}
	if err := m.o.Witness.Remember(s.UUID, s.Newest); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.facts.Newest = with(m.facts.Newest, s.UUID, s.Newest)
	return nil
}

// planAlone plans what comes before a pool is used without all its disks: those
// that are missing, have failed, or aren't filled yet.
func (p *Plan) planAlone(g lvm.Group, f Facts, without string) {
	newest := f.newest(g)
	if len(newest) == 0 {
		return
	}
	if slices.Equal(newest, f.Newest[g.UUID]) {
		if f.Unkept[g.UUID] {
			p.problem(status.Degraded, fmt.Sprintf("if the machine lost its power now, it wouldn't be known that what the other disks of pool %s hold is out of date", g.Name),
				"see what is said of the stick; until then, don't start the machine without the disks that are here now")
		}
		return
	}
	var old []string
	for _, m := range f.membersOf(g) {
		if !slices.Contains(newest, m.pv.UUID) && (m.pv.Allocated > 0 || !m.here) {
			old = append(old, m.id)
		}
	}
	if len(old) == 0 {
		return // they are all the same, which reunite finds out
	}
	p.Steps = append(p.Steps, Remember{Pool: g.Name, UUID: g.UUID, Newest: newest, Without: "disk " + strings.Join(old, ", ")})
}

// stale refuses a pool whose newest state isn't here as a whole. What lies on other
// disks than those that the witness names doesn't count, volume by volume: a raid10
// may have one pair whose only disk here is old, and so may the mirror of the thin
// pool's metadata. A pool that is in use is never refused: the kernel knows which
// disks hold all of it, and the witness may not have heard yet that one was filled.
func stale(g lvm.Group, f Facts) (p Plan, is bool) {
	newest := f.Newest[g.UUID]
	if len(newest) == 0 {
		return p, false
	}
	if data, ok := g.Volume(dataVolume); ok && f.runs(g, data) && len(f.newest(g)) > 0 {
		return p, false
	}
	var wanted, without []string
	old, some := map[string]bool{}, false
	for _, m := range f.membersOf(g) {
		switch {
		case !slices.Contains(newest, m.pv.UUID):
			if m.here || m.flagged(f) {
				old[m.pv.Path] = true
				without = append(without, m.id)
			}
		case m.pv.Missing && !m.flagged(f):
			wanted = append(wanted, m.id)
		default:
			some = true
		}
	}
	if some && (len(old) == 0 || len(wanted) == 0 || uncoveredWithout(g, old) == "") {
		return p, false
	}
	for _, uuid := range newest { // of disks that came when the ones here were away
		if !slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.UUID == uuid }) {
			wanted = append(wanted, "with LVM UUID "+uuid)
		}
	}
	disks := strings.Join(wanted, ", ")
	p.Wait = "disk " + disks
	p.problem(status.Failed, fmt.Sprintf("pool %s isn't used: it was used without disk %s, so what that holds is out of date; the newest state is on disk %s, which is missing", g.Name, strings.Join(without, ", "), disks),
		"connect disk "+disks+"; if it is lost, and an older state is better than none, delete sanstick/pools.json on the stick and restart")
	return p, true
}

// reunite has the witness forget pools that are whole again: all disks are here,
// and all copies are the same. Once a disk has been given up, all those that the
// pool has now are remembered instead, because that one is out of date for good.
// It must hold op.
func (m *Manager) reunite(ctx context.Context) error {
	if err := m.readKernel(ctx); err != nil {
		return err
	}
	f := m.known()
	for _, g := range f.LVM.Groups {
		if len(f.Newest[g.UUID]) == 0 || slices.ContainsFunc(f.membersOf(g), func(x member) bool { return !x.here }) {
			continue
		}
		var want []string
		if remembersGone(g) {
			want = f.newest(g)
		}
		if slices.Equal(want, f.Newest[g.UUID]) || !redundant(g, f.Devices) {
			continue
		}
		if err := m.remember(Remember{Pool: g.Name, UUID: g.UUID, Newest: want}); err != nil {
			return fmt.Errorf("cannot forget that pool %s was used without a disk: %w", g.Name, err)
		}
		m.o.Log.Info("all disks of the pool hold the same again", "pool", g.Name)
	}
	return nil
}

// redundant tells whether all raid volumes of a group are active and whole.
func redundant(g lvm.Group, devices map[string]lvm.Device) bool {
	for _, v := range raidVolumes(g) {
		if r := devices[lvm.DeviceName(g.Name, v.Name)].Raid; r == nil || !r.Redundant() {
			return false
		}
	}
	return true
}

// remembersGone tells whether a pool has given up a disk.
func remembersGone(g lvm.Group) bool {
	return slices.ContainsFunc(g.Tags, func(t string) bool { return strings.HasPrefix(t, goneTag) })
}
