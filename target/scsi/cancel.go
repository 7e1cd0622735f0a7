package scsi

import "sync"

// cancelling is the part of a task that Cancel sets.
type cancelling struct {
	mu   sync.Mutex
	done bool
	c    chan struct{} // made when it is asked for
}

// Cancel tells a task that nobody waits for its result any more, so that a
// command which waits for something that goes on without it need not, and one
// that works in pieces need not do the rest. It may
// be called at any time, by any goroutine, and more than once. Run returns as
// ever.
func (t *Task) Cancel() {
	x := &t.cancelling
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.done && x.c != nil {
		close(x.c)
	}
	x.done = true
}

// cancel is closed by Cancel.
func (t *Task) cancel() <-chan struct{} {
	x := &t.cancelling
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.c == nil {
		if x.c = make(chan struct{}); x.done {
			close(x.c)
		}
	}
	return x.c
}

// cancelled tells whether Cancel was called.
func (t *Task) cancelled() bool {
	t.cancelling.mu.Lock()
	defer t.cancelling.mu.Unlock()
	return t.cancelling.done
}
