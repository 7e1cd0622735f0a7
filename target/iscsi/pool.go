package iscsi

import (
	"context"
	"slices"
	"sync"

	"sanstick/target/scsi"
)

// pool is memory, in bytes, that sessions share. Everybody has a little of it
// to himself (each). The rest is for all:
//
//   - one who has nothing of it gets what he asks for if it is there, but a
//     quarter of it is left to those who ask for little (smallClaim);
//   - one who has some may have at most twice as much as is left then.
//
// So whoever takes as much as he can, and keeps it, leaves some to everybody
// else, and the more there are of that kind the less each can have. Safe for
// concurrent use.
type pool struct {
	each, small int64

	mu    sync.Mutex
	free  int64 // of the rest
	held  int64 // in all accounts
	queue []*claim
}

// smallClaim is what most commands want at most.
const smallClaim = 1 << 20

// account is what a session has of a pool, guarded by the pool's mutex.
type account struct {
	held    int64
	waiting int // claims in the queue
}

// claim is one who waits.
type claim struct {
	a     *account
	n     int64
	ready chan struct{} // closed when it is granted
}

// newPool returns a pool of size bytes for so many sessions. The largest
// command fits into its rest, if size is at least 4/3 of scsi.MaxTransfer.
func newPool(size, sessions int) *pool {
	each := size / 4 / max(sessions, 1)
	rest := size - each*sessions
	small := min(rest/4, max(rest-scsi.MaxTransfer, 0))
	return &pool{each: int64(each), small: int64(small), free: int64(rest)}
}

// shared returns how much of n more bytes would come out of the rest, and how
// much the account has of it.
func (p *pool) shared(a *account, n int64) (want, have int64) {
	have = max(a.held-p.each, 0)
	return max(a.held+n-p.each, 0) - have, have
}

// large says whether a claim waits for the rest as one who has nothing of it.
// Others don't take away what it needs.
func (p *pool) large(c *claim) bool {
	_, have := p.shared(c.a, c.n)
	return have == 0 && c.n > smallClaim
}

// take takes n bytes if that is possible. p.mu is held. behind says whether
// somebody has waited longer for much.
func (p *pool) take(a *account, n int64, behind func() bool) bool {
	want, have := p.shared(a, n)
	var ok bool
	switch {
	case want == 0:
		ok = true
	case have == 0 && n <= smallClaim:
		ok = want <= p.free
	case behind():
	case have == 0:
		ok = want <= p.free-p.small
	default:
		ok = have+want <= 2*(p.free-p.small-want)
	}
	if ok {
		p.free -= want
		p.held += n
		a.held += n
	}
	return ok
}

// tryAcquire takes n bytes, or returns false.
func (p *pool) tryAcquire(a *account, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(a, n, p.largeWaits)
}

func (p *pool) largeWaits() bool { return slices.ContainsFunc(p.queue, p.large) }

// acquire takes n bytes. It waits for them until ctx ends.
func (p *pool) acquire(ctx context.Context, a *account, n int64) error {
	p.mu.Lock()
	if p.take(a, n, p.largeWaits) {
		p.mu.Unlock()
		return nil
	}
	a.waiting++
	c := &claim{a: a, n: n, ready: make(chan struct{})}
	p.queue = append(p.queue, c)
	p.mu.Unlock()
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, c); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		a.waiting--
	} else {
		p.giveBack(a, n) // it came at the last moment
	}
	p.serve()
	return ctx.Err()
}

// release gives n bytes back.
func (p *pool) release(a *account, n int64) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	free := p.free
	p.giveBack(a, n)
	if p.free != free || a.waiting > 0 { // else nobody can have more than before
		p.serve()
	}
}

func (p *pool) giveBack(a *account, n int64) {
	before := max(a.held-p.each, 0)
	p.held -= n
	a.held -= n
	p.free += before - max(a.held-p.each, 0)
}

// serve grants what can be granted. p.mu is held.
func (p *pool) serve() {
	behind := false
	p.queue = slices.DeleteFunc(p.queue, func(c *claim) bool {
		large := p.large(c)
		if p.take(c.a, c.n, func() bool { return behind }) {
			c.a.waiting--
			close(c.ready)
			return true
		}
		behind = behind || large
		return false
	})
}
