package pool

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

// pulse is how a disk gets on with what it is asked.
type pulse struct {
	work
	since time.Time // when the last request ended, or when none was waiting

	began   work // the disk's work when the period began in which its speed is taken
	beganAt time.Time
	request time.Duration // it took for a request in the last period, if it is slow
}

// work is what a disk has done since the machine started.
type work struct {
	ended uint64        // requests
	moved uint64        // of these, such that read, wrote or discarded something; flushes may be over at once
	busy  time.Duration // in which one was waiting at least
}

// A disk is slow if it works for long on each request: what waits in queues isn't
// counted, so a client that asks for much at once doesn't make a disk slow. Disks
// need 0.01 s for a request, and up to 0.1 s for a large one.
const (
	speedPeriod   = 20 * time.Second
	speedRequests = 5 // at least in that time, to tell anything
	slowRequest   = 300 * time.Millisecond
)

// feel is the pulse after another look.
func (p pulse) feel(w work, waiting uint64, now time.Time) pulse {
	if p.beganAt.IsZero() || now.Before(p.since) || w.ended < p.ended || w.moved < p.moved || w.busy < p.busy {
		return pulse{work: w, since: now, began: w, beganAt: now}
	}
	if waiting == 0 || w.ended != p.ended {
		p.since = now
	}
	p.work = w
	if now.Sub(p.beganAt) >= speedPeriod {
		p.request = 0
		if n := w.moved - p.began.moved; n >= speedRequests {
			if each := (w.busy - p.began.busy) / time.Duration(n); each >= slowRequest {
				p.request = each
			}
		}
		p.began, p.beganAt = w, now
	}
	return p
}

// pulsePeriod is how often that is looked at.
const pulsePeriod = time.Second

// Pulse returns the task that notices disks which don't end what they were asked.
// It asks the kernel only.
func (m *Manager) Pulse() task.Task {
	return task.Func("disk pulse", func(ctx context.Context) error {
		tick := time.NewTicker(pulsePeriod)
		defer tick.Stop()
		for {
			if m.feelPulses() {
				m.wake()
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// feelPulses looks at all disks once. It tells whether one has to be hidden from
// LVM, or shown again.
func (m *Manager) feelPulses() (changed bool) {
	disks := m.known().Disks
	now := m.o.Now()
	m.mu.Lock()
	before := m.pulses
	m.mu.Unlock()
	pulses := map[string]pulse{}
	for _, d := range disks {
		w, waiting, err := requests(m.o.Sysfs, d.Name)
		if err != nil {
			continue // it has just gone
		}
		pulses[diskKey(d)] = before[diskKey(d)].feel(w, waiting, now)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.muteNow()
	m.forgetShunned(disks)
	m.pulses, m.pulsesAt = pulses, now
	changed = !maps.Equal(old, m.muteNow())
	m.woken = m.woken || changed
	return changed
}

// requests reads what a disk has done, and how many requests wait
// (Documentation/block/stat.rst in the kernel).
func requests(sysfs, name string) (w work, waiting uint64, err error) {
	b, err := os.ReadFile(filepath.Join(sysfs, "block", name, "stat"))
	if err != nil {
		return work{}, 0, err
	}
	fields := strings.Fields(string(b))
	number := func(i int) (n uint64) {
		if i < len(fields) && err == nil {
			n, err = strconv.ParseUint(fields[i], 10, 64)
		}
		return n
	}
	const reads, writes, inFlight, busyMillis, discards, flushes = 0, 4, 8, 9, 11, 15
	if len(fields) <= busyMillis {
		return work{}, 0, fmt.Errorf("cannot read what disk %s does: %q", name, b)
	}
	w.moved = number(reads) + number(writes) + number(discards)
	w.ended = w.moved + number(flushes)
	w.busy = time.Duration(number(busyMillis)) * time.Millisecond
	return w, number(inFlight), err
}

// slow tells of disks that take long for each request.
func (v view) slow() []status.Problem {
	var all []status.Problem
	for _, d := range v.now {
		if each := v.slowness[diskKey(d)]; each > 0 {
			all = append(all, status.Problem{Health: status.Degraded,
				What: fmt.Sprintf("%s takes %.1f s for a request, and whatever uses it is as slow", where(d), each.Seconds()),
				Do:   "`sanctl disks` tells its health; check its cable, or replace it: `sanctl disk replace` explains how"})
		}
	}
	return all
}

// slownesses are how long slow disks take for a request, by diskKey. m.mu is held.
func (m *Manager) slownesses() map[string]time.Duration {
	all := map[string]time.Duration{}
	for key, p := range m.pulses {
		if p.request > 0 {
			all[key] = p.request
		}
	}
	return all
}
