package network

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// The pause after a failed attempt to get a lease doubles from the first to
// the last of these. A link that comes back ends it.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// errExpired is told when a lease ran out and nobody extended it.
var errExpired = errors.New("the address's lease ran out, and no DHCP server answers")

// A report tells that a link's lease changed.
type report struct {
	link  int
	lease *Lease // nil if there is none
	err   error  // why there is none, or why it couldn't be extended
}

// running is a keeper at work, as Run's goroutine sees it.
type running struct {
	stop    context.CancelFunc
	done    chan struct{}
	kick    chan struct{} // has room for one
	carrier bool
	lease   *Lease
	err     error
	heard   bool // something was reported
}

// keep starts and stops keepers so that every link with DHCP has one, and
// tells them of links that came back.
func (m *Manager) keep(ctx context.Context, s State) {
	wanted := map[int]Link{}
	for i, index := range m.assigned {
		if l, ok := s.link(index); ok && m.o.Interfaces[i].DHCP {
			wanted[index] = l
		}
	}
	for index, r := range m.keepers {
		if _, ok := wanted[index]; !ok {
			r.stop()
			<-r.done
			delete(m.keepers, index)
		}
	}
	for index, l := range wanted {
		r := m.keepers[index]
		if r == nil {
			r = m.start(ctx, l)
			m.keepers[index] = r
		} else if l.Carrier && !r.carrier {
			select {
			case r.kick <- struct{}{}:
			default:
			}
		}
		r.carrier = l.Carrier
	}
}

// start runs a keeper for a link.
func (m *Manager) start(ctx context.Context, l Link) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{stop: cancel, done: make(chan struct{}), kick: make(chan struct{}, 1)}
	k := &keeper{dhcp: m.o.DHCP, link: l.Name, kick: r.kick, tell: func(lease *Lease, err error) {
		select {
		case m.reports <- report{link: l.Index, lease: lease, err: err}:
		case <-ctx.Done():
		}
	}}
	go func() {
		defer close(r.done)
		k.run(ctx)
	}()
	return r
}

// take notes a report.
func (m *Manager) take(r report) {
	k := m.keepers[r.link]
	if k == nil {
		return // of a keeper that was stopped since
	}
	switch {
	case r.err != nil:
		m.log.Warn("DHCP", "link", r.link, "error", r.err)
	case r.lease != nil:
		m.log.Info("DHCP", "link", r.link, "address", r.lease.Address, "lease", r.lease.Expire)
	}
	// A first failure is no reason to drop what an earlier run left behind;
	// an expiry or a refusal is.
	k.heard = k.heard || r.lease != nil || errors.Is(r.err, errExpired) || errors.Is(r.err, ErrRefused)
	k.lease, k.err = r.lease, r.err
}

// A keeper gets a lease for one link and keeps it: the client states of RFC
// 2131 section 4.4. It never gives up.
type keeper struct {
	dhcp DHCP
	link string
	kick <-chan struct{}     // the link came back: ask anew at once
	tell func(*Lease, error) // what there is now
}

// run works until ctx ends.
func (k *keeper) run(ctx context.Context) {
	var lease *Lease
	for ctx.Err() == nil {
		if lease = k.acquire(ctx, lease); lease != nil {
			lease = k.hold(ctx, lease)
		}
	}
}

// acquire asks any server until there is a lease. One that is still running
// meanwhile (old) is given up when it expires.
func (k *keeper) acquire(ctx context.Context, old *Lease) *Lease {
	var hint netip.Addr
	if old != nil {
		hint = old.Address.Addr()
	}
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		lease, err := k.request(ctx, old, hint)
		if err == nil {
			k.tell(lease, nil)
			return lease
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := pause
		if old != nil {
			left := time.Until(old.Start.Add(old.Expire))
			if left <= 0 {
				old, err = nil, errExpired
			} else {
				wait = min(wait, left)
			}
		}
		k.tell(old, err)
		if k.sleep(ctx, wait) {
			pause = firstPause / 2
		}
	}
	return nil
}

// request asks once, but not past the end of the lease that is still running.
func (k *keeper) request(ctx context.Context, old *Lease, hint netip.Addr) (*Lease, error) {
	if old != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, old.Start.Add(old.Expire))
		defer cancel()
	}
	return k.dhcp.Request(ctx, k.link, hint)
}

// hold extends a lease as long as its server does. It returns when any server
// is to be asked: with the lease, or with nil if it must not be used any more.
func (k *keeper) hold(ctx context.Context, l *Lease) *Lease {
	for wait := time.Until(l.Start.Add(l.Renew)); ; {
		if k.sleep(ctx, wait) || ctx.Err() != nil {
			return l // perhaps another network: see who is there
		}
		next, err := k.dhcp.Renew(ctx, k.link, l)
		switch {
		case err == nil:
			l = next
			k.tell(l, nil)
			wait = time.Until(l.Start.Add(l.Renew))
			continue
		case ctx.Err() != nil:
			return l
		case errors.Is(err, ErrRefused):
			k.tell(nil, err)
			return nil
		}
		// Again after half of what is left until T2, but not too often
		// (RFC 2131 section 4.4.5).
		left := time.Until(l.Start.Add(l.Rebind))
		if left <= 0 {
			return l
		}
		wait = min(max(left/2, time.Minute), left)
	}
}

// sleep waits. It tells whether the link came back meanwhile.
func (k *keeper) sleep(ctx context.Context, d time.Duration) (kicked bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-k.kick:
		return true
	case <-ctx.Done():
	}
	return false
}
