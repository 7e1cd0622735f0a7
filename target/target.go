// Package target is an iSCSI target as a library: block devices in, a server
// for initiators out. It needs nothing else of sanstick.
//
//	unit, err := scsi.NewUnit(device, scsi.UnitOptions{Identity: id})
//	srv, err := target.New(target.Options{Log: log})
//	err = srv.Add(target.Config{IQN: "iqn.2026-01.org.example:disk",
//		LUNs: []target.LUN{{Number: 0, Unit: unit}}, Initiators: []string{"*"}})
//	err = srv.Serve(ctx, listener)
package target

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/scsi"
)

// Options are what a server has as a whole. Zero values mean the defaults.
type Options struct {
	Log *slog.Logger // nil = discard
	// Advertise returns the portals ("address:port", IPv6 in brackets) that
	// initiators are told in discovery, given the local end of the connection
	// they ask on. nil = that local end, and the other portals that are served.
	Advertise func(local net.Addr) []string
	// MaxConnections is how many connections there may be at once: 256.
	MaxConnections int
	// LoginTimeout is how long a connection may take to log in: 15 s.
	LoginTimeout time.Duration
	// Memory bounds the data, in bytes, that the server holds for all sessions
	// together: 128 MiB, and at least 64 MiB. Commands wait for it. Headers and
	// queues come on top, at most some 400 KiB a connection.
	Memory int
	// SessionMemory bounds the data, in bytes, that the server holds for the
	// reads of one session, and again for its writes: 32 MiB each. It can't
	// be less than one command moves, scsi.MaxTransfer.
	SessionMemory int
	// QueueDepth is how many commands a session may have in flight: 128.
	QueueDepth int
	// PingInterval is how long an initiator may be silent before it is asked
	// whether it is there: 30 s; negative = for ever. Only those are asked that
	// use such pings themselves. PingTimeout is how long it may be silent then,
	// before it is dropped: 30 s.
	PingInterval, PingTimeout time.Duration
	// LogoutGrace is how long initiators have to log out when a target is
	// removed or Serve ends: 1 s; negative = no time.
	LogoutGrace time.Duration
}

// LUN is a unit and the number that it has in a target.
type LUN struct {
	Number uint16
	Unit   *scsi.Unit
}

// CHAP is a name and a secret of 12 to 255 bytes.
type CHAP struct{ User, Secret string }

// Config describes a target.
type Config struct {
	// IQN is the target's iSCSI name. Case doesn't matter.
	IQN string
	// Alias is for people; it may be empty.
	Alias string
	LUNs  []LUN
	// Initiators are the names of those who may log in, and who are told of
	// the target. "*" is anyone; empty is nobody.
	Initiators []string
	// CHAP is what initiators must prove to know; nil = nothing. Mutual is
	// what the target proves to initiators that ask; its secret must differ.
	CHAP, Mutual *CHAP
	// Groups are the portal groups (Portal.Group) through which the target can
	// be reached; empty is all.
	Groups []uint16
	// Limit bounds what is done for all initiators together.
	Limit Limit
	// Redirect sends initiators to another address once they have shown that
	// they may use the target. nil = it is here.
	Redirect *Redirect
}

// Limit is a bound on the work of a target: commands that read or write, and
// bytes that they move, a second. 0 = none; else at least MinIOPS and MinBytes.
// What is more waits, in the order in which it comes.
type Limit = iscsi.Limit

// The least that a limit may be.
const (
	MinIOPS  = iscsi.MinIOPS
	MinBytes = iscsi.MinBytes
)

// Redirect is where a target has gone.
type Redirect struct {
	Address   string // "address:port", IPv6 in brackets
	Permanent bool   // for good, or until the initiator asks again
}

// Portal is how a listener appears to initiators. The zero value is a portal
// of group 1.
type Portal struct {
	// Group is the portal group tag, from 1; 0 means 1. Each group is a target
	// port of its own.
	Group uint16
	// Advertise returns the addresses that initiators are told in discovery
	// for this portal, given the local end of the connection they ask on. nil =
	// Options.Advertise for those who ask on this portal; to others, if that is
	// nil too, the listener's address.
	Advertise func(local net.Addr) []string
}

// Session is an initiator that is logged in.
type Session struct {
	Target, Initiator, Address string
	Since                      time.Time
	PortalGroup                uint16
}

// Server serves targets. All methods are safe for concurrent use.
type Server struct {
	iscsi *iscsi.Server

	changing sync.Mutex // held by whoever changes targets
	targets  map[string]*offered
}

// New returns a server without targets.
func New(o Options) (*Server, error) {
	if o.SessionMemory != 0 && o.SessionMemory < scsi.MaxTransfer {
		return nil, fmt.Errorf("cannot make a server: session memory of %d bytes is less than a command moves (%d)", o.SessionMemory, scsi.MaxTransfer)
	}
	if least := 4 * scsi.MaxTransfer; o.Memory != 0 && o.Memory < least {
		return nil, fmt.Errorf("cannot make a server: memory of %d bytes is less than %d", o.Memory, least)
	}
	if o.MaxConnections < 0 || o.LoginTimeout < 0 || o.QueueDepth < 0 || o.PingTimeout < 0 {
		return nil, fmt.Errorf("cannot make a server: a limit is negative")
	}
	return &Server{targets: make(map[string]*offered), iscsi: iscsi.NewServer(iscsi.Options{
		Log: o.Log, Advertise: o.Advertise, Memory: o.Memory, MaxConnections: o.MaxConnections, LoginTimeout: o.LoginTimeout,
		ReadBudget: o.SessionMemory, WriteBudget: o.SessionMemory, Window: o.QueueDepth,
		PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, LogoutGrace: o.LogoutGrace,
	})}, nil
}

// Serve accepts connections from l until ctx is cancelled. Then it asks
// initiators to log out, ends what is left after Options.LogoutGrace, waits for
// the commands that are running, and returns nil. It closes l. An
// error means that l has failed. Call it once for each listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.iscsi.Serve(ctx, l) }

// ServePortal is Serve with a portal other than the zero one.
func (s *Server) ServePortal(ctx context.Context, l net.Listener, p Portal) error {
	return s.iscsi.ServePortal(ctx, l, iscsi.Portal(p))
}

// Stats is what a server has seen since it was made.
type Stats = iscsi.Stats

// Stats returns the counters.
func (s *Server) Stats() Stats { return s.iscsi.Stats() }

// Sessions returns who is logged in to what.
func (s *Server) Sessions() []Session {
	var all []Session
	for _, x := range s.iscsi.Sessions() {
		all = append(all, Session(x))
	}
	return all
}
