package systest

import (
	"context"
	"os"
	"sync"

	"sanstick/appliance/sys"
)

var _ sys.UeventSource = (*Uevents)(nil)

// Uevents is a sys.UeventSource fed by a test. Make it with NewUevents.
type Uevents struct {
	items  chan item
	closed chan struct{}
	once   sync.Once
}

type item struct {
	event sys.Uevent
	err   error
}

// NewUevents makes a source that holds up to 64 events.
func NewUevents() *Uevents {
	return &Uevents{items: make(chan item, 64), closed: make(chan struct{})}
}

// Send queues an event. It blocks while 64 are waiting.
func (u *Uevents) Send(e sys.Uevent) { u.items <- item{event: e} }

// Fail queues an error, for example sys.ErrUeventsLost.
func (u *Uevents) Fail(err error) { u.items <- item{err: err} }

// Receive implements sys.UeventSource.
func (u *Uevents) Receive(ctx context.Context) (sys.Uevent, error) {
	select {
	case <-ctx.Done():
		return sys.Uevent{}, ctx.Err()
	case <-u.closed:
		return sys.Uevent{}, os.ErrClosed
	case i := <-u.items:
		return i.event, i.err
	}
}

// Close implements sys.UeventSource.
func (u *Uevents) Close() error {
	u.once.Do(func() { close(u.closed) })
	return nil
}
