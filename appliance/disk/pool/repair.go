package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// A thin pool whose metadata is damaged isn't activated: LVM checks it each
// time. A repair writes what can be read of it elsewhere, and uses that; what
// was there stays, as a volume of its own. LVM makes the new metadata with one
// copy only, so it gets its others afterwards.

// keptMetadata begins the names of volumes that hold damaged metadata.
const keptMetadata = dataVolume + "_meta"

// A Repair is what a repair of a pool's metadata has done.
type Repair struct {
	Kept string // the volume that holds the metadata as it was
}

// RepairMetadata repairs the metadata of a pool that can't be activated, and
// activates it. What was damaged is kept.
func (m *Manager) RepairMetadata(ctx context.Context, pool string, progress func(what string)) (Repair, error) {
	if err := m.lock(ctx); err != nil {
		return Repair{}, err
	}
	defer m.unlock()
	ctx = context.WithoutCancel(ctx) // half a repair is no better
	r, err := m.repairMetadata(ctx, pool, progress)
	err = errors.Join(err, m.readLVM(ctx), m.readKernel(ctx))
	m.lookAgain()
	if err != nil {
		return r, fmt.Errorf("cannot repair pool %s: %w", pool, err)
	}
	return r, nil
}

func (m *Manager) repairMetadata(ctx context.Context, pool string, progress func(what string)) (r Repair, err error) {
	if _, err := m.readDisks(); err != nil {
		return r, err
	}
	if err := m.readLVM(ctx); err != nil {
		return r, err
	}
	g, err := m.repairable(pool)
	if err != nil {
		return r, err
	}
	before := kept(g)
	progress("checking and rebuilding the metadata of pool " + pool)
	if err := m.lvm.RepairThinPool(ctx, pool, dataVolume); err != nil {
		return r, err
	}
	if err := m.readLVM(ctx); err != nil {
		return r, err
	}
	if g, err = m.repairable(pool); err != nil {
		return r, err
	}
	for _, name := range kept(g) {
		if !slices.Contains(before, name) {
			r.Kept = name
		}
	}
	m.o.Log.Warn("metadata of a pool was repaired", "pool", pool, "kept", r.Kept)
	if err := m.flush(pathsOf(g)); err != nil {
		return r, err
	}
	progress("activating pool " + pool)
	return r, m.lvm.Activate(ctx, pool, lvm.Degraded)
}

// repairable finds a pool that is whole and not in use.
func (m *Manager) repairable(pool string) (lvm.Group, error) {
	g, err := m.pick(pool+"/", func(lvm.Group, string) bool { return true })
	if err != nil {
		return g, err
	}
	if err := whole(g, m.known()); err != nil {
		return g, err
	}
	if slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool {
		return v.Active && !v.Hidden && !strings.HasPrefix(v.Name, keptMetadata)
	}) {
		return g, errors.New("it is active, so LVM has found its metadata to be good")
	}
	return g, nil
}

// kept lists the volumes with metadata that was damaged.
func kept(g lvm.Group) []string {
	var all []string
	for _, v := range g.Logical {
		if strings.HasPrefix(v.Name, keptMetadata) && !v.Hidden {
			all = append(all, v.Name)
		}
	}
	return all
}

// MirrorMetadata gives metadata that a repair has made the copies that it has in a
// pool of that layout.
type MirrorMetadata struct {
	Pool   string
	Copies int
}

func (MirrorMetadata) Risk() Risk { return Safe }

func (s MirrorMetadata) do(ctx context.Context, m *Manager) error {
	return m.lvm.MirrorVolume(ctx, s.Pool, dataVolume+"_tmeta", s.Copies)
}

func (s MirrorMetadata) String() string {
	return fmt.Sprintf("make %d copies of the repaired metadata of pool %s", s.Copies, s.Pool)
}

// planMetadata plans that, if there are disks for them. It comes after activation.
func (p *Plan) planMetadata(g lvm.Group) {
	if copies := bare(g); copies > 1 && len(pathsOf(g)) >= copies {
		p.Steps = append(p.Steps, MirrorMetadata{Pool: g.Name, Copies: copies})
	}
}

// bare tells how many copies a pool's metadata should have, if it has one and its
// data more than that; otherwise 0. What repairs have kept doesn't tell: the second
// of two in a row keeps metadata that had one copy itself.
func bare(g lvm.Group) (copies int) {
	meta, ok := g.Volume(dataVolume + "_tmeta")
	if !ok || isRaid(meta) || meta.Type == "error" {
		return 0
	}
	if l, _, err := layoutIn(g); err == nil && l.copies > 1 {
		return l.copies
	}
	return 0
}
