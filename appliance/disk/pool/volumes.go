package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// What people name is "golden", "golden@monday", or "tank/golden" if several
// pools have a volume of that name.

// change does something to the volumes of one pool: under the lock, with fresh
// facts, with all disks of the pool here, and after whatever an earlier command
// has left unfinished. pick finds what the command is about in a group. Once
// begun it isn't cancelled.
func (m *Manager) change(ctx context.Context, name string, pick func(g lvm.Group, name string) bool, do func(context.Context, lvm.Group) error) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	select {
	case m.clearHold <- struct{}{}:
		defer func() { <-m.clearHold }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx = context.WithoutCancel(ctx)
	changed, err := m.readDisks()
	m.again = m.again || changed // Watch mustn't miss it
	if err != nil {
		return err
	}
	if err := m.checkLVM(ctx, changed); err != nil {
		return err
	}
	if err := m.finishAll(ctx); err != nil {
		return err
	}
	g, err := m.pick(name, pick)
	if err != nil {
		return err
	}
	if err := whole(g, m.known()); err != nil {
		return err
	}
	err = do(ctx, g)
	// What was done holds even if the power fails now, before anybody learns of it: LVM
	// doesn't flush.
	err = errors.Join(err, m.flush(pathsOf(g)))
	err = errors.Join(err, m.checkLVM(ctx, err != nil), m.readKernel(ctx))
	if err != nil {
		m.again = true // so Watch goes on with it, and activates what is closed
	}
	return err
}

// pick finds the one group that has what name means.
func (m *Manager) pick(name string, has func(lvm.Group, string) bool) (lvm.Group, error) {
	pool, rest, qualified := strings.Cut(name, "/")
	if !qualified {
		pool, rest = "", name
	}
	var found []lvm.Group
	for _, g := range m.known().LVM.Groups {
		if ours(g) && !g.Tagged(creatingTag) && (pool == "" || g.Name == pool) && has(g, rest) {
			found = append(found, g)
		}
	}
	switch {
	case len(found) == 0:
		return lvm.Group{}, fmt.Errorf("there is no %s", name)
	case len(found) > 1 && found[0].Name == found[1].Name:
		return lvm.Group{}, fmt.Errorf("pool %s exists more than once; remove the disks of the one that you don't want", found[0].Name)
	case len(found) > 1:
		return lvm.Group{}, fmt.Errorf("pools %s and %s both have %s; say which, as in %s/%s", found[0].Name, found[1].Name, name, found[0].Name, name)
	}
	return found[0], nil
}

// PoolOf tells which pool a volume or a snapshot is in, as was last known.
func (m *Manager) PoolOf(name string) (string, error) {
	g, err := m.pick(name, hasKind(volume, snapshot))
	return g.Name, err
}

// unqualified is the name without that of a pool.
func unqualified(name string) string { return name[strings.IndexByte(name, '/')+1:] }

// hasKind finds volumes and snapshots by name.
func hasKind(kinds ...kind) func(lvm.Group, string) bool {
	return func(g lvm.Group, name string) bool {
		v, ok := g.Volume(inLVM(name))
		return ok && slices.Contains(kinds, kindOf(v))
	}
}

