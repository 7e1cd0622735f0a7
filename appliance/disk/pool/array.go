package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sanstick/appliance/disk/md"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
)

// Arrays of Linux software RAID come with disks of other machines. None is
// assembled by itself; one that a person asks for is opened for reading, and
// neither LVM nor a pool ever looks inside.

// OpenArray assembles an md array, read-only, of its members that are here. One
// that lacks members is refused unless degraded is set. An array that is open
// already stays as it is.
func (m *Manager) OpenArray(ctx context.Context, uuid string, degraded bool) (status.Array, error) {
	if err := md.CheckUUID(uuid); err != nil {
		return status.Array{}, err
	}
	if err := m.lock(ctx); err != nil {
		return status.Array{}, err
	}
	defer m.unlock()
	all, err := m.md.Arrays()
	if err != nil {
		return status.Array{}, err
	}
	i := slices.IndexFunc(all, func(a md.Array) bool { return a.UUID == uuid })
	if i < 0 {
		a, err := m.openArray(ctx, uuid, degraded)
		if err != nil {
			return status.Array{}, err
		}
		all, i = []md.Array{a}, 0
	}
	holds, err := m.listArray(all[i])
	if err != nil {
		return status.Array{}, err
	}
	m.mu.Lock()
	m.arrays = with(m.arrays, uuid, holds)
	m.mu.Unlock()
	return arrayStatus(all[i], holds), nil
}

func (m *Manager) openArray(ctx context.Context, uuid string, degraded bool) (md.Array, error) {
	changed, err := m.readDisks()
	m.again = m.again || changed // Watch mustn't miss it
	if err != nil {
		return md.Array{}, err
	}
	var here []md.Member
	for _, d := range m.known().Disks {
		if slices.Contains(m.known().Boot, d.Name) {
			continue
		}
		if _, used := m.known().groupOf(d); used {
			continue
		}
		m.look(ctx, d, m.o.AskLimit)
		for _, f := range m.known().Holds[d.Name] {
			if f.Set.Kind != probe.MDArray || f.Set.ID != uuid {
				continue
			}
			path := d.Path
			if f.Partition > 0 {
				path = partitionPath(d.Path, f.Partition)
			}
			x, err := m.md.Examine(ctx, path)
			if err != nil {
				return md.Array{}, err
			}
			here = append(here, x)
		}
	}
	chosen, lacks, err := md.Choose(here, degraded)
	if err != nil {
		return md.Array{}, fmt.Errorf("cannot open array %s: %w", uuid, err)
	}
	a, err := m.md.Open(ctx, uuid, chosen, lacks > 0)
	if err == nil {
		m.o.Log.Info("opened md array, read-only", "array", uuid, "path", a.Path, "lacks", lacks)
	}
	return a, err
}

// partitionPath is the path of a partition: /dev/sda3, /dev/nvme0n1p3.
func partitionPath(disk string, n int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(n)
}

// listArray looks at what is on an array.
func (m *Manager) listArray(a md.Array) ([]probe.Finding, error) {
	f, err := m.o.Open(a.Path, false)
	if err != nil {
		return nil, fmt.Errorf("cannot look at array %s: %w", a.UUID, err)
	}
	holds, err := probe.List(f, a.Size)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot look at array %s: %w", a.UUID, err)
	}
	return holds, nil
}

// CloseArray stops an array that OpenArray has assembled. It fails while anybody
// reads it.
func (m *Manager) CloseArray(ctx context.Context, uuid string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.md.Close(ctx, uuid); err != nil {
		return err
	}
	m.mu.Lock()
	m.arrays = without(m.arrays, uuid)
	m.mu.Unlock()
	m.o.Log.Info("closed md array", "array", uuid)
	return nil
}

// Arrays tells which md arrays are open. It reads sysfs only.
func (m *Manager) Arrays() []status.Array {
	all, err := m.md.Arrays()
	if err != nil {
		m.o.Log.Debug("cannot list md arrays", "error", err)
		return nil
	}
	m.mu.Lock()
	holds := m.arrays
	m.mu.Unlock()
	var out []status.Array
	for _, a := range all {
		out = append(out, arrayStatus(a, holds[a.UUID]))
	}
	return out
}

func arrayStatus(a md.Array, holds []probe.Finding) status.Array {
	s := status.Array{UUID: a.UUID, Path: a.Path, Level: a.Level, Size: a.Size, Members: a.Devices, Lacks: a.Degraded, Holds: []status.Content{}}
	for _, f := range holds {
		s.Holds = append(s.Holds, content(f))
	}
	return s
}
