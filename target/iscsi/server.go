// Package iscsi is an iSCSI target port (RFC 7143): it accepts connections,
// takes initiators through login, and moves the commands and data of their
// sessions to and from the units of package scsi.
//
// What it supports: error recovery level 0, one connection a session, any
// number of sessions, digests, immediate and unsolicited data. What it doesn't,
// it refuses.
//
// Each connection has one goroutine that reads and one that writes. Commands
// run on a bounded number of goroutines a session; a read of what is in memory
// is done by the reader itself, which also writes the answers then, as far as
// the socket takes them. All queues are bounded: by the command window, by byte
// budgets for buffers, and by making the reader wait for an initiator that
// doesn't take its answers. A long answer shares the connection with others.
//
// What a connection costs at most, whatever its initiator says: 128 KiB before
// the end of login and 400 KiB after it, for headers, text and queues; and
// data, out of Options.Memory, of which no session can take all (pool). It has
// two goroutines before login is over, then four, one for each task management
// function that came and hasn't been answered (the window bounds them), and
// those that run commands: Options.Workers for a LUN, so that one whose disk
// hangs leaves some to the others, and MaxWorkers in all sessions. A panic ends
// the connection it is in, and is counted (Stats).
package iscsi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sanstick/target/iscsi/internal/login"
)

// Options bound what a server takes and offers. Zero values mean the defaults.
type Options struct {
	Log *slog.Logger // nil = discard
	// Advertise returns the addresses ("address:port", IPv6 in brackets) that
	// SendTargets tells, given the local end of the connection that asks. nil =
	// that local end, and the other portals.
	Advertise func(local net.Addr) []string

	Memory         int           // bytes of data held in all sessions: 128 MiB; at least 64 MiB
	MaxConnections int           // 256, of which one host may have three quarters
	MaxLogins      int           // connections that have not logged in yet: 128
	MaxHostLogins  int           // of these, from one host: 32
	LoginTimeout   time.Duration // 15 s for the whole login phase; a discovery session may take four times that
	DataTimeout    time.Duration // how long an initiator may owe data and send none: 60 s
	PingInterval   time.Duration // silence after which an initiator that knows NOP is pinged: 30 s; negative = never
	PingTimeout    time.Duration // how long it may stay silent then: 30 s
	LogoutGrace    time.Duration // what initiators have to log out when the server stops or a target goes: 1 s; negative = nothing
	Window         int           // commands in flight a session: 128
	Workers        int           // commands running at a LUN of a session: 16, and four times as many in all of the session
	MaxWorkers     int           // and in all sessions together: 256, but every session may run one
	ReadBudget     int           // bytes of data-in held a session: 32 MiB
	WriteBudget    int           // bytes of solicited data-out held a session: 32 MiB
	RecvLimit      int           // MaxRecvDataSegmentLength: 256 KiB
	MaxBurst       int           // MaxBurstLength: 1 MiB
	FirstBurst     int           // FirstBurstLength: 128 KiB
	MaxR2T         int           // MaxOutstandingR2T: 4
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LoginTimeout == 0 {
		o.LoginTimeout = 15 * time.Second
	}
	if o.DataTimeout == 0 {
		o.DataTimeout = time.Minute
	}
	if o.PingInterval == 0 {
		o.PingInterval = 30 * time.Second
	}
	if o.PingTimeout <= 0 {
		o.PingTimeout = 30 * time.Second
	}
	if o.LogoutGrace == 0 {
		o.LogoutGrace = time.Second
	}
	for _, d := range []struct {
		v       *int
		initial int
	}{
		{&o.Memory, 128 << 20}, {&o.MaxConnections, 256}, {&o.MaxLogins, 128}, {&o.MaxHostLogins, 32}, {&o.Window, 128}, {&o.Workers, 16}, {&o.MaxWorkers, 256},
		{&o.ReadBudget, 32 << 20}, {&o.WriteBudget, 32 << 20},
		{&o.RecvLimit, 256 << 10}, {&o.MaxBurst, 1 << 20}, {&o.FirstBurst, 128 << 10}, {&o.MaxR2T, 4},
	} {
		if *d.v == 0 {
			*d.v = d.initial
		}
	}
	o.Memory = max(o.Memory, minMemory)
}

