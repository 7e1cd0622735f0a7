package iscsi

import (
	"context"
	"encoding/binary"
	"slices"

	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// lunsAtOnce is how many LUNs of a session may have all their workers.
const lunsAtOnce = 4

// schedule starts workers for what is ready, up to the limits. s.mu is held.
func (s *session) schedule() {
	for s.workers < lunsAtOnce*s.srv.o.Workers {
		if n := s.srv.workers.Add(1); s.workers > 0 && int(n) > s.srv.o.MaxWorkers {
			s.srv.workers.Add(-1)
			return // the worker that the session has goes on with it
		}
		t := s.nextReady(nil)
		if t == nil {
			s.srv.workers.Add(-1)
			return
		}
		s.workers++
		if s.idle > 0 {
			s.idle--
			s.handover <- t // has room for all who work
			continue
		}
		s.start(func() { s.work(t) })
	}
}

// work runs tasks until the session ends. What can be started it starts, and has
// those of a LUN begin together.
func (s *session) work(t *task) {
	var batch scsi.Batch
	for t != nil {
		if t.starts && s.launch(t, &batch) {
			if next := s.another(t); next != nil {
				t = next
				continue
			}
			batch.Submit()
			t = s.submitted(t)
		} else {
			batch.Submit()
			if t = s.came(t, t.run()); t != nil {
				s.w.hurry()
			}
		}
		if t == nil {
			s.w.sendAll()
			t = s.awaitTask()
		}
	}
}

// awaitTask returns the next task for an idle worker, nil at the session's end.
func (s *session) awaitTask() *task {
	select {
	case t := <-s.handover:
		return t
	case <-s.ctx.Done():
	}
	s.mu.Lock()
	if s.idle > 0 {
		s.idle--
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return <-s.handover // as many tasks are on their way as workers are idle no more
}

// came takes a task back that has run, and returns the next one for this
// worker; if there is none the worker is idle.
func (s *session) came(t *task, res scsi.Result) (next *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy.less(lunKey(t))
	s.back(t, res)
	return s.nextLocked()
}

// back takes a task back that has come to an end. s.mu is held.
func (s *session) back(t *task, res scsi.Result) {
	if t.aborted {
		s.aborted(t)
	} else {
		s.answer(t, res, true)
	}
}

// nextLocked returns the next task for a worker; if there is none the worker is
// idle. s.mu is held.
func (s *session) nextLocked() (next *task) {
	if next = s.nextReady(nil); next == nil {
		s.workers--
		s.srv.workers.Add(-1)
		s.idle++
	}
	s.schedule()
	return next
}

// aborted takes a task back that was aborted while it ran. s.mu is held.
func (s *session) aborted(t *task) {
	t.scsi.Discard()
	s.drop(t)
	if t.gone != nil {
		close(t.gone)
	}
}

// maxParameters is the most data-out of a command that refuses more than it
// asked for: a parameter list, or a block.
const maxParameters = 64 << 10

// run has package scsi do the command. If that panics, the session ends: what
// was done is unknown, and the initiator must find out.
func (t *task) run() (res scsi.Result) {
	if t.broken {
		return t.scsi.Refuse(abortedCommand, 0x44, 0)
	}
	defer func() {
		if r := recover(); r != nil {
			t.s.srv.panicked(t.s.log, r)
			t.s.conn.Close()
			res = t.scsi.Refuse(abortedCommand, 0x44, 0)
		}
	}()
	out := t.out.bytes(t.got)
	if t.excess && t.got <= maxParameters {
		// One byte more says that the initiator has sent too much, which some
		// commands refuse.
		out = append(slices.Clip(out), 0)
	}
	return t.scsi.Run(out, t)
}

// Alloc implements scsi.Allocator: it gives package scsi buffers for data-in. It waits until the session has
// and the server have space, which writers make. A command may call it once.
func (t *task) Alloc(n int) []byte {
	space, m := int64(min(bufferSize(n), t.s.srv.o.ReadBudget)), t.s.srv.memory
	if t.acquireIn(space) {
		t.inSpace += space
	} else if m.last.Acquire(context.Background(), space) == nil {
		// The session ends, or the task was aborted, and nobody waits for the
		// answer: those who have this memory come back as soon as their device
		// lets them.
		t.last += space
	}
	return t.takeIn(n)
}

// takeIn returns a buffer for data-in; the space for it is taken.
func (t *task) takeIn(n int) []byte {
	b := t.s.srv.buffers.get(n)
	if t.in == nil {
		t.in = t.inArray[:0]
	}
	t.in = append(t.in, b)
	return b.b[:n]
}

// tryAcquireIn takes space for data-in if it is there.
func (t *task) tryAcquireIn(space int64) bool {
	s, m := t.s, t.s.srv.memory
	if !s.readSpace.TryAcquire(space) {
		return false
	}
	if !m.in.tryAcquire(&s.inAccount, space) {
		s.readSpace.Release(space)
		return false
	}
	return true
}

// acquireIn takes space for data-in. It returns false if the session ends or
// the task is aborted before there is any: an initiator that reads no more must
// not hold up those who wait for the end of its tasks.
func (t *task) acquireIn(space int64) bool {
	s, m := t.s, t.s.srv.memory
	if t.tryAcquireIn(space) {
		return true
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	if t.hurry = cancel; t.aborted {
		cancel()
	}
	s.mu.Unlock()
	if s.readSpace.Acquire(ctx, space) != nil {
		return false
	}
	if m.in.acquire(ctx, &s.inAccount, space) != nil {
		s.readSpace.Release(space)
		return false
	}
	return true
}

// nextReady takes the next task that may run out of the queue, for a worker that has
// nothing, or that has just started another. s.mu is held.
func (s *session) nextReady(after *task) *task {
	early := false
	for i, t := range s.queue {
		if t.due > 0 {
			if early {
				continue // due later than the one before
			}
			if wait := s.target.limiter.wait(t.due); wait > 0 {
				s.later(wait)
				early = true
				continue
			}
		}
		if !s.hasRoom(t, after) || !s.mayRun(t) {
			continue
		}
		s.queue = slices.Delete(s.queue, i, i+1)
		if t.starts {
			s.begun[lunKey(t)]++
			s.starting = true
		}
		if after == nil {
			s.busy[lunKey(t)]++
		}
		t.state = running
		return t
	}
	return nil
}

// lunKey is the LUN of a task, for session.busy.
func lunKey(t *task) uint64 { return binary.BigEndian.Uint64(t.cmd.LUN[:]) }

// perLUN counts tasks by their LUN.
type perLUN map[uint64]int

func (c perLUN) less(lun uint64) {
	if c[lun]--; c[lun] <= 0 {
		delete(c, lun)
	}
}

// mayRun applies the task attributes (SAM-5 section 8): nothing overtakes an
// ORDERED task, and it overtakes nothing, except by HEAD OF QUEUE.
func (s *session) mayRun(t *task) bool {
	if s.ordered == 0 || t.cmd.Attr == pdu.AttrHeadOfQueue {
		return true
	}
	for _, o := range s.tasks {
		if o.seq < t.seq && o.cmd.LUN == t.cmd.LUN && (t.cmd.Attr == pdu.AttrOrdered || o.cmd.Attr == pdu.AttrOrdered) {
			return false
		}
	}
	return true
}
