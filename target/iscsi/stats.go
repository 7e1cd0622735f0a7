package iscsi

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what a server has seen since it was made. Counters only grow.
type Stats struct {
	Sessions     int    // normal sessions there are now
	Connections  uint64 // accepted
	Refused      uint64 // of these, closed at once because there were too many
	LoginsFailed uint64 // connections that ended before the end of login
	AuthFailures uint64 // of these, those that gave a wrong name or secret
	Rejects      uint64 // requests answered by a Reject PDU
	DigestErrors uint64 // header and data digests that were wrong
	PingTimeouts uint64 // connections dropped because a ping was not answered
	Panics       uint64 // connections lost to an internal error
}

// counters are the growing part of Stats.
type counters struct {
	connections, refused, loginsFailed, authFailures, rejects, digestErrors, pingTimeouts, panics atomic.Uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.sessions)
	s.mu.Unlock()
	c := &s.counters
	return Stats{
		Sessions: n, Connections: c.connections.Load(), Refused: c.refused.Load(),
		LoginsFailed: c.loginsFailed.Load(), AuthFailures: c.authFailures.Load(), Rejects: c.rejects.Load(),
		DigestErrors: c.digestErrors.Load(), PingTimeouts: c.pingTimeouts.Load(), Panics: c.panics.Load(),
	}
}

// panicked notes what a goroutine of a connection died of, if it did (r is
// what recover returned). The connection is lost; the server goes on.
func (s *Server) panicked(log *slog.Logger, r any) {
	if r != nil {
		s.counters.panics.Add(1)
		log.Error("internal error, connection dropped", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
}

// A logLimit keeps those whom we don't know from filling the log: so many
// lines at once, and then one for every interval. The zero value is ready.
type logLimit struct {
	mu      sync.Mutex
	lines   int // that may be written now
	since   time.Time
	dropped int
}

const (
	logBurst    = 64
	logInterval = time.Second
)

// write writes a line, or counts it for the next one that is written.
func (l *logLimit) write(log *slog.Logger, level slog.Level, msg string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if n := int(min(now.Sub(l.since)/logInterval, logBurst)); n > 0 {
		l.lines, l.since = min(l.lines+n, logBurst), now
	}
	if l.lines == 0 {
		l.dropped++
		l.mu.Unlock()
		return
	}
	l.lines--
	dropped := l.dropped
	l.dropped = 0
	l.mu.Unlock()
	if dropped > 0 {
		args = append(args, "lines_left_out", dropped)
	}
	log.Log(context.Background(), level, msg, args...)
}
