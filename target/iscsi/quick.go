package iscsi

import (
	"sanstick/target/scsi"
)

// A command that needs no waiting, neither for a device nor for anybody, is
// done by the reader itself, and its answer leaves with those of the commands
// beside it when the reader has nothing more to read. That saves handing it to
// a worker, and the answer to the writer's goroutine.

// mayTry says whether a task may be done now, out of turn, if it needs no
// waiting. s.mu is held.
func (s *session) mayTry(t *task) bool {
	return t.failure == nil && t.cmd.Read && t.want == 0 && !s.target.limiter.on.Load() && !t.unsolicited && s.ordered == 0 && t.scsi.Quick()
}

// try does a task if that needs no waiting, and else gives it to the workers.
// s.mu is held, but not in between.
func (s *session) try(t *task) {
	t.state = running
	s.mu.Unlock()
	res, ok := t.try()
	if s.tried += len(res.Data); s.tried > sliceBytes { // the initiator has something to work on while we go on
		s.tried = len(res.Data)
		s.w.sendAll()
	}
	s.mu.Lock()
	switch {
	case t.aborted:
		s.aborted(t)
	case ok:
		t.again = true
		s.answer(t, res, true)
	default:
		t.state = gathering
		s.w.hurry()
		s.advance(t)
	}
}

// try has package scsi do the command, like run.
func (t *task) try() (res scsi.Result, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			t.s.srv.panicked(t.s.log, r)
			t.s.conn.Close()
			res, ok = t.scsi.Refuse(abortedCommand, 0x44, 0), true
		}
	}()
	return t.scsi.Try(tryAlloc{t})
}

// tryAlloc is a task as an Allocator that doesn't wait.
type tryAlloc struct{ t *task }

// Alloc implements scsi.Allocator. It returns nil if there is no memory now.
func (a tryAlloc) Alloc(n int) []byte {
	t := a.t
	space := int64(min(bufferSize(n), t.s.srv.o.ReadBudget))
	if !t.tryAcquireIn(space) {
		t.s.w.sendAll() // what is not sent yet has some
		if !t.tryAcquireIn(space) {
			return nil
		}
	}
	t.inSpace += space
	return t.takeIn(n)
}
