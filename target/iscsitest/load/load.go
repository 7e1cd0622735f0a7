// Package load is an initiator that makes work for a target: many sessions,
// each with a number of commands in flight, and takes the time of each. It is
// for benchmarks; package iscsitest is for finding out what a target does.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Spec says what work to make.
type Spec struct {
	Addr, Target string // address:port and iSCSI name
	Initiator    string // name; a default if empty
	LUN          byte
	Sessions     int // 1 if zero
	Depth        int // commands in flight a session, 1 if zero
	Size         int // bytes a command, a multiple of the block size
	Random       bool
	WritePercent int // of the commands, 0 to 100
	// FUA has each write on stable storage before it is answered. FlushEvery
	// sends a SYNCHRONIZE CACHE after so many writes of a session; 0 = none.
	FUA        bool
	FlushEvery int
	// HeaderDigest and DataDigest ask for CRC32C, and fail if it is refused.
	HeaderDigest, DataDigest bool
	// Span is how many bytes of the LUN are used; 0 = all.
	Span     int64
	Duration time.Duration
	// Count ends a session's work after so many commands; 0 = Duration alone
	// does.
	Count int64
	Seed  uint64
}

// Result is what came of it.
type Result struct {
	Elapsed time.Duration
	Ops     int64 // reads, writes and flushes that ended with GOOD
	Bytes   int64
	// PerSession are the Ops of each session.
	PerSession []int64
	Latency    Histogram
}

// Rate returns the commands a second.
func (r *Result) Rate() float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

// Throughput returns the bytes a second.
func (r *Result) Throughput() float64 { return float64(r.Bytes) / r.Elapsed.Seconds() }

func (s *Spec) setDefaults() error {
	if s.Initiator == "" {
		s.Initiator = "iqn.2006-12.localhost:load"
	}
	s.Sessions, s.Depth = max(s.Sessions, 1), max(s.Depth, 1)
	switch {
	case s.Size <= 0 || s.Size > 16<<20 || s.Size%512 != 0:
		return fmt.Errorf("size of %d bytes is not a multiple of 512 up to 16 MiB", s.Size)
	case s.WritePercent < 0 || s.WritePercent > 100:
		return fmt.Errorf("%d %% of writes is not from 0 to 100", s.WritePercent)
	case s.Duration <= 0 || s.Count < 0:
		return errors.New("no duration")
	}
	return nil
}

// Run logs in all sessions, then makes the work for s.Duration, and logs out.
// Any answer but GOOD is an error.
func Run(ctx context.Context, s Spec) (*Result, error) {
	if err := s.setDefaults(); err != nil {
		return nil, fmt.Errorf("cannot make load: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Duration+30*time.Second)
	defer cancel()
	sessions := make([]*session, s.Sessions)
	defer func() {
		for _, x := range sessions {
			if x != nil {
				x.conn.Close()
			}
		}
	}()
	for i := range sessions {
		x, err := open(ctx, &s, i)
		if err != nil {
			return nil, fmt.Errorf("cannot make load: session %d: %w", i, err)
		}
		sessions[i] = x
	}
	stop := context.AfterFunc(ctx, func() {
		for _, x := range sessions {
			x.conn.Close()
		}
	})
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, len(sessions))
	begin := time.Now()
	for i, x := range sessions {
		wg.Go(func() { errs[i] = x.run(begin, begin.Add(s.Duration)) })
	}
	wg.Wait()
	r := &Result{Elapsed: time.Since(begin)}
	for i, x := range sessions {
		if errs[i] != nil {
			return nil, fmt.Errorf("cannot make load: session %d: %w", i, errors.Join(errs[i], ctx.Err()))
		}
		r.Ops += x.ops
		r.Bytes += x.bytes
		r.PerSession = append(r.PerSession, x.ops)
		r.Latency.Merge(&x.latency)
	}
	return r, nil
}
