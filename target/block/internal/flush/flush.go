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
	done chan struct{}
	err  error
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
	g.mu.Lock()
	if err := g.err; err != nil {
		g.mu.Unlock()
		joined()
		return err
	}
	r := g.next
	if r != nil {
		g.mu.Unlock()
		joined()
		<-r.done
		return r.err
	}
	r = &round{done: make(chan struct{})}
	g.next = r
	g.mu.Unlock()
	joined()

	g.running.Lock()
	defer g.running.Unlock()
	g.gather()
	g.mu.Lock()
	g.next = nil // from here on, callers need a later flush
	r.err = g.err
	g.mu.Unlock()
	if r.err == nil {
		begun := time.Now()
		r.err = sync()
		if g.took = time.Since(begun); r.err != nil {
			g.mu.Lock()
			g.err = r.err
			g.mu.Unlock()
		}
	}
	close(r.done)
	return r.err
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