// whole refuses a pool that lacks a disk: LVM changes nothing then.
func whole(g lvm.Group, f Facts) error {
	var gone []string
	for _, x := range f.membersOf(g) {
		if x.pv.Missing {
			gone = append(gone, x.id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("disk %s is missing from pool %s, and nothing can be changed without it; connect or replace it", strings.Join(gone, ", "), g.Name)
}

func pathsOf(g lvm.Group) []string {
	var all []string
	for _, pv := range g.Physical {
		if pv.Path != "" && !pv.Missing {
			all = append(all, pv.Path)
		}
	}
	return all
}

// finishAll finishes what commands have left in all pools that are whole. It
// must hold op.
func (m *Manager) finishAll(ctx context.Context) error {
	for _, g := range m.known().LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) || whole(g, m.known()) != nil {
			continue
		}
		if _, err := m.finish(ctx, g.Name); err != nil {
			return fmt.Errorf("cannot finish an earlier command: %w", err)
		}
	}
	return nil
}

// finish does what is unfinished in a pool and returns how it is then. It must
// hold op; the facts must be fresh.
func (m *Manager) finish(ctx context.Context, pool string) (lvm.Group, error) {
	for range maxRounds {
		g, err := m.pick(pool+"/", func(lvm.Group, string) bool { return true })
		if err != nil {
			return g, err
		}
		steps := unfinished(g)
		if len(steps) == 0 {
			return g, nil
		}
		for _, s := range steps {
			if err := m.apply(ctx, s); err != nil {
				return g, err
			}
			m.o.Log.Info(s.String(), "pool", pool)
		}
		if err := m.readLVM(ctx); err != nil {
			return g, err
		}
	}
	return lvm.Group{}, fmt.Errorf("pool %s: there is always more to finish; report this", pool)
}

// decide puts the tags on a volume that decide a command, and finishes it.
func (m *Manager) decide(ctx context.Context, g lvm.Group, name string, tags ...string) error {
	if err := m.lvm.ChangeVolumeTags(ctx, g.Name, name, tags, nil); err != nil {
		return err
	}
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	_, err := m.finish(ctx, g.Name)
	return err
}

// Snapshot makes a snapshot of a volume and returns its name, as in
// "golden@monday". Without a name it gets one of the time. It holds what was
// acknowledged until now; a file system in it is as after a power cut.
func (m *Manager) Snapshot(ctx context.Context, of, name string) (full string, err error) {
	return m.snapshot(ctx, of, name)
}

func (m *Manager) snapshot(ctx context.Context, of, name string, tags ...string) (full string, err error) {
	err = m.change(ctx, of, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		of := unqualified(of)
		v, _ := g.Volume(of)
		now := m.o.Now()
		if name == "" {
			name = freeSnapshotName(g, of, "", now)
		}
		full = of + "@" + name
		switch _, taken := g.Volume(inLVM(full)); {
		case isThick(v):
			return fmt.Errorf("volume %s is thick, and only thin volumes have snapshots", of)
		case taken:
			return fmt.Errorf("there is a snapshot %s already; choose another name", full)
		}
		if err := errors.Join(refuseUnfinished(v), checkDeviceName(g.Name, inLVM(full))); err != nil {
			return err
		}
		tags := append(slices.Concat(tags, tagsWith(v, blockTag)), timeTag(createdTag, now))
		return m.apply(ctx, MakeSnapshot{Pool: g.Name, Volume: of, Name: inLVM(full), Tags: tags})
	})
	return full, err
}

// Clone makes a volume that holds what a snapshot holds, or a volume at this
// moment.
func (m *Manager) Clone(ctx context.Context, from, name string) error {
	return m.change(ctx, from, hasKind(volume, snapshot), func(ctx context.Context, g lvm.Group) error {
		v, _ := g.Volume(inLVM(unqualified(from)))
		if isThick(v) {
			return fmt.Errorf("volume %s is thick, and only thin volumes can be cloned; export and import copy it", shown(v.Name))
		}
		if err := errors.Join(refuseUnfinished(v), free(g, name)); err != nil {
			return err
		}
		return m.apply(ctx, CloneVolume{Pool: g.Name, From: v.Name, Volume: name, Tags: cloneTags(v)})
	})
}

// free refuses a name for a volume that is taken or too long.
func free(g lvm.Group, name string) error {
	if _, taken := g.Volume(inLVM(name)); taken {
		return fmt.Errorf("pool %s has a %s already; choose another name", g.Name, name)
	}
	return checkDeviceName(g.Name, inLVM(name))
}

