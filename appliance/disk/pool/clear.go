package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/task"
)

// clearTag + from + "." + done: what a thick volume holds from byte from on is
// leftovers of others, of which zeros have been written up to byte done; that is on
// stable storage. Nobody is given what lies beyond from: if that is 0 the volume isn't
// served. The tag is there from the volume's first moment, or before it grows.
const clearTag = "sanstick.clearing."

// ErrClearing says that a volume isn't served yet, because it is being cleared.
var ErrClearing = errors.New("it is being cleared, and is served as soon as that is done")

// clearing is how far that is, in bytes.
type clearing struct{ from, done int64 }

func (c clearing) tag() string { return fmt.Sprintf("%s%d.%d", clearTag, c.from, c.done) }

// percent is how much is done of a volume of size bytes.
func (c clearing) percent(size int64) float64 {
	return 100 * float64(c.done-c.from) / float64(max(size-c.from, 1))
}

// clearingOf tells whether a volume is to be cleared. A tag that can't be read means
// all of it.
func clearingOf(v lvm.LogicalVolume) (c clearing, is bool) {
	text, is := tagValue(v, clearTag)
	if !is {
		return c, false
	}
	if n, err := fmt.Sscanf(text, "%d.%d", &c.from, &c.done); n != 2 || err != nil || c.from < 0 || c.done < c.from || c.done > v.Size {
		return clearing{}, true
	}
	return c, true
}

// refuseUncleared refuses to use a volume that holds leftovers of others.
func refuseUncleared(v lvm.LogicalVolume) error {
	if c, is := clearingOf(v); is && c.from == 0 {
		return fmt.Errorf("volume %s: %w", v.Name, ErrClearing)
	}
	return nil
}

// Usable is how many bytes of a volume may be used, from its beginning; -1: all. The
// volume is known by its identity; it may not be, while its disks are away. It doesn't
// block.
func (m *Manager) Usable(identityOf string) (bytes int64, known bool) {
	for _, g := range m.known().LVM.Groups {
		for _, v := range g.Logical {
			if !ours(g) || v.Hidden || identity(v) != identityOf {
				continue
			}
			if c, is := clearingOf(v); is {
				return c.from, true
			}
			return -1, true
		}
	}
	return -1, false
}

const (
	clearChunk  = 4 << 20
	clearHeld   = time.Second      // how long a volume is open at once
	clearSave   = 30 * time.Second // how often is noted how far it is
	clearPeriod = time.Second      // how often is looked whether there is something to clear
	clearLater  = 30 * time.Second // until it is tried again after an error
)

// Clearing returns the task that clears thick volumes, one at a time. What it writes
// takes half of a disk's time at most.
func (m *Manager) Clearing() task.Task {
	return task.Func("clearing", func(ctx context.Context) error {
		for {
			wait := clearPeriod
			switch worked, err := m.clearSome(ctx); {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				m.o.Log.Error("cannot clear volume", "error", err)
				wait = clearLater
			case worked:
				wait = 0
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-timer.C:
			}
		}
	})
}

// toClear finds a volume that is to be cleared, with its pool.
func (m *Manager) toClear() (g lvm.Group, v lvm.LogicalVolume, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.specs {
		for _, g := range m.facts.LVM.Groups {
			if g.Name != s.Name || !ours(g) || g.Tagged(creatingTag) || s.ActivateOnly || m.facts.gone(g, m.facts.Disks) != "" {
				continue
			}
			for _, v := range g.Logical {
				if _, is := clearingOf(v); is && kindOf(v) == volume && m.active[lvm.DeviceName(g.Name, v.Name)] {
					return g, v, true
				}
			}
		}
	}
	return g, v, false
}

