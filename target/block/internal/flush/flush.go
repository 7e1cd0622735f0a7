// Package flush makes one flush serve all who ask for one at the same time,
// and makes a failed flush fail for good.
//
// Both belong together. The kernel reports a failed write-back once per open
// file: of two fdatasync calls that run side by side, one gets the error and
// the other may get none, although its data is lost too. So only one runs at
// a time, and its error is kept.
package flush

import "sync"

// Group serialises flushes of one device. The zero value is ready.
type Group struct {
	running sync.Mutex // held while a flush runs
	mu      sync.Mutex // guards what follows
	next    *round     // takes callers until its flush starts
	err     error      // of the first flush that failed
}

type round struct {
	done chan struct{}
	err  error
}

// Do returns after a run of sync that started after Do was called, with what
// it returned. After a failure it returns that error without calling sync.
func (g *Group) Do(sync func() error) error {
	g.mu.Lock()
	if err := g.err; err != nil {
		g.mu.Unlock()
		return err
	}
	r := g.next
	if r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r = &round{done: make(chan struct{})}
	g.next = r
	g.mu.Unlock()

	g.running.Lock()
	defer g.running.Unlock()
	g.mu.Lock()
	g.next = nil // from here on, callers need a later flush
	r.err = g.err
	g.mu.Unlock()
	if r.err == nil {
		if r.err = sync(); r.err != nil {
			g.mu.Lock()
			g.err = r.err
			g.mu.Unlock()
		}
	}
	close(r.done)
	return r.err
}
