package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// A Taken is a volume or a snapshot whose content is being taken out.
type Taken struct {
	Pool      string
	Name      string // what is read, as in "tank/golden@monday"
	Volume    string // "golden"
	Path      string // of its device
	Size      int64
	Point     *Point // nil: the volume itself, which may change meanwhile
	Temporary bool   // to be given to RemoveTemporary
}

// Take finds what to read for an export. A thin volume gets a temporary
// snapshot, so that what is read is of one moment.
func (m *Manager) Take(ctx context.Context, name string) (t Taken, err error) {
	g, err := m.pick(name, hasKind(volume, snapshot))
	if err != nil {
		return t, err
	}
	v, _ := g.Volume(inLVM(unqualified(name)))
	if err := refuseUnfinished(v); err != nil {
		return t, err
	}
	t.Pool, t.Name = g.Name, shown(v.Name)
	if kindOf(v) == volume && isThin(v) {
		name := m.temporaryName()
		defer func() {
			if err != nil { // nobody else would remove it, if it was made
				err = errors.Join(err, m.removeTemporary(context.WithoutCancel(ctx), func(v lvm.LogicalVolume) bool {
					return strings.HasSuffix(shown(v.Name), "@"+name)
				}))
			}
		}()
		if t.Name, err = m.snapshot(ctx, g.Name+"/"+v.Name, name, temporaryTag); err != nil {
			return t, err
		}
		t.Temporary = true
	}
	e, err := m.Export(g.Name, t.Name)
	if err != nil {
		return t, err
	}
	t.Path, t.Size = e.Path, e.Size
	var snap string
	if t.Volume, snap, _ = strings.Cut(t.Name, "@"); snap == "" {
		t.Name = g.Name + "/" + t.Name
		return t, nil
	}
	g, err = m.pick(g.Name+"/"+t.Name, hasKind(snapshot))
	if err != nil {
		return t, err
	}
	v, _ = g.Volume(inLVM(t.Name))
	t.Point = &Point{Name: snap, UUID: v.UUID}
	t.Name = g.Name + "/" + t.Name
	return t, nil
}

func (m *Manager) temporaryName() string {
	return "export-" + m.o.Now().UTC().Format("2006-01-02T15-04-05.000")
}

// RemoveTemporary removes a temporary snapshot for good, which may have another name by
// now. With an empty UUID it removes everything of exports that an earlier run of the
// daemon has left.
func (m *Manager) RemoveTemporary(ctx context.Context, uuid string) error {
	if uuid == "" {
		return errors.Join(m.releaseMetadata(ctx), m.removeTemporary(ctx, func(lvm.LogicalVolume) bool { return true }))
	}
	return m.removeTemporary(ctx, func(v lvm.LogicalVolume) bool { return v.UUID == uuid })
}

// removeTemporary removes the temporary snapshots that are so.
func (m *Manager) removeTemporary(ctx context.Context, is func(lvm.LogicalVolume) bool) error {
	var names []string
	var errs []error
	for _, g := range m.known().LVM.Groups {
		for _, v := range g.Logical {
			if _, temporary := tagValue(v, temporaryTag); ours(g) && temporary && kindOf(v) == snapshot && is(v) {
				names = append(names, g.Name+"/"+shown(v.Name))
			}
		}
	}
	for _, name := range names {
		errs = append(errs, m.change(ctx, name, hasKind(snapshot), func(ctx context.Context, g lvm.Group) error {
			v, _ := g.Volume(inLVM(unqualified(name)))
			if _, is := tagValue(v, temporaryTag); !is {
				return fmt.Errorf("snapshot %s isn't a temporary one", name)
			}
			return m.dispose(ctx, g, v)
		}))
	}
	return errors.Join(errs...)
}