// Revert makes a volume hold what a snapshot of it holds. What it was before is
// kept as another snapshot, whose name is returned. The LUN's identity stays
// the same. Nobody may use the volume; if anyone does, it is left as it is.
func (m *Manager) Revert(ctx context.Context, snap string) (kept string, err error) {
	err = m.change(ctx, snap, hasKind(snapshot), func(ctx context.Context, g lvm.Group) error {
		source, _ := g.Volume(inLVM(unqualified(snap)))
		parts, _ := splitSnapshot(source.Name)
		v, ok := g.Volume(parts[0])
		if !ok || kindOf(v) != volume {
			return fmt.Errorf("there is no volume %s any more; clone the snapshot instead", parts[0])
		}
		kept, err = m.swap(ctx, g, v, source)
		return err
	})
	return kept, err
}

// Promote makes a volume hold what another volume of its pool holds now: its
// next version. What it was before is kept as a snapshot, whose name is
// returned; the other one goes on by itself. The rest is as with Revert.
func (m *Manager) Promote(ctx context.Context, clone, name string) (kept string, err error) {
	err = m.change(ctx, clone, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		source, _ := g.Volume(unqualified(clone))
		v, ok := g.Volume(unqualified(name))
		if in, _, qualified := strings.Cut(name, "/"); qualified && in != g.Name {
			return fmt.Errorf("%s is in pool %s, and %s in another", clone, g.Name, name)
		}
		switch {
		case !ok || kindOf(v) != volume:
			return fmt.Errorf("there is no volume %s in pool %s; to give %s another name, rename it", name, g.Name, clone)
		case v.Name == source.Name:
			return fmt.Errorf("%s is one volume", name)
		}
		kept, err = m.swap(ctx, g, v, source)
		return err
	})
	return kept, err
}

// swap makes v hold what source holds.
func (m *Manager) swap(ctx context.Context, g lvm.Group, v, source lvm.LogicalVolume) (kept string, err error) {
	if isThick(v) || isThick(source) {
		return "", errors.New("thick volumes have no snapshots, so they can't be changed into one")
	}
	if blockOf(v) != blockOf(source) {
		return "", fmt.Errorf("%s and volume %s have different block sizes, so what one holds is of no use to the other", shown(source.Name), v.Name)
	}
	// The content of a volume may be half of an import: it is replaced.
	if err := errors.Join(refuseUncleared(v), refuseUnfinished(source)); err != nil {
		return "", err
	}
	now := m.o.Now()
	kept = v.Name + joint + freeSnapshotName(g, v.Name, keptPrefix, now)
	next := v.Name + nextSuffix
	if err := errors.Join(checkDeviceName(g.Name, kept), checkDeviceName(g.Name, next)); err != nil {
		return "", err
	}
	// This fails if someone has it open.
	if err := m.lvm.DeactivateVolume(ctx, g.Name, v.Name); err != nil {
		return "", err
	}
	tags := append(carried(v), swapTag+v.Name+"/"+kept, timeTag(createdTag, now))
	if err := m.lvm.SnapshotThin(ctx, g.Name, source.Name, next, false, tags); err != nil {
		return "", errors.Join(err, m.lvm.ActivateVolume(ctx, g.Name, v.Name))
	}
	if err := m.readLVM(ctx); err != nil {
		return "", err
	}
	if _, err := m.finish(ctx, g.Name); err != nil {
		return "", err
	}
	return shown(kept), m.lvm.ActivateVolume(ctx, g.Name, kept)
}

// Rename gives a volume and its snapshots another name. It may be in use. Its
// identity and its LUN numbers stay the same.
func (m *Manager) Rename(ctx context.Context, old, name string) error {
	return m.change(ctx, old, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		v, _ := g.Volume(unqualified(old))
		if _, _, _, under := importing(v); under { // which knows it by its name
			return fmt.Errorf("an import into volume %s isn't finished; finish that first", v.Name)
		}
		if err := free(g, name); err != nil {
			return err
		}
		for _, s := range snapshotsOf(g, v.Name) {
			if err := free(g, name+strings.TrimPrefix(s.Name, v.Name)); err != nil {
				return err
			}
		}
		return m.decide(ctx, g, v.Name, renameTag+name, renamedTag+v.Name)
	})
}
