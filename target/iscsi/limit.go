package iscsi

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Limit bounds what all sessions with a target together have done. Commands
// that have nothing to do with the medium are free. 0 = no bound.
type Limit struct {
	IOPS  int   // commands a second
	Bytes int64 // bytes a second, read and written
}

// The least that a limit may be: initiators give commands up after some time.
const (
	MinIOPS  = 10
	MinBytes = 1_000_000
)

func (l Limit) check() error {
	if l.IOPS != 0 && l.IOPS < MinIOPS {
		return fmt.Errorf("a limit of %d commands a second is less than %d: initiators would take the target for dead", l.IOPS, MinIOPS)
	}
	if l.Bytes != 0 && l.Bytes < MinBytes {
		return fmt.Errorf("a limit of %d bytes a second is less than %d: initiators would take the target for dead", l.Bytes, MinBytes)
	}
	return nil
}

// limiter gives each command of a target the time at which it may run, in the
// order in which they come. Safe for concurrent use.
type limiter struct {
	start time.Time
	on    atomic.Bool // there is a limit

	mu    sync.Mutex
	limit Limit
	// Times, counted from start, at which all that was granted is paid for.
	ops, bytes time.Duration
}

// limitBurst is for how long what wasn't used may be used later.
const limitBurst = 20 * time.Millisecond

func newLimiter(to Limit) *limiter {
	l := &limiter{start: time.Now()}
	l.set(to)
	return l
}

// set changes the limit. What was granted stays so.
func (l *limiter) set(to Limit) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = l.limit != to
	l.limit = to
	l.on.Store(to != Limit{})
	if changed {
		l.ops, l.bytes = 0, 0
	}
	return changed
}

// grant returns when, counted from start, a command that moves n bytes may run.
func (l *limiter) grant(n int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	due := time.Duration(0)
	pay := func(clock *time.Duration, price float64) {
		*clock = max(*clock, now-limitBurst)
		due = max(due, *clock)
		*clock += time.Duration(price * float64(time.Second))
	}
	if l.limit.IOPS > 0 {
		pay(&l.ops, 1/float64(l.limit.IOPS))
	}
	if l.limit.Bytes > 0 {
		pay(&l.bytes, float64(n)/float64(l.limit.Bytes))
	}
	return due
}

// wait returns how long it is until due.
func (l *limiter) wait(due time.Duration) time.Duration {
	return due - time.Since(l.start)
}

// depth returns how many commands a session may have in flight, at most most,
// when there are so many sessions: not so many that the last one would wait for
// more than some seconds, if each moves a MiB. Initiators have time-outs.
func (l *limiter) depth(most, sessions int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit.IOPS > 0 {
		most = min(most, max(2*l.limit.IOPS/sessions, 2))
	}
	if l.limit.Bytes > 0 {
		most = min(most, max(int(2*l.limit.Bytes>>20)/sessions, 2))
	}
	return most
}

// toll sets when a task may run that is ready for it. s.mu is held.
func (s *session) toll(t *task) {
	if l := s.target.limiter; l.on.Load() {
		if n, counts := t.scsi.Cost(t.out.bytes(t.got)); counts {
			t.due = l.grant(n)
		}
	}
}

// later has schedule called when a task is due. s.mu is held.
func (s *session) later(wait time.Duration) {
	if s.alarm != nil {
		s.alarm.Reset(wait)
		return
	}
	s.alarm = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ended {
			s.schedule()
		}
	})
}

// tollAnew is for the tasks that wait when the limit has changed.
func (s *session) tollAnew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.queue {
		t.due = 0
		s.toll(t)
	}
	if !s.ended {
		s.schedule()
	}
}
