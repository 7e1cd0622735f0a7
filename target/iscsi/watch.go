package iscsi

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"sanstick/target/iscsi/internal/pdu"
)

// meter reads from a connection and keeps the time. One goroutine reads; any
// may ask.
type meter struct {
	r     io.Reader
	start time.Time    // times are counted from here, in nanoseconds
	begun atomic.Int64 // when the read that is under way began; 0 = none
	spent atomic.Int64 // in reads since it was set to 0
	heard atomic.Int64 // when something came last

	drained func() // called before each read; may be nil
}

func newMeter(r io.Reader) *meter { return &meter{r: r, start: time.Now().Add(-1)} }

func (m *meter) now() int64 { return int64(time.Since(m.start)) }

func (m *meter) Read(p []byte) (int, error) {
	if m.drained != nil {
		m.drained()
	}
	begun := m.now()
	m.begun.Store(begun)
	n, err := m.r.Read(p)
	now := m.now()
	m.spent.Add(now - begun)
	m.begun.Store(0)
	if n > 0 {
		m.heard.Store(now)
	}
	return n, err
}

// waited returns how long was waited for bytes since spent was set to 0.
func (m *meter) waited() time.Duration {
	d := m.spent.Load()
	if begun := m.begun.Load(); begun > 0 {
		d += m.now() - begun
	}
	return time.Duration(d)
}

// watch is the session's clock. It ends the session if its initiator keeps
// others' memory for data that it doesn't send, doesn't answer pings, or is
// asked to leave (ctx, goodbye) and stays. It returns when the session ends.
func (s *session) watch(ctx context.Context) {
	o := &s.srv.o
	every := o.DataTimeout
	if o.PingInterval > 0 {
		every = min(every, o.PingInterval, o.PingTimeout)
	}
	tick := time.NewTicker(max(every/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			s.farewell("the server stops")
			return
		case why := <-s.goodbye:
			s.farewell(why)
			return
		case <-tick.C:
		}
		switch {
		case s.owesData():
			s.kill("it owes data and sends none")
			return
		case s.inside.Load() && s.meter.waited() > o.DataTimeout:
			s.kill("it takes too long over a request")
			return
		case o.PingInterval > 0 && s.target != nil && !s.ping():
			s.srv.counters.pingTimeouts.Add(1)
			s.kill("it doesn't answer a ping")
			return
		}
	}
}

// owesData says whether data was asked for, or promised, and none has come for
// too long: others may be waiting for the memory that is kept for it.
func (s *session) owesData() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.state == gathering && (t.unsolicited || len(t.r2ts) > 0) && time.Since(s.moved) > s.srv.o.DataTimeout {
			return true
		}
	}
	return false
}

// ping sends a NOP-In if the initiator has said nothing for a while, and
// returns false if it has said nothing since the last one for too long. Only
// those who have sent a NOP-Out themselves are pinged: there are initiators
// that can't answer (iPXE), and TCP looks after them (sockopt.go).
func (s *session) ping() bool {
	heard, now := s.meter.heard.Load(), s.meter.now()
	if s.pinged > 0 && heard <= s.pinged {
		// While the reader is busy, what the initiator has said is unread.
		waiting := s.meter.begun.Load() > 0
		return !waiting || time.Duration(now-s.pinged) <= s.srv.o.PingTimeout
	}
	s.pinged = 0
	if !s.knowsNOP.Load() || time.Duration(now-heard) < s.srv.o.PingInterval {
		return true
	}
	s.mu.Lock()
	ttt := s.nextTTT()
	s.mu.Unlock()
	var it item
	(&pdu.NOPIn{ITT: pdu.Reserved, TTT: ttt}).Encode(&it.h)
	s.pinged = now
	s.w.sendNow(it)
	return true
}

// nextTTT returns a fresh target transfer tag. s.mu is held.
func (s *session) nextTTT() uint32 {
	if s.lastTTT++; s.lastTTT == pdu.Reserved {
		s.lastTTT = 0
	}
	return s.lastTTT
}

// dismiss has the session end, soon: the initiator is asked to log out and has
// some time for it. Wait for done.
func (s *session) dismiss(why string) {
	select {
	case s.goodbye <- why:
	default: // it is under way
	}
}

// lastWords is how long the message that the session is dropped has to get out.
const lastWords = 200 * time.Millisecond

// farewell asks the initiator to log out (section 11.9.1), and drops the
// session if it doesn't.
func (s *session) farewell(why string) {
	grace := s.srv.o.LogoutGrace
	if s.target != nil && grace > 0 {
		s.say(slog.LevelInfo, "initiator is asked to log out", "reason", why)
		s.async(pdu.Async{Event: pdu.AsyncLogoutRequest, Param3: uint16(min((grace+time.Second-1)/time.Second, 0xffff))}, false)
		if pause(s.ctx, grace) != nil {
			return // it has
		}
		// Nothing is kept, and it may come back at once: Time2Wait and
		// Time2Retain are 0.
		s.async(pdu.Async{Event: pdu.AsyncDropSession}, true)
		if pause(s.ctx, lastWords) != nil {
			return
		}
	}
	s.kill(why)
}

func (s *session) async(a pdu.Async, last bool) {
	it := item{stat: true, last: last}
	a.Encode(&it.h)
	s.w.sendNow(it)
}