// releaseMetadata releases copies of pools' metadata that were left reserved.
func (m *Manager) releaseMetadata(ctx context.Context) error {
	devices, err := m.lvm.Devices(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range m.known().LVM.Groups {
		for _, d := range devices {
			if ours(g) && d.Name == poolDevice(g.Name) && d.ThinPool != nil && d.ThinPool.Reserved {
				errs = append(errs, m.lvm.ReleaseMetadata(ctx, g.Name, dataVolume))
			}
		}
	}
	return errors.Join(errs...)
}

// Changes lists where a snapshot differs from an earlier one of the same pool,
// both as in "tank/golden@monday". Both must be active.
func (m *Manager) Changes(ctx context.Context, from, to string) ([]lvm.Range, error) {
	g, err := m.pick(from, hasKind(volume, snapshot))
	if err != nil {
		return nil, err
	}
	return m.delta(ctx, g.Name, inLVM(unqualified(from)), inLVM(unqualified(to)))
}

// delta compares two volumes by their pool's metadata.
func (m *Manager) delta(ctx context.Context, group, left, right string) (all []lvm.Range, err error) {
	err = m.withMetadata(ctx, group, func() error {
		// Now that nothing vanishes from the copy: LVM gives the number of a volume
		// that is removed to another one.
		l, err := m.lvm.ThinID(ctx, group, left)
		if err != nil {
			return err
		}
		r, err := m.lvm.ThinID(ctx, group, right)
		if err != nil {
			return err
		}
		all, err = m.lvm.ThinDelta(ctx, group, dataVolume, l, r)
		return err
	})
	return all, err
}

// Mapped lists which parts of what was taken have space in the pool; all else
// reads as zeros. It is for what doesn't change: ok is false if the volume itself
// was taken.
func (m *Manager) Mapped(ctx context.Context, t Taken) (all []lvm.Range, ok bool, err error) {
	if t.Point == nil {
		return nil, false, nil
	}
	id, err := m.lvm.ThinID(ctx, t.Pool, inLVM(unqualified(t.Name)))
	if err != nil {
		return nil, false, err
	}
	err = m.withMetadata(ctx, t.Pool, func() (err error) {
		all, err = m.lvm.ThinMapped(ctx, t.Pool, dataVolume, id)
		return err
	})
	return all, err == nil, err
}

// withMetadata has do read a copy of a pool's metadata, which is released in any
// case; one at a time.
func (m *Manager) withMetadata(ctx context.Context, group string, do func() error) (err error) {
	select {
	case m.deltas <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.deltas }()
	if err := m.lvm.ReserveMetadata(ctx, group, dataVolume); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, m.lvm.ReleaseMetadata(context.WithoutCancel(ctx), group, dataVolume))
	}()
	return do()
}

// Point finds a snapshot, as in "golden@monday", with its pool's name in front.
func (m *Manager) Point(name string) (full string, p Point, err error) {
	g, err := m.pick(name, hasKind(snapshot))
	if err != nil {
		return "", p, err
	}
	v, _ := g.Volume(inLVM(unqualified(name)))
	parts, _ := splitSnapshot(v.Name)
	return g.Name + "/" + shown(v.Name), Point{Name: parts[1], UUID: v.UUID}, nil
}

// checkBase refuses changes for a volume that isn't what they build on: it must
// have a snapshot that holds what the base held, and must not have been changed
// since. It must hold op.
func (m *Manager) checkBase(ctx context.Context, g lvm.Group, v lvm.LogicalVolume, from string) error {
	if !isThin(v) {
		return fmt.Errorf("volume %s is thick, and nobody can know whether it was changed; import the full export", v.Name)
	}
	var base lvm.LogicalVolume
	for _, s := range snapshotsOf(g, v.Name) {
		if id, ok := tagValue(s, baseTag); s.UUID == from || ok && id == from {
			base = s
		}
	}
	if base.Name == "" {
		return fmt.Errorf("volume %s has no snapshot of what these changes build on (%s): import what comes before them", v.Name, from)
	}
	changed, err := m.delta(ctx, g.Name, base.Name, v.Name)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		return fmt.Errorf("volume %s was changed since its snapshot %s, on which these changes build: revert it to that first", v.Name, shown(base.Name))
	}
	return nil
}

// refuseUnfinished refuses to take the content of a volume that isn't whole.
func refuseUnfinished(v lvm.LogicalVolume) error {
	_, _, done, ok := importing(v)
	if ok && kindOf(v) == snapshot { // the volume was reverted
		return fmt.Errorf("snapshot %s holds a part of an import only, which nobody can finish; delete it", shown(v.Name))
	}
	if ok {
		return fmt.Errorf("the import into volume %s isn't finished (%d bytes are there); run the same import again, which goes on where it was", shown(v.Name), done)
	}
	return refuseUncleared(v)
}
