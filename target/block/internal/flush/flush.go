// Package flush makes one flush serve all who ask for one at the same time,
// and makes a failed flush fail for good.
//
// Both belong together. The kernel reports a failed write-back once per open
// file: of two fdatasync calls that run side by side, one gets the error and
// the other may get none, although its data is lost too. So only one runs at
// a time, and its error is kept.
package flush

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Group serialises flushes of one device. The zero value is ready.
type Group struct {
	running sync.Mutex   // held while a flush runs, or is about to
	coming  atomic.Int32 // calls of Write that have not written yet
	came    atomic.Pointer[chan struct{}]
	took    time.Duration // by the last flush; guarded by running

	mu   sync.Mutex // guards what follows
	next *round     // takes callers until its flush starts
	err  error      // of the first flush that failed
}

type round struct {
	done  chan struct{}
	err   error
	calls []func(error) // of those who don't wait for done; guarded by Group.mu until the round's flush starts
}

// Write calls write, and then, if that has worked, Do. A flush that is about to
// start waits for those who are writing, for as long as it may take itself: one
// flush for many is cheaper than many.
func (g *Group) Write(write, sync func() error) error {
	g.coming.Add(1)
	if err := write(); err != nil {
		g.arrived()
		return err
	}
	return g.do(sync, g.arrived)
}

// Do returns after a run of sync that started after Do was called, with what
// it returned. After a failure it returns that error without calling sync.
func (g *Group) Do(sync func() error) error { return g.do(sync, func() {}) }

// do is Do; it calls joined as soon as a flush that starts from then on is one
// that it takes.
func (g *Group) do(sync func() error, joined func()) error {
	r, first, err := g.join(nil)
	joined()
	switch {
	case err != nil:
		return err
	case first:
		g.run(r, sync)
	default:
		<-r.done
	}
	return r.err
}

// Start is Do for one who doesn't wait: done is called with what Do would return,
// by another goroutine.
func (g *Group) Start(sync func() error, done func(error)) {
	r, first, err := g.join(done)
	switch {
	case err != nil:
		go done(err)
	case first:
		go g.run(r, sync)
	}
}

// Coming is for one who writes and then calls Written, whatever came of it: a
// flush that is about to start waits, as it does for Write.
func (g *Group) Coming() { g.coming.Add(1) }

// Written goes on after Coming: if the write has worked, as Start does.
func (g *Group) Written(err error, sync func() error, done func(error)) {
	if err == nil {
		g.Start(sync, done)
	}
	g.arrived()
	if err != nil {
		done(err)
	}
}

// Gone goes on after Coming if there is no write after all.
func (g *Group) Gone() { g.arrived() }

// join returns the round whose flush will serve the caller, and whether he has to
// run it; or the error that is kept. call, if there is one, is called in the end.
func (g *Group) join(call func(error)) (r *round, first bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, false, g.err
	}
	if r = g.next; r == nil {
		r, first = &round{done: make(chan struct{})}, true
		g.next = r
	}
	if call != nil {
		r.calls = append(r.calls, call)
	}
	return r, first, nil
}

// run flushes for a round.
func (g *Group) run(r *round, sync func() error) {
	g.flush(r, sync)
	close(r.done)
	for _, call := range r.calls {
		call(r.err)
	}
}

func (g *Group) flush(r *round, sync func() error) {
	g.running.Lock()
	defer g.running.Unlock()
	g.gather()
	g.mu.Lock()
	g.next = nil // from here on, callers need a later flush
	r.err = g.err
	g.mu.Unlock()
	if r.err != nil {
		return
	}
	begun := time.Now()
	r.err = sync()
	if g.took = time.Since(begun); r.err != nil {
		g.mu.Lock()
		g.err = r.err
		g.mu.Unlock()
	}
}

// gather waits for others to join the round. g.running is held.
func (g *Group) gather() {
	runtime.Gosched() // those whose writes have come back together with ours
	if g.coming.Load() == 0 {
		return
	}
	came := make(chan struct{}, 1)
	g.came.Store(&came)
	defer g.came.Store(nil)
	patience := time.NewTimer(g.took)
	defer patience.Stop()
	for g.coming.Load() > 0 {
		select {
		case <-came:
		case <-patience.C:
			return
		}
	}
}

// arrived notes that one who was coming is there, or will not come.
func (g *Group) arrived() {
	if g.coming.Add(-1) > 0 {
		return
	}
	if came := g.came.Load(); came != nil {
		select {
		case *came <- struct{}{}:
		default:
		}
	}
}
