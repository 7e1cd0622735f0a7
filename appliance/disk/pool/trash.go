package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
)

// DefaultTrash is how long what was deleted is kept, if nothing else is said.
const DefaultTrash = 7 * 24 * time.Hour

// Delete puts a volume or a snapshot into the trash. It refuses a volume that
// the configuration names, one that someone uses, and, unless snapshots is set,
// one that has snapshots: they go with it.
func (m *Manager) Delete(ctx context.Context, name string, snapshots bool) error {
	return m.change(ctx, name, hasKind(volume, snapshot), func(ctx context.Context, g lvm.Group) error {
		v, _ := g.Volume(inLVM(unqualified(name)))
		if m.wanted(g.Name, v.Name) {
			return fmt.Errorf("volume %s is in the configuration; take it out of [[volume]] and [[target]], and do sanctl config apply", name)
		}
		var all []lvm.LogicalVolume
		if kindOf(v) == volume {
			all = snapshotsOf(g, v.Name)
		}
		if len(all) > 0 && !snapshots {
			var names []string
			for _, s := range all {
				names = append(names, shown(s.Name))
			}
			return fmt.Errorf("volume %s has %d snapshots (%s); delete them first, or with it", name, len(all), strings.Join(names, ", "))
		}
		all = append(all, v)
		if err := m.closeAll(ctx, g, all); err != nil {
			return err
		}
		for i, s := range all {
			out := m.discard
			if _, is := tagValue(s, temporaryTag); is && i < len(all)-1 { // nobody has asked for it
				out = m.dispose
			}
			if err := out(ctx, g, s); err != nil {
				return errors.Join(err, m.openAll(ctx, g, all[i+1:])) // and Watch the one
			}
		}
		return nil
	})
}

// closeAll deactivates volumes: all, or none if someone has one of them open.
func (m *Manager) closeAll(ctx context.Context, g lvm.Group, all []lvm.LogicalVolume) error {
	for i, v := range slices.Backward(all) { // the volume comes before its snapshots
		if err := m.lvm.DeactivateVolume(ctx, g.Name, v.Name); err != nil {
			return errors.Join(err, m.openAll(ctx, g, all[i+1:]))
		}
	}
	return nil
}

// openAll activates volumes.
func (m *Manager) openAll(ctx context.Context, g lvm.Group, all []lvm.LogicalVolume) error {
	var errs []error
	for _, v := range all {
		errs = append(errs, m.lvm.ActivateVolume(ctx, g.Name, v.Name))
	}
	return errors.Join(errs...)
}

// wanted tells whether the configuration has a volume.
func (m *Manager) wanted(pool, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.specs, func(s Spec) bool {
		return s.Name == pool && slices.ContainsFunc(s.Volumes, func(v VolumeSpec) bool { return v.Name == name })
	})
}

// discard moves one volume or snapshot, which isn't active, to the trash.
func (m *Manager) discard(ctx context.Context, g lvm.Group, v lvm.LogicalVolume) error {
	tags := []string{timeTag(lvm.TrashTag, m.o.Now()), wasTag + v.Name}
	v.Tags = append(slices.Clone(v.Tags), tags...)
	if err := m.decide(ctx, g, v.Name, tags...); err != nil {
		return errors.Join(err, m.readLVM(ctx))
	}
	// Active, so that it can be seen how much it takes.
	return m.lvm.ActivateVolume(ctx, g.Name, trashName(g.Name, v))
}

// inTrash finds what is in the trash under a name: what it was called, or what
// it is called in LVM.
func inTrash(g lvm.Group, name string) []lvm.LogicalVolume {
	var all []lvm.LogicalVolume
	for _, v := range g.Logical {
		was, _ := tagValue(v, wasTag)
		if kindOf(v) == trash && (was == inLVM(name) || v.Name == name) {
			all = append(all, v)
		}
	}
	return all
}

func hasTrash(g lvm.Group, name string) bool { return len(inTrash(g, name)) > 0 }

// trashed is inTrash for a command that is about one.
func trashed(g lvm.Group, name string) (lvm.LogicalVolume, error) {
	all := inTrash(g, name)
	if len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name+", deleted "+tagTime(v, lvm.TrashTag).Format(time.DateTime))
	}
	return lvm.LogicalVolume{}, fmt.Errorf("the trash has %s more than once; say which: %s", name, strings.Join(names, "; "))
}

// Restore takes a volume or snapshot out of the trash, under the name that it
// had or as another one, and returns its name. It is as it was, with the same
// identity.
func (m *Manager) Restore(ctx context.Context, name, as string) (restored string, err error) {
	err = m.change(ctx, name, hasTrash, func(ctx context.Context, g lvm.Group) error {
		v, err := trashed(g, unqualified(name))
		if err != nil {
			return err
		}
		was, _ := tagValue(v, wasTag)
		if restored = as; as == "" {
			restored = shown(was)
		}
		if strings.Contains(restored, "@") != strings.Contains(was, joint) {
			return fmt.Errorf("%s can't become %s: a volume stays a volume, and a snapshot a snapshot", shown(was), restored)
		}
		if err := free(g, restored); err != nil {
			return fmt.Errorf("%w for what is restored", err)
		}
		to := inLVM(restored)
		if err := m.lvm.RenameVolume(ctx, g.Name, v.Name, to); err != nil {
			return err
		}
		// What a person has taken back isn't the schedule's or an export's any more, to be
		// removed.
		return m.lvm.ChangeVolumeTags(ctx, g.Name, to, nil, slices.Concat(tagsWith(v, lvm.TrashTag), tagsWith(v, wasTag), tagsWith(v, scheduleTag), tagsWith(v, temporaryTag)))
	})
	return restored, err
}

// Purge removes something in the trash for good.
func (m *Manager) Purge(ctx context.Context, name string) error {
	return m.change(ctx, name, hasTrash, func(ctx context.Context, g lvm.Group) error {
		v, err := trashed(g, unqualified(name))
		if err != nil {
			return err
		}
		return m.remove(ctx, g, v)
	})
}

// remove removes what is in the trash, and nothing else.
func (m *Manager) remove(ctx context.Context, g lvm.Group, v lvm.LogicalVolume) error {
	tag, ok := tagValue(v, lvm.TrashTag)
	if !ok || kindOf(v) != trash {
		return fmt.Errorf("cannot remove %s: it isn't in the trash", shown(v.Name))
	}
	if err := m.lvm.RemoveTrashed(ctx, g.Name, v.UUID, lvm.TrashTag+tag); err != nil {
		return err
	}
	m.o.Log.Info("removed for good", "pool", g.Name, "volume", v.Name, "uuid", v.UUID)
	return nil
}
