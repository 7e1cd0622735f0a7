package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/status"
)

// A disk may hang: it takes a request and never ends it. Nothing can call such a
// request off, so whoever asks a disk does it in a goroutine of its own, and goes
// on without an answer after a while. Nobody asks that disk again before it has
// answered: so at most one goroutine hangs for each disk. A disk that doesn't
// answer is hidden from LVM, whose tools would hang, too, and with them all that
// is to be done about other disks. To its pool it is a missing one.
//
// Requests of others, of clients above all, hang as well. The kernel counts what
// waits, which is seen without asking the disk; see pulse.

const (
	glance    = time.Second      // for an answer on which nothing depends now
	tellAfter = 10 * time.Second // without an answer to anybody, until it is a problem
	hideAfter = 30 * time.Second // until LVM isn't shown the disk
)

// errMute says that a disk doesn't answer.
var errMute = errors.New("it doesn't answer")

// question is what a disk was asked.
type question struct {
	done  chan struct{}
	since time.Time
	late  bool // nobody waits for the answer any more; guarded by Manager.mu
}

func diskKey(d disk.Disk) string { return d.Name + " " + d.ID() }

// ask has do ask a disk, and returns what it returns, or errMute if that takes
// longer than limit. do may then still be running, so it must not touch what its
// caller uses. When it ends at last, Watch looks at everything again.
func ask[T any](ctx context.Context, m *Manager, d disk.Disk, limit time.Duration, do func() T) (answer T, err error) {
	key := diskKey(d)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	a := &question{done: make(chan struct{}), since: time.Now()}
	for {
		m.mu.Lock()
		other := m.asked[key]
		if other == nil {
			m.asked = with(m.asked, key, a)
		}
		late := other != nil && other.late
		m.mu.Unlock()
		if other == nil {
			break
		}
		if late {
			return answer, errMute
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-timer.C:
			return answer, errMute
		}
	}
	got := make(chan T, 1)
	go func() {
		got <- do()
		m.mu.Lock()
		m.asked = without(m.asked, key)
		m.woken = m.woken || a.late
		late := a.late
		m.mu.Unlock()
		close(a.done)
		if late {
			m.wake()
		}
	}()
	select {
	case <-a.done:
		return <-got, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = errMute
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked[key] != a { // it has just ended
		return <-got, nil
	}
	a.late = true
	if err == errMute {
		m.o.Log.Warn("disk doesn't answer", "disk", d.ID(), "name", d.Name, "for", limit)
	}
	return answer, err
}

// muteNow are the disks that LVM isn't to see, because it would hang, or can't write to
// them: by diskKey.
// m.mu is held.
func (m *Manager) muteNow() map[string]bool {
	mute := m.shuns()
	for key, a := range m.asked {
		if a.late {
			mute[key] = true
		}
	}
	for key, p := range m.pulses {
		if m.pulsesAt.Sub(p.since) >= hideAfter {
			mute[key] = true
		}
	}
	return mute
}

// mutePaths are the same of the disks that are here, as paths, sorted.
func (m *Manager) mutePaths() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	mute := m.muteNow()
	var paths []string
	for _, d := range m.facts.Disks {
		if mute[diskKey(d)] {
			paths = append(paths, d.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// silences tells for how long disks haven't answered anybody, by diskKey. m.mu is
// held.
func (m *Manager) silences() map[string]time.Duration {
	all := map[string]time.Duration{}
	for key, a := range m.asked {
		if a.late {
			all[key] = time.Since(a.since)
		}
	}
	for key, p := range m.pulses {
		if d := m.pulsesAt.Sub(p.since); d >= tellAfter {
			all[key] = max(all[key], d)
		}
	}
	return all
}

// silent tells of disks that don't answer.
func (v view) silent() []status.Problem {
	var all []status.Problem
	for _, d := range v.now {
		if t, ok := v.silence[diskKey(d)]; ok {
			all = append(all, status.Problem{Health: status.Degraded,
				What: fmt.Sprintf("%s hasn't answered for %v", where(d), t.Round(time.Second)),
				Do:   "wait a moment: some disks take long when a sector is bad; if it stays, check its cable, or replace the disk"})
		}
	}
	return all
}

// mute tells whether a disk is here and doesn't answer, by what it is called.
func (v view) mute(id string) bool {
	return slices.ContainsFunc(v.now, func(d disk.Disk) bool {
		_, silent := v.silence[diskKey(d)]
		return silent && d.ID() == id
	})
}

// wake has Watch look soon.
func (m *Manager) wake() {
	select {
	case m.poke <- struct{}{}:
	default: // it will look anyway
	}
}

// takeWoken tells whether a disk that didn't answer has, or the other way round,
// since it was called last.
func (m *Manager) takeWoken() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	woken := m.woken
	m.woken = false
	return woken
}