// Server is a set of targets behind one or more listeners. All methods are
// safe for concurrent use.
type Server struct {
	o          Options
	buffers    *buffers
	memory     *memory
	admission  *admission
	challenges login.Challenges
	counters   counters
	guesses    backoff
	strangers  logLimit     // log lines that anybody can cause
	workers    atomic.Int32 // commands running

	mu       sync.Mutex // taken before the locks of sessions and devices
	targets  map[string]*Target
	sessions map[sessionKey]*session
	portals  map[*listening]bool
	handles  map[uint16]bool // TSIHs in use
	lastTSIH uint16

	credentials uint64 // the last Target.credentials

	firstStatSN uint32 // of a connection
}

// NewServer returns a Server without targets.
func NewServer(o Options) *Server {
	o.setDefaults()
	m := newMemory(&o)
	return &Server{
		o: o, buffers: newBuffers(), memory: m, admission: newAdmission(&o),
		targets:  make(map[string]*Target),
		sessions: make(map[sessionKey]*session),
		portals:  make(map[*listening]bool),
		handles:  make(map[uint16]bool),

		firstStatSN: 1,
	}
}

// acceptPause is how long to wait after a failed accept, which is mostly for
// want of file descriptors.
const acceptPause = 100 * time.Millisecond

// ServePortal accepts connections from l, as the portal p, until ctx is
// cancelled. Then it closes l, asks initiators to log out, closes what
// connections there are after LogoutGrace, and returns nil once every command
// that was running has come back from its device. It returns an error if l fails for good.
func (s *Server) ServePortal(ctx context.Context, l net.Listener, p Portal) error {
	portal := s.open(l, p)
	defer s.shut(portal)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("cannot accept connections on %s: %w", l.Addr(), err)
		case err != nil:
			s.o.Log.Warn("cannot accept a connection", "listen", l.Addr().String(), "error", err)
			if pause(ctx, acceptPause) != nil {
				return nil
			}
			continue
		}
		s.counters.connections.Add(1)
		p, tooMany := s.admission.enter(nc.RemoteAddr())
		if p == nil {
			s.counters.refused.Add(1)
			s.strangers.write(s.o.Log, slog.LevelWarn, "connection refused: too many", "of", tooMany, "address", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		wg.Go(func() {
			defer p.leave()
			s.serveConn(ctx, nc, portal, p)
		})
	}
}

// serveConn sees a connection through its life.
func (s *Server) serveConn(ctx context.Context, nc net.Conn, portal *listening, p *pass) {
	log := s.o.Log.With("address", nc.RemoteAddr().String())
	defer func() {
		s.panicked(log, recover()) // it is counted when the initiator notices
		nc.Close()
	}()
	// Whatever the connection is waiting for, closing it ends that.
	closing := context.AfterFunc(ctx, func() { nc.Close() })
	defer closing()
	if err := tune(nc); err != nil {
		log.Warn("connection not tuned", "error", err)
	}
	sess, err := s.login(ctx, nc, portal, log)
	if err != nil {
		s.counters.loginsFailed.Add(1)
		s.strangers.write(log, slog.LevelInfo, "no login", "error", err)
		return
	}
	if sess.target != nil {
		closing() // serve says goodbye first
		p.loggedIn()
	} else if err := nc.SetReadDeadline(time.Now().Add(4 * s.o.LoginTimeout)); err != nil {
		log.Warn("discovery session not bounded", "error", err)
	}
	sess.serve(ctx)
}

func (s *Server) loginConfig(group uint16) login.Config {
	return login.Config{
		Directory: directory{s, group}, Challenges: &s.challenges, Rand: rand.Reader,
		Offer: login.Offer{RecvLimit: s.o.RecvLimit, MaxBurst: s.o.MaxBurst, FirstBurst: s.o.FirstBurst, MaxR2T: s.o.MaxR2T},
	}
}
