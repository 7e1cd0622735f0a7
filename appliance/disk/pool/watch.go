package pool

import (
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"sanstick/appliance/disk"
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

// watchPeriod is how often Watch looks without being told to.
const watchPeriod = 30 * time.Second

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
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
			m.o.Log.Error("cannot look after disks", "error", err)
		}
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

// refresh looks once. Pools that are down are brought up if their disks have
// changed; nothing is waited for.
func (m *Manager) refresh(ctx context.Context) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	changed, err := m.readDisks()
	changed = changed || m.again
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
		if err := m.lock(ctx); err != nil {
			return err
		}
		m.look(ctx, d)
		m.unlock()
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
