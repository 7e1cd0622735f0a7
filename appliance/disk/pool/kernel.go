package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
)

// readKernel reads what the kernel says of active volumes, and since when disks
// are here or lost. It asks no disk.
func (m *Manager) readKernel(ctx context.Context) error {
	devices, err := m.lvm.Devices(ctx)
	if err != nil { // a volume may just have gone while it was asked about
		devices, err = m.lvm.Devices(ctx)
	}
	if err == nil {
		var below map[string][]string
		if below, err = m.lvm.Below(ctx); err == nil {
			m.noteKernel(devices, below)
			m.keep(false)
		}
	}
	return err
}

func (m *Manager) noteKernel(devices []lvm.Device, below map[string][]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kernelAt = time.Now()
	f := m.facts
	before := f.Devices
	f.Devices, m.active = byName(devices), map[string]bool{}
	for name := range f.Devices {
		m.active[name] = true
	}
	f.Below, f.Numbers = below, m.numbers(f.Disks)
	ports := maps.Clone(f.Ports) // of disks that are away, too
	if ports == nil {
		ports = map[string]string{}
	}
	for _, d := range f.Disks {
		ports[d.ID()] = d.Port
	}
	f.Now = m.o.Now()
	first := f.Started.IsZero()
	if first {
		f.Started = f.Now
	}
	seen := map[string]time.Time{}
	for _, d := range f.Disks {
		at, ok := f.Seen[d.ID()]
		if !ok && !first {
			at = f.Now
		}
		seen[d.ID()] = at
	}
	lost, trying := map[string]time.Time{}, map[string]time.Time{}
	for _, g := range f.LVM.Groups {
		if !ours(g) {
			continue
		}
		failed := f.failedDisks(g)
		if g.Missing > 0 || slices.ContainsFunc(f.legs(g), func(l leg) bool { return l.moved }) || slices.ContainsFunc(f.membersOf(g), func(x member) bool { return !x.here }) {
			f.Marked = without(f.Marked, g.UUID) // a disk is away, and may be copied there
		}
		f.Tried = f.stillTried(g)
		for _, x := range f.membersOf(g) {
			if !x.back(f) {
				f.Unrestored = without(f.Unrestored, x.pv.UUID) // when it is back, it may work
			}
			if x.here && !failed[x.pv.UUID] || x.flagged(f) {
				f.Bore = without(f.Bore, x.pv.UUID)
				if at, ok := f.lostSince(x.pv.UUID); ok && f.retried(x.pv.UUID) {
					trying[x.pv.UUID] = at
				}
				continue
			}
			if x.pv.Allocated > 0 {
				f.Bore = with(f.Bore, x.pv.UUID, true)
			}
			at, ok := f.lostSince(x.pv.UUID)
			if !ok {
				at = f.Now
			}
			lost[x.pv.UUID] = at
		}
	}
	for _, g := range f.LVM.Groups {
		if ours(g) && len(f.lostMembers(g)) == 0 && !f.lostLegs(g) {
			for id, j := range f.Instead {
				if j.Group == g.UUID {
					f.Instead = without(f.Instead, id)
				}
			}
		}
	}
	f.Seen, f.Lost, f.Trying, f.Ports = seen, lost, trying, ports
	f.compared(before)
	m.facts = f
}

// lostSince tells since when a disk is lost, or was until it was tried again.
func (f Facts) lostSince(pv string) (at time.Time, ok bool) {
	if at, ok = f.Lost[pv]; !ok {
		at, ok = f.Trying[pv]
	}
	return at, ok
}

// retried tells whether a disk was tried again just now: it may fail again.
func (f Facts) retried(pv string) bool {
	t := f.Tried[pv]
	return t.N > 0 && f.Now.Sub(t.Last) < 2*tryDistance
}

// numbers are the numbers of disks' devices, "8:16", by kernel name.
func (m *Manager) numbers(disks []disk.Disk) map[string]string {
	all := map[string]string{}
	for _, d := range disks {
		if b, err := os.ReadFile(filepath.Join(m.o.Sysfs, "block", d.Name, "dev")); err == nil {
			all[d.Name] = strings.TrimSpace(string(b))
		}
	}
	return all
}

func byName(devices []lvm.Device) map[string]lvm.Device {
	all := make(map[string]lvm.Device, len(devices))
	for _, d := range devices {
		all[d.Name] = d
	}
	return all
}

// peekLimit is how long Status waits for the kernel. A disk that hangs can hold up
// even questions about it.
const peekLimit = 700 * time.Millisecond

// peekPatience is how old what Status tells may be without a word about it: a
// machine that is only busy isn't in trouble.
const peekPatience = 5 * time.Second

// A silentError says that the kernel doesn't answer.
type silentError struct{ since time.Time }

func (e silentError) Error() string {
	return fmt.Sprintf("the kernel hasn't said for %v how disks and volumes are; a disk hangs, maybe; what is told here is older than that",
		time.Since(e.since).Round(100*time.Millisecond))
}

// A peek is one look at what Status tells. Whoever wants to know while one goes on
// waits for that one, so that at most one hangs.
type peek struct {
	done    chan struct{} // closed when the rest is valid
	at      time.Time
	devices map[string]lvm.Device
	below   map[string][]string
	disks   []disk.Disk
	numbers map[string]string
	err     error
}

// peek asks the kernel, for a moment. If it doesn't answer, what was known before
// is returned, by the last peek or to Watch, and after a while an error besides.
func (m *Manager) peek(ctx context.Context) (*peek, error) {
	m.mu.Lock()
	p := m.peeking
	if p == nil {
		p = &peek{done: make(chan struct{})}
		m.peeking, m.peekSince = p, time.Now()
		go m.look1(p)
	}
	since := m.peekSince
	m.mu.Unlock()
	limit := time.NewTimer(peekLimit)
	defer limit.Stop()
	var err error
	select {
	case <-p.done:
		if err = p.err; err == nil {
			return p, nil
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		if time.Since(since) > peekPatience {
			err = silentError{since}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peeked != nil && m.peeked.at.After(m.kernelAt) {
		return m.peeked, err
	}
	return &peek{devices: m.facts.Devices, below: m.facts.Below, disks: m.facts.Disks, numbers: m.facts.Numbers}, err
}

// look1 does one peek. dmsetup ends by itself or is killed after a while; should
// the kernel not let go of it, this waits, and nobody starts another one.
func (m *Manager) look1(p *peek) {
	defer close(p.done)
	devices, err := m.lvm.Devices(context.Background())
	if err != nil { // a volume may just have gone while it was asked about
		devices, err = m.lvm.Devices(context.Background())
	}
	below, err2 := m.lvm.Below(context.Background())
	disks, err3 := disk.Scan(m.o.Sysfs)
	p.devices, p.below, p.disks, p.numbers = byName(devices), below, disks, m.numbers(disks)
	p.at, p.err = time.Now(), errors.Join(err, err2, err3)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peeking = nil
	if p.err == nil {
		m.peeked = p
	}
}
