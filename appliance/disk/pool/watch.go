package pool

import (
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/task"
)

// A diskWatch says when disks come and go. The nil *diskWatch never does.
type diskWatch struct {
	events chan struct{} // holds one at most: it says "look again"
	cancel context.CancelFunc
	done   chan struct{}
}

// watchDisks starts listening. The watch is never nil; stop it.
func (m *Manager) watchDisks(ctx context.Context) (*diskWatch, error) {
	w := &diskWatch{events: make(chan struct{}, 1), done: make(chan struct{}), cancel: func() {}}
	source, err := m.o.Uevents()
	if err != nil {
		close(w.done)
		return w, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.done)
		defer source.Close()
		for {
			e, err := source.Receive(ctx)
			switch {
			case errors.Is(err, sys.ErrUeventsLost):
			case err != nil:
				return
			case !aboutDisk(e):
				continue
			}
			select {
			case w.events <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return w, nil
}

func (w *diskWatch) stop() {
	w.cancel()
	<-w.done
}

// aboutDisk tells whether an event is about a whole disk. LVM's own work
// makes lots of events about dm devices.
func aboutDisk(e sys.Uevent) bool {
	return e.Subsystem == "block" && e.Action != "bind" && disk.IsDiskName(path.Base(e.DevPath))
}

// How often Watch looks without being told to: for a pool whose disks all hold
// the same, and for one of which something is failed or being filled. A disk that
// fails makes no event.
const (
	watchPeriod = 5 * time.Second
	busyPeriod  = 2 * time.Second
)

// holdOff is how long a pool is left alone after one of its steps failed, unless
// disks come or go.
const holdOff = time.Minute

// settleTime lets a burst of events end before one look at all of it.
const settleTime = 200 * time.Millisecond

// Watch returns the task that follows disks as they come and go: LVM's state
// is read anew, pools that couldn't be used get another try, and disks that
// belong to no pool are looked at.
func (m *Manager) Watch() task.Task {
	return task.Func("disk watch", m.watch)
}

func (m *Manager) watch(ctx context.Context) error {
	w, err := m.watchDisks(ctx)
	if err != nil {
		m.o.Log.Warn("cannot listen for new disks", "error", err)
	}
	defer w.stop()
	tick := time.NewTimer(watchPeriod)
	defer tick.Stop()
	for {
		if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
			m.o.Log.Error("cannot look after disks", "error", err)
		}
		period := watchPeriod
		if m.busy() {
			period = busyPeriod
		}
		tick.Reset(period)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-m.poke:
		case <-w.events:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settleTime):
			}
		}
	}
}

// busy tells whether a pool's redundancy is about to change.
func (m *Manager) busy() bool {
	f := m.known()
	return slices.ContainsFunc(f.LVM.Groups, func(g lvm.Group) bool {
		if !ours(g) {
			return false
		}
		s := diagnose(g, f).State
		return s != Healthy && s != Cut && s != Failed && s != Inactive || len(f.Newest[g.UUID]) > 0 && s == Healthy && !remembersGone(g)
	})
}

// due tells whether there is something to do for a pool though no disk has come or
// gone. It must hold op, and the kernel must have been asked.
func (m *Manager) due() bool {
	m.mu.Lock()
	specs, f, heldOff := m.specs, m.facts, m.heldOff
	m.mu.Unlock()
	b := m.newBringer(specs)
	return slices.ContainsFunc(specs, func(s Spec) bool {
		if f.Now.Before(heldOff[s.Name]) {
			return false
		}
		return slices.ContainsFunc(Make(s, f, b.taken(s)).Steps, func(step Step) bool {
			_, mends := step.(mendStep)
			_, remembers := step.(Remember)
			_, stamps := step.(StampDisk)
			_, marks := step.(MarkUse)
			return mends || remembers || marks || stamps && f.exists(s.Name)
		})
	})
}

// exists tells whether a pool is made.
func (f Facts) exists(pool string) bool {
	return slices.ContainsFunc(f.LVM.Groups, func(g lvm.Group) bool { return g.Name == pool && ours(g) && !g.Tagged(creatingTag) })
}

// refresh looks once. Pools that are down are brought up if their disks have
// changed; nothing is waited for.
func (m *Manager) refresh(ctx context.Context) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	changed, err := m.readDisks()
	woken := m.takeWoken()
	changed = changed || m.again || woken
	if err == nil && !changed && !m.verify.IsZero() && time.Now().After(m.verify) {
		err = m.readLVM(ctx)
	}
	if err == nil && !changed {
		if err = m.readKernel(ctx); err == nil {
			changed = m.askWitness() || m.due()
		}
	}
	if err == nil && changed {
		err = m.retry(ctx)
		m.again = err != nil
	} else if err == nil {
		err = m.reunite(ctx) // a mirror may have been synchronised meanwhile
	}
	m.unlock()
	if err != nil {
		return err
	}
	// Not needed to serve anything, so a Bring may come in between.
	f := m.known()
	for _, d := range f.Disks {
		if g, used := f.groupOf(d); used && ours(g) || slices.Contains(f.Boot, d.Name) {
			continue
		}
		m.look(ctx, d, glance)
	}
	if changed && m.o.Changed != nil {
		m.o.Changed()
	}
	return ctx.Err()
}

// retry plans all pools anew with the disks that are here now. It must hold
// op.
func (m *Manager) retry(ctx context.Context) error {
	m.mu.Lock()
	specs := m.specs
	m.mu.Unlock()
	b := m.newBringer(specs)
	b.started = b.started.Add(-3 * m.o.Patience) // no patience at all
	b.changed = b.changed.Add(-m.o.Quiet)
	return b.run(ctx)
}
