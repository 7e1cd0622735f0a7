// Package progress tells a person at a terminal what a long job is doing and how long it has taken so far.
//
// One line per step, each with the seconds since the job began. There is no cursor trickery, so that the lines read
// the same in a terminal, a CI log and a file.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// A Log writes progress lines. The zero Log and a nil *Log discard them. Safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
	now   func() time.Time
}

// New returns a Log that writes to w and counts its seconds from now on.
func New(w io.Writer) *Log {
	return &Log{w: w, start: time.Now(), now: time.Now}
}

// Step writes one line: what begins now.
func (l *Log) Step(format string, args ...any) {
	if l == nil || l.w == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// A progress line that cannot be written is not worth failing a build for.
	_, _ = fmt.Fprintf(l.w, "[%5.1fs] %s\n", l.now().Sub(l.start).Seconds(), fmt.Sprintf(format, args...))
}

// Elapsed is the time since New.
func (l *Log) Elapsed() time.Duration {
	if l == nil || l.w == nil {
		return 0
	}
	return l.now().Sub(l.start)
}
