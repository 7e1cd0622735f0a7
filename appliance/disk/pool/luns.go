package pool

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// A LUN is the number that a volume, or a snapshot as in "golden@monday", has
// in a target. It is kept with the volume, for its life.
type LUN struct {
	Pool, Volume string
	Target       string
	Number       int
}

// LUNs returns all that are kept. Volume is empty for what is deleted, and for
// what a volume was before it was reverted: their numbers are taken, too.
func (m *Manager) LUNs() []LUN {
	var all []LUN
	for _, g := range m.known().LVM.Groups {
		if !ours(g) {
			continue
		}
		for _, v := range g.Logical {
			if v.Hidden {
				continue
			}
			name := ""
			if k := kindOf(v); k == volume || k == snapshot {
				name = shown(v.Name)
			}
			for _, t := range tagsWith(v, lunTag) {
				target, number := cutLast(strings.TrimPrefix(t, lunTag))
				if n, err := strconv.Atoi(number); err == nil && n >= 0 {
					all = append(all, LUN{Pool: g.Name, Volume: name, Target: target, Number: n})
				}
			}
		}
	}
	return all
}

// lunTags keep numbers with the volume that has them.
func lunTags(all []LUN) []string {
	var tags []string
	for _, l := range all {
		tags = append(tags, fmt.Sprintf("%s%s.%d", lunTag, l.Target, l.Number))
	}
	return tags
}

// cutLast cuts at the last dot.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// KeepLUNs keeps numbers with their volumes. What can't be kept, because the
// volume or a disk of its pool isn't here, is left out and no error: it is
// tried again when the LUN is served the next time.
func (m *Manager) KeepLUNs(ctx context.Context, all []LUN) error {
	if len(all) == 0 {
		return nil
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	current := m.current()
	changed := map[string]lvm.Group{}
	for _, g := range m.known().LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) || whole(g, m.known()) != nil {
			continue
		}
		for _, v := range g.Logical {
			tags := lunTags(slices.DeleteFunc(slices.Clone(all), func(l LUN) bool { return l.Pool != g.Name || inLVM(l.Volume) != v.Name }))
			tags = slices.DeleteFunc(tags, func(t string) bool { return slices.Contains(v.Tags, t) })
			if k := kindOf(v); len(tags) == 0 || k != volume && k != snapshot {
				continue
			}
			changed[g.Name] = g
			if err := m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, tags, nil); err != nil {
				return fmt.Errorf("cannot keep LUN numbers: %w", err)
			}
			m.tagged(g.UUID, v.Name, tags)
			if current {
				m.noted()
			}
		}
	}
	for _, g := range changed {
		if err := m.flush(pathsOf(g)); err != nil {
			return err
		}
	}
	return nil
}

// tagged notes tags that a volume has got since LVM's state was read.
func (m *Manager) tagged(group, name string, tags []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	groups := slices.Clone(m.facts.LVM.Groups) // Status may be reading the old ones
	for i := range groups {
		if groups[i].UUID != group {
			continue
		}
		groups[i].Logical = slices.Clone(groups[i].Logical)
		for j := range groups[i].Logical {
			if v := &groups[i].Logical[j]; v.Name == name {
				v.Tags = slices.Concat(v.Tags, tags)
			}
		}
	}
	m.facts.LVM.Groups = groups
}
