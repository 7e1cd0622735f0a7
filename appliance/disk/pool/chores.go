package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

// chorePeriod is how often is looked for what is to be done by the clock.
const chorePeriod = time.Minute

// sane is a time before which no clock of ours was right: an old PC whose
// battery is empty begins in the past.
var sane = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Chores returns the task that makes and removes snapshots as scheduled, and
// removes for good what has been in the trash for long enough.
func (m *Manager) Chores() task.Task {
	return task.Func("snapshots and trash", func(ctx context.Context) error {
		for {
			next := m.chores(ctx)
			timer := time.NewTimer(min(max(next.Sub(m.o.Now()), time.Second), chorePeriod))
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-timer.C:
			}
		}
	})
}

// chores does once what is to be done, and returns when there is more at the
// latest.
func (m *Manager) chores(ctx context.Context) (next time.Time) {
	m.mu.Lock()
	specs := m.specs
	m.mu.Unlock()
	next = m.o.Now().Add(chorePeriod)
	m.inTrash = m.known().inTrash(m.inTrash, m.o.Now())
	problems := map[string][]status.Problem{}
	for _, s := range specs {
		g, ok := view{facts: m.known()}.group(s.Name)
		if !ok || s.ActivateOnly || g.Tagged(creatingTag) {
			continue
		}
		when, err := m.poolChores(ctx, s, g)
		if ctx.Err() != nil {
			return next
		}
		if err != nil {
			m.o.Log.Warn("cannot do chores", "pool", s.Name, "error", err)
			problems[s.Name] = []status.Problem{{Health: status.Degraded, What: "pool " + s.Name + ": " + err.Error(), Do: "it is tried again every minute"}}
		} else if when.Before(next) {
			next = when
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.untidy = problems
	return next
}

// poolChores looks after one pool.
func (m *Manager) poolChores(ctx context.Context, s Spec, g lvm.Group) (next time.Time, err error) {
	now := m.o.Now()
	next = now.Add(chorePeriod)
	var errs []error
	for _, v := range s.Volumes {
		lv, ok := g.Volume(v.Name)
		if v.Schedule.Every == 0 || !ok || kindOf(lv) != volume {
			continue
		}
		due := v.Schedule.due(snapshotsOf(g, v.Name), now)
		if !due.After(now) {
			if _, err := m.snapshot(ctx, s.Name+"/"+v.Name, "", scheduleTag); err != nil {
				errs = append(errs, fmt.Errorf("cannot make the scheduled snapshot of %s: %w", v.Name, err))
				continue
			}
			now = m.o.Now() // later than the snapshot: it isn't one of a time to come
			due = now.Add(v.Schedule.Every)
			g, _ = view{facts: m.known()}.group(s.Name)
		}
		if due.Before(next) {
			next = due
		}
		old := slices.DeleteFunc(v.Schedule.retired(snapshotsOf(g, v.Name), now), func(lv lvm.LogicalVolume) bool { return slices.Contains(v.Served, shown(lv.Name)) })
		if len(old) > 0 {
			if err := m.retire(ctx, s.Name+"/"+v.Name, old); err != nil {
				errs = append(errs, fmt.Errorf("cannot remove old snapshots of %s: %w", v.Name, err))
			}
		}
	}
	for _, v := range g.Logical {
		if kindOf(v) != trash || m.o.Now().Sub(m.inTrash[v.UUID]) < trashSettle || !expired(v, s.Trash, now) {
			continue
		}
		if err := m.Purge(ctx, s.Name+"/"+v.Name); err != nil {
			errs = append(errs, fmt.Errorf("cannot empty the trash: %w", err))
		}
	}
	return next, errors.Join(errs...)
}

// scheduled lists the snapshots that the schedule made, oldest first. Those of
// a time to come were made when the clock was wrong, and count as the oldest.
func scheduled(all []lvm.LogicalVolume, now time.Time) []lvm.LogicalVolume {
	made := func(v lvm.LogicalVolume) time.Time {
		if t := tagTime(v, createdTag); !t.After(now) {
			return t
		}
		return time.Time{}
	}
	var own []lvm.LogicalVolume
	for _, v := range all {
		if slices.Contains(v.Tags, scheduleTag) {
			own = append(own, v)
		}
	}
	slices.SortStableFunc(own, func(a, b lvm.LogicalVolume) int { return made(a).Compare(made(b)) })
	return own
}

// due is when the next snapshot is to be made. However many were missed, it is
// one.
func (c Schedule) due(all []lvm.LogicalVolume, now time.Time) time.Time {
	own := scheduled(all, now)
	if len(own) == 0 {
		return now
	}
	last := tagTime(own[len(own)-1], createdTag)
	if last.After(now) {
		return now
	}
	return last.Add(c.Every)
}

// retired are the snapshots that are too many.
func (c Schedule) retired(all []lvm.LogicalVolume, now time.Time) []lvm.LogicalVolume {
	own := scheduled(all, now)
	return own[:max(len(own)-c.Keep, 0)]
}

// retire removes snapshots that the schedule made.
func (m *Manager) retire(ctx context.Context, name string, old []lvm.LogicalVolume) error {
	return m.change(ctx, name, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		var errs []error
		for _, o := range old {
			v, ok := g.Volume(o.Name)
			if !ok || v.UUID != o.UUID || kindOf(v) != snapshot || !slices.Contains(v.Tags, scheduleTag) {
				continue
			}
			errs = append(errs, m.dispose(ctx, g, v))
		}
		return errors.Join(errs...)
	})
}

// dispose removes for good what never was meant to stay. If someone has it open
// it fails and stays; after a power cut it may be in the trash.
func (m *Manager) dispose(ctx context.Context, g lvm.Group, v lvm.LogicalVolume) error {
	if err := m.lvm.DeactivateVolume(ctx, g.Name, v.Name); err != nil {
		return err
	}
	tags := []string{timeTag(lvm.TrashTag, m.o.Now()), wasTag + v.Name}
	if err := m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, tags, nil); err != nil {
		return err
	}
	v.Tags = slices.Concat(v.Tags, tags)
	return m.remove(ctx, g, v)
}

// trashSettle is how long something in the trash is left alone though it has been there
// for long enough: until then a clock that is wrong after the start may be put right.
const trashSettle = time.Hour

// inTrash tells since when what is in the trash has been seen there, by a clock that
// doesn't jump.
func (f Facts) inTrash(before map[string]time.Time, now time.Time) map[string]time.Time {
	seen := map[string]time.Time{}
	for _, g := range f.LVM.Groups {
		for _, v := range g.Logical {
			if since, ok := before[v.UUID]; kindOf(v) == trash && ok {
				seen[v.UUID] = since
			} else if kindOf(v) == trash {
				seen[v.UUID] = now
			}
		}
	}
	return seen
}

// expired tells whether something has been in the trash for long enough. If the
// clock was or is wrong nobody knows, so it stays.
func expired(v lvm.LogicalVolume, grace time.Duration, now time.Time) bool {
	if grace == 0 {
		grace = DefaultTrash
	}
	deleted := tagTime(v, lvm.TrashTag)
	return deleted.After(sane) && now.After(sane) && now.Sub(deleted) >= grace
}
