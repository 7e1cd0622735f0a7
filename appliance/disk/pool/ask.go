package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// ReplaceDisk puts a blank disk in the place of one of a pool's, lost or not. It
// returns when filling it has begun, with the pool's name.
func (m *Manager) ReplaceDisk(ctx context.Context, r Replacement) (pool string, err error) {
	if err := m.lock(ctx); err != nil {
		return "", err
	}
	defer m.unlock()
	if pool, err = m.replaceDisk(ctx, r); err != nil {
		return "", fmt.Errorf("cannot replace disk %s: %w", r.Old, err)
	}
	return pool, nil
}

func (m *Manager) replaceDisk(ctx context.Context, r Replacement) (string, error) {
	if err := m.lookAnew(ctx); err != nil {
		return "", err
	}
	g, err := m.known().poolOf(r.Old)
	if err != nil {
		return "", err
	}
	spec, ok := m.spec(g.Name)
	if !ok {
		return "", fmt.Errorf("pool %s isn't in the configuration", g.Name)
	}
	found := disk.Find(m.known().Disks, r.New)
	if len(found) != 1 {
		return "", fmt.Errorf("%d disks are called %s", len(found), r.New)
	}
	d := found[0]
	m.look(ctx, d, m.o.AskLimit)
	f := m.known()
	taken := m.newBringer(m.allSpecs()).taken(spec)
	switch why, do := f.unfit(d, taken); {
	case why != "":
		return "", fmt.Errorf("disk %s %s; %s", r.New, why, do)
	case len(raidVolumes(g)) == 0:
		return "", fmt.Errorf("pool %s has one copy of its data, from which no disk can be filled", g.Name)
	case d.Size < f.needInstead(g, r.Old):
		return "", fmt.Errorf("disk %s has %s, and %s are needed", r.New, status.FormatBytes(d.Size), status.FormatBytes(f.needInstead(g, r.Old)))
	}
	switch c := diagnose(g, f); {
	case c.State == Healthy:
	case !f.works(g, r.Old) && slices.Contains([]State{Absent, LegFailed, Cut}, c.State):
	default:
		return "", fmt.Errorf("pool %s is %s; wait until it is healthy", g.Name, c.State)
	}
	m.mu.Lock()
	m.facts.Replace = with(m.facts.Replace, g.Name, r)
	m.heldOff = without(m.heldOff, g.Name)
	m.mu.Unlock()
	m.keep(true)
	err = m.retry(ctx)
	for _, now := range m.known().LVM.Groups {
		if now.UUID != g.UUID {
			continue
		}
		for _, x := range m.known().membersOf(now) {
			if x.here && x.disk.Name == d.Name && x.pv.Allocated > 0 {
				return g.Name, nil
			}
		}
	}
	m.mu.Lock()
	m.facts.Replace, m.heldOff = without(m.facts.Replace, g.Name), without(m.heldOff, g.Name)
	m.mu.Unlock()
	m.keep(true)
	if err != nil {
		return "", err
	}
	return "", m.trouble(g.Name)
}

// trouble says why a pool didn't do what it was asked for.
func (m *Manager) trouble(pool string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, p := range m.problems[pool] {
		all = append(all, p.What)
	}
	if len(all) == 0 {
		return errors.New("it isn't done yet; sanctl status tells how it goes on")
	}
	return errors.New(strings.Join(all, "; "))
}

// poolOf finds the pool that a disk belongs to, or belonged to.
func (f Facts) poolOf(name string) (lvm.Group, error) {
	for _, g := range f.LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		for _, m := range f.membersOf(g) {
			if m.id == name || m.here && m.disk.Is(name) {
				return g, nil
			}
		}
		if slices.Contains(goneDisks(g), name) {
			return g, nil
		}
	}
	return lvm.Group{}, errors.New("it belongs to no pool; sanctl status lists the disks of each")
}

// ScrubPool starts to compare the copies of a pool.
func (m *Manager) ScrubPool(ctx context.Context, pool string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.scrubPool(ctx, pool); err != nil {
		return fmt.Errorf("cannot compare the copies of pool %s: %w", pool, err)
	}
	return nil
}

func (m *Manager) scrubPool(ctx context.Context, pool string) error {
	if err := m.lookAnew(ctx); err != nil {
		return err
	}
	if _, ok := m.spec(pool); !ok {
		return errors.New("it isn't in the configuration")
	}
	f := m.known()
	for _, g := range f.LVM.Groups {
		if g.Name != pool || !ours(g) {
			continue
		}
		switch c := diagnose(g, f); {
		case len(raidVolumes(g)) == 0:
			return errors.New("it has one copy, with nothing to compare it to")
		case c.State == Checking:
			return errors.New("that goes on already")
		case c.State != Healthy:
			return fmt.Errorf("it is %s; wait until it is healthy", c.State)
		}
		m.mu.Lock()
		m.facts.ScrubNow = with(m.facts.ScrubNow, pool, true)
		m.mu.Unlock()
		err := m.retry(ctx)
		m.mu.Lock()
		asked := m.facts.ScrubNow[pool]
		m.facts.ScrubNow = without(m.facts.ScrubNow, pool)
		m.mu.Unlock()
		if err == nil && asked {
			err = m.trouble(pool)
		}
		return err
	}
	return errors.New("it isn't here")
}

// lookAnew reads everything anew. It must hold op.
func (m *Manager) lookAnew(ctx context.Context) error {
	if _, err := m.readDisks(); err != nil {
		return err
	}
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	return m.readKernel(ctx)
}

func (m *Manager) allSpecs() []Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.specs
}

func (m *Manager) spec(pool string) (Spec, bool) {
	for _, s := range m.allSpecs() {
		if s.Name == pool {
			return s, true
		}
	}
	return Spec{}, false
}
