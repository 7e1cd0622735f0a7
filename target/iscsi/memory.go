package iscsi

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"sanstick/target/scsi"
)

// minMemory is the least Options.Memory that lets the largest command through
// each pool.
const minMemory = 4 * scsi.MaxTransfer

// memory bounds the data that all sessions of a server hold together. It is
// cut into pools so that nobody waits for something that waits for him, and no
// session can take all of one (pool).
type memory struct {
	// in is for what goes out: data-in, and the data of pings. Writers give it
	// back, and they wait for nothing but initiators that read, and for those
	// not forever.
	in *pool
	// out is for the whole data-out of commands, taken before it is asked for.
	// Giving it back takes the reader of the session, which never waits for it.
	out *pool
	// first is for the unsolicited data of commands that wait for out. Readers
	// wait for it, but not long: then the command is refused.
	first *pool
	// last takes the place of in when a session has ended and its commands are
	// on their way back from the device.
	last *semaphore.Weighted
}

func newMemory(o *Options) *memory {
	in, first := o.Memory/2, o.Memory/8
	out := o.Memory - in - first
	o.ReadBudget, o.WriteBudget = min(o.ReadBudget, in), min(o.WriteBudget, out)
	return &memory{
		in: newPool(in, o.MaxConnections), out: newPool(out, o.MaxConnections),
		first: newPool(first, o.MaxConnections), last: semaphore.NewWeighted(int64(o.ReadBudget)),
	}
}

// firstWait is how long a reader waits for memory. The sender is held up by
// TCP in the meantime.
const firstWait = time.Second

func (s *session) takeFirst(n int) bool {
	if s.srv.memory.first.tryAcquire(&s.firstAccount, int64(n)) {
		return true
	}
	s.scheduleNow()
	ctx, cancel := context.WithTimeout(s.ctx, firstWait)
	defer cancel()
	return s.srv.memory.first.acquire(ctx, &s.firstAccount, int64(n)) == nil
}

// awaitOut waits for memory for the data-out of the first task in the waiting
// list. s.mu is held.
func (s *session) awaitOut(n int) {
	if s.awaiting || s.ended {
		return
	}
	s.awaiting = true
	s.start(func() {
		err := s.srv.memory.out.acquire(s.ctx, &s.outAccount, int64(n))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.awaiting = false
		if err != nil { // the session ends
			return
		}
		s.credit = n
		s.grant()
		s.srv.memory.out.release(&s.outAccount, int64(s.credit)) // if somebody else was first
		s.credit = 0
	})
}
