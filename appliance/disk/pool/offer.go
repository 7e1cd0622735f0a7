package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// A pool whose disks come from another appliance, or that was taken out of the
// configuration, is left alone: it is offered. Who wants it adopts it, which
// writes it into the configuration.

// offers lists the complete pools of ours that the configuration doesn't name,
// and those that have the name of another one that it names.
func (v view) offers() []status.Offer {
	var all []status.Offer
	for _, g := range v.facts.LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		i := slices.IndexFunc(v.specs, func(s Spec) bool { return s.Name == g.Name })
		if i >= 0 {
			_, strangers := compareMembers(v.specs[i], v.facts.membersOf(g), goneDisks(g))
			if !strangers {
				continue
			}
		}
		all = append(all, v.facts.offer(g))
	}
	return all
}

func (f Facts) offer(g lvm.Group) status.Offer {
	o := status.Offer{Name: g.Name, UUID: g.UUID, Layout: Single}
	for _, m := range f.membersOf(g) {
		if m.here {
			o.Disks = append(o.Disks, m.id)
		} else {
			o.Missing = append(o.Missing, m.id)
		}
	}
	for _, v := range g.Logical {
		switch {
		case v.Name == dataVolume+"_tdata" && strings.HasPrefix(v.Type, "raid"):
			o.Layout = layoutOf(v)
		case kindOf(v) == volume:
			o.Volumes = append(o.Volumes, status.Volume{Name: v.Name, UUID: identity(v), Size: v.Size, Thick: isThick(v), Block: blockOf(v)})
		}
	}
	return o
}

// Offers lists the pools that are here and that the configuration doesn't use.
func (m *Manager) Offers() []status.Offer {
	m.mu.Lock()
	v := view{specs: m.specs, facts: m.facts}
	m.mu.Unlock()
	return v.offers()
}

// Offered finds one of the Offers, by its name or, if several
// are called so, its UUID.
func (m *Manager) Offered(ctx context.Context, name string) (status.Offer, error) {
	if err := m.lock(ctx); err != nil {
		return status.Offer{}, err
	}
	defer m.unlock()
	if _, err := m.readDisks(); err != nil {
		return status.Offer{}, err
	}
	if err := m.readLVM(ctx); err != nil {
		return status.Offer{}, err
	}
	found := slices.DeleteFunc(m.Offers(), func(o status.Offer) bool { return o.Name != name && o.UUID != name })
	switch {
	case len(found) == 0:
		return status.Offer{}, fmt.Errorf("no pool %s is on offer; `sanctl status` lists those that are", name)
	case len(found) > 1:
		var ids []string
		for _, o := range found {
			ids = append(ids, o.UUID+" on "+strings.Join(o.Disks, ", "))
		}
		return status.Offer{}, fmt.Errorf("%d pools are called %s: %s; name one by its UUID", len(found), name, strings.Join(ids, "; "))
	}
	return found[0], nil
}

// RenamePool gives another name to a pool that is on offer. It needs all its disks,
// and its volumes must not be active.
func (m *Manager) RenamePool(ctx context.Context, o status.Offer, name string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	for _, g := range m.known().LVM.Groups {
		switch {
		case g.Name == name:
			return fmt.Errorf("cannot call pool %s %s: there is one of that name", o.Name, name)
		case g.UUID != o.UUID:
			continue
		case g.Missing > 0:
			return fmt.Errorf("cannot rename pool %s: disk %s is missing", o.Name, strings.Join(o.Missing, ", "))
		case slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool { return v.Active }):
			return fmt.Errorf("cannot rename pool %s: it is active", o.Name)
		}
	}
	err := m.lvm.RenameGroup(ctx, o.UUID, name)
	return errors.Join(err, m.readLVM(ctx))
}
