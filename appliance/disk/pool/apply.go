package pool

import (
	"context"
	"fmt"

	"sanstick/appliance/disk/lvm"
)

// apply does one step.
func (m *Manager) apply(ctx context.Context, step Step) error {
	switch s := step.(type) {
	case StampDisk:
		return m.withDevice(s.Path, func(d Device) error {
			if err := m.recheck(s, d); err != nil {
				return err
			}
			return writeStamp(d, s.Stamp, s.Reset)
		})
	case CreateGroup:
		if err := m.checkStamps(s); err != nil {
			return err
		}
		if err := m.lvm.CreateGroup(ctx, s.Pool, s.Paths, []string{Tag, creatingTag}); err != nil {
			return err
		}
		return m.flush(s.Paths)
	case RemoveUnfinished:
		return m.lvm.RemoveUnfinished(ctx, s.Pool, creatingTag)
	case ClearStamps:
		for _, path := range s.Paths {
			if err := m.withDevice(path, clearStamp); err != nil {
				return err
			}
		}
		return nil
	case CreateThinPool:
		return m.createThinPool(ctx, s)
	case Finish:
		// What was written must be there before the tag that lets it be
		// thrown away is gone.
		if err := m.flush(s.Paths); err != nil {
			return err
		}
		if err := m.lvm.ChangeTags(ctx, s.Pool, s.Tags, []string{creatingTag}); err != nil {
			return err
		}
		return m.flush(s.Paths)
	case RecordDisks:
		if err := m.lvm.ChangeTags(ctx, s.Pool, s.Add, s.Remove); err != nil {
			return err
		}
		m.marks(s.UUID)
		if s.Compare {
			m.mu.Lock()
			m.facts.ScrubNow = with(m.facts.ScrubNow, s.Pool, true)
			m.mu.Unlock()
		}
		return m.flush(s.Paths)
	case MarkUse:
		return s.do(ctx, m)
	case Activate:
		m.verifyLater() // LVM's state says which volumes are active
		return m.lvm.Activate(ctx, s.Pool, s.Mode)
	case Remember:
		return m.remember(s)
	case mendStep:
		return s.do(ctx, m)
	case newVolumeStep:
		return m.makeVolume(ctx, s)
	case volumeStep:
		return s.do(ctx, m.lvm)
	}
	panic(fmt.Sprintf("pool: unknown step %T", step))
}

func (m *Manager) createThinPool(ctx context.Context, s CreateThinPool) error {
	for _, v := range []struct {
		name    string
		extents int64
	}{{dataVolume, s.Sizes.Data}, {metaVolume, s.Sizes.Meta}} {
		var err error
		if s.Kind != "" && v.name == dataVolume {
			err = m.lvm.CreateStriped(ctx, s.Pool, v.name, s.Kind, s.Disks, v.extents)
		} else if s.Copies > 1 {
			err = m.lvm.CreateMirror(ctx, s.Pool, v.name, s.Copies, v.extents, s.On...)
		} else {
			err = m.lvm.CreateLinear(ctx, s.Pool, v.name, v.extents)
		}
		if err != nil {
			return err
		}
	}
	return m.lvm.ConvertToThinPool(ctx, s.Pool, dataVolume, metaVolume, s.Sizes.Chunk)
}

// withDevice opens a disk for writing, alone, and does something to it.
func (m *Manager) withDevice(path string, do func(Device) error) error {
	d, err := m.o.Open(path, true)
	if err != nil {
		return fmt.Errorf("cannot open disk for writing: %w", err)
	}
	err = do(d)
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cannot write to disk %s: %w", path, err)
	}
	return nil
}

// flush empties the disks' own write caches: LVM doesn't.
func (m *Manager) flush(paths []string) error {
	for _, path := range paths {
		d, err := m.o.Open(path, false)
		if err != nil {
			return fmt.Errorf("cannot open disk: %w", err)
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fmt.Errorf("cannot flush disk %s: %w", path, err)
		}
	}
	return nil
}

// flushPool brings to stable storage what was changed in a pool.
func (m *Manager) flushPool(pool string) error {
	for _, g := range m.known().LVM.Groups {
		if g.Name == pool && ours(g) {
			if err := m.flush(pathsOf(g)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isNewVolume(s Step) bool {
	_, is := s.(newVolumeStep)
	return is
}

// changesMetadata tells whether LVM's state must be read again after a step.
// Activation is seen in device-mapper.
func changesMetadata(s Step) bool {
	switch s.(type) {
	case Activate, Remember, Refresh, MarkUse:
		return false
	}
	return true
}

// devicePath is where a volume's device node is.
func devicePath(group, volume string) string {
	return "/dev/mapper/" + lvm.DeviceName(group, volume)
}
