package iscsi

import (
	"sync"

	"sanstick/target/scsi"
)

// A command for which a device does all the work, and tells when it is done, needs
// no worker while it waits. One worker at a time starts those that are ready; they
// come back by way of the session's finisher, which sends the answers of those that
// come together, together.

// startedAtOnce is how many such commands of a session a LUN may have.
const startedAtOnce = 64

// finisher is who takes back what was started.
type finisher struct {
	mu     sync.Mutex
	over   []overTask
	wakeUp chan struct{} // has one if over isn't empty
	stop   chan struct{} // closed when nothing is started any more
}

// overTask is a task that a device is done with.
type overTask struct {
	t   *task
	err error
}

func (f *finisher) add(t *task, err error) {
	f.mu.Lock()
	first := len(f.over) == 0
	f.over = append(f.over, overTask{t, err})
	f.mu.Unlock()
	if first {
		f.wakeUp <- struct{}{} // there was none: who takes it takes all
	}
}

func (f *finisher) take(space []overTask) []overTask {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := f.over
	f.over = space
	return over
}

// finish takes back what was started until nothing is any more.
func (s *session) finish() {
	f := &s.finisher
	var over []overTask
	var results []scsi.Result
	for {
		select {
		case <-f.wakeUp:
		case <-f.stop:
			return
		}
		over = f.take(over[:0])
		results = results[:0]
		for _, o := range over {
			results = append(results, o.t.end(o.err))
		}
		s.takeBack(over, results)
		s.wg.Add(-len(over))
		clear(over)
		clear(results)
	}
}

// takeBack answers the tasks that are over. A panic ends the session.
func (s *session) takeBack(over []overTask, results []scsi.Result) {
	defer func() {
		if r := recover(); r != nil {
			s.srv.panicked(s.log, r)
			s.conn.Close()
		}
	}()
	func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, o := range over {
			s.begun.less(lunKey(o.t))
			s.back(o.t, results[i])
		}
		s.schedule()
	}()
	s.w.sendAll()
}

// launch starts a task. It returns false if it has to be run.
func (s *session) launch(t *task, b *scsi.Batch) bool {
	if !s.alone() {
		s.wg.Add(1)
		if t.start(b) {
			return true
		}
		s.wg.Add(-1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.starts = false
	s.begun.less(lunKey(t))
	s.starting = false
	s.schedule()
	return false
}

// alone says whether a worker has the only command of the session. That is quicker
// if the worker waits for it.
func (s *session) alone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks) == 1
}

// another returns the next task for a worker that has started one: one of the same
// LUN, which begins together with it. If there is none it returns nil, and the worker
// has to call submitted when that has begun.
func (s *session) another(t *task) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = false
	next := s.nextReady(t)
	s.schedule()
	return next
}

// submitted returns the next task for a worker whose last one, t, has begun; if there
// is none the worker is idle. It wasn't before: a device may take its time.
func (s *session) submitted(t *task) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy.less(lunKey(t))
	return s.nextLocked()
}

// hasRoom says whether a worker may take a task, as far as the numbers go; after is
// one that it has started just now, or nil. s.mu is held.
func (s *session) hasRoom(t, after *task) bool {
	busy, workers := s.busy[lunKey(t)], s.srv.o.Workers
	if !t.starts {
		return after == nil && busy < workers
	}
	if s.starting || s.begun[lunKey(t)] >= startedAtOnce {
		return false
	}
	if after != nil {
		return t.cmd.LUN == after.cmd.LUN
	}
	return busy <= workers // one more than those who wait: it may turn out that it has to wait, too
}

// scheduleLater is schedule, for the reader: it has more to read, and what it finds
// can be started together. It calls scheduleNow before it waits. s.mu is held.
func (s *session) scheduleLater(t *task) {
	if s.reading && t.starts {
		s.unscheduled = true
		return
	}
	s.schedule()
}

// scheduleNow is for the reader.
func (s *session) scheduleNow() {
	if !s.unscheduled {
		return
	}
	s.unscheduled = false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedule()
}

// drained is what the reader does when there is nothing more to read, for now.
func (s *session) drained() {
	s.scheduleNow()
	s.w.sendAll()
}

// mayStart says whether a task need not be run. Reads that are too long for that would
// take all of the memory that the session has for them. s.mu is held.
func (s *session) mayStart(t *task) bool {
	return t.scsi.Starts() && (!t.cmd.Read || int(t.cmd.EDTL) <= s.srv.o.ReadBudget/(2*startedAtOnce))
}

// start has package scsi start the command.
func (t *task) start(b *scsi.Batch) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			t.s.srv.panicked(t.s.log, r)
			t.s.conn.Close()
			ok, t.broken = false, true
		}
	}()
	return b.Start(t.scsi, t.out.bytes(t.got), tryAlloc{t}, func(err error) { t.s.finisher.add(t, err) })
}

// end has package scsi end what it has started, like run.
func (t *task) end(err error) (res scsi.Result) {
	defer func() {
		if r := recover(); r != nil {
			t.s.srv.panicked(t.s.log, r)
			t.s.conn.Close()
			res = t.scsi.Refuse(abortedCommand, 0x44, 0)
		}
	}()
	return t.scsi.End(err)
}