// clearSome clears a part of one volume, and tells whether there was something to do.
func (m *Manager) clearSome(ctx context.Context) (worked bool, err error) {
	g, v, ok := m.toClear()
	if !ok {
		return false, nil
	}
	c, _ := clearingOf(v)
	m.mu.Lock()
	c.done = max(c.done, m.cleared[v.UUID].done)
	saved := m.cleared[v.UUID].saved
	m.mu.Unlock()
	if c.done < v.Size {
		if c.done, err = m.writeZeros(ctx, g, v, c.done); err != nil {
			return false, fmt.Errorf("cannot clear volume %s of pool %s: %w", v.Name, g.Name, err)
		}
	}
	now := m.o.Now()
	if saved.IsZero() {
		saved = now
	}
	full := c.done >= v.Size
	if full || now.Sub(saved) >= clearSave {
		if err = m.saveCleared(ctx, g, v, c, full); err != nil {
			return false, fmt.Errorf("volume %s of pool %s is clear up to byte %d, which can't be noted: %w", v.Name, g.Name, c.done, err)
		}
		saved = now
	}
	m.mu.Lock()
	m.cleared = with(m.cleared, v.UUID, clearedSoFar{c.done, saved})
	if full {
		m.cleared = without(m.cleared, v.UUID)
	}
	m.mu.Unlock()
	if full {
		m.o.Log.Info("cleared volume", "pool", g.Name, "volume", v.Name)
		if m.o.Changed != nil {
			m.o.Changed()
		}
	}
	return true, nil
}

// clearedSoFar is how far a volume is that is being cleared.
type clearedSoFar struct {
	done  int64     // bytes from the beginning of the volume, on stable storage
	saved time.Time // when its tag was written last
}

// writeZeros writes zeros to a volume from a byte on, for a while. It returns up to
// where they are on stable storage.
func (m *Manager) writeZeros(ctx context.Context, g lvm.Group, v lvm.LogicalVolume, from int64) (done int64, err error) {
	// Who changes volumes waits for this, and what this would write to may be another
	// volume by then.
	select {
	case m.clearHold <- struct{}{}:
	case <-ctx.Done():
		return from, ctx.Err()
	}
	defer func() { <-m.clearHold }()
	if _, now, ok := m.toClear(); !ok || now.UUID != v.UUID || now.Name != v.Name {
		return from, nil
	}
	dev, err := m.o.OpenVolume(devicePath(g.Name, v.Name))
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	zeros := sys.AlignedBuffer(clearChunk)
	done = from
	for start := time.Now(); done < v.Size && time.Since(start) < clearHeld && ctx.Err() == nil; {
		began := time.Now()
		n, err := dev.WriteAt(zeros[:min(clearChunk, v.Size-done)], done)
		if err != nil {
			return from, err
		}
		done += int64(n)
		pause := time.NewTimer(time.Since(began))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
	if err := dev.Sync(); err != nil {
		return from, err
	}
	return done, nil
}

// saveCleared notes how far a volume is. Once it is clear it becomes one like all
// others: that must be on stable storage before anybody writes to it.
func (m *Manager) saveCleared(ctx context.Context, g lvm.Group, v lvm.LogicalVolume, c clearing, full bool) error {
	return m.change(ctx, g.Name+"/"+v.Name, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		now, _ := g.Volume(v.Name)
		if now.UUID != v.UUID || now.Size != v.Size {
			return nil // it has grown meanwhile, or is another one
		}
		old, add := tagsWith(now, clearTag), []string{c.tag()}
		if full {
			add = nil
		}
		if len(old) == 0 || slices.Equal(old, add) {
			return nil
		}
		return m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, add, old)
	})
}

// clearingNow is how much of a volume is cleared, in per cent; nil if it is clear.
func (v view) clearingNow(lv lvm.LogicalVolume) *float64 {
	c, is := clearingOf(lv)
	if !is {
		return nil
	}
	c.done = max(c.done, v.cleared[lv.UUID].done)
	p := c.percent(lv.Size)
	return &p
}

// uncleared tells of volumes whose clearing has to wait.
func (v view) uncleared(g lvm.Group, note func(status.Health, string, string)) {
	var names []string
	for _, lv := range g.Logical {
		if _, is := clearingOf(lv); is && kindOf(lv) == volume {
			names = append(names, lv.Name)
		}
	}
	if len(names) > 0 && g.Missing > 0 {
		note(status.Degraded, fmt.Sprintf("volume %s is being cleared, which goes on when no disk is missing", strings.Join(names, ", ")), "connect or replace the disk")
	}
}
