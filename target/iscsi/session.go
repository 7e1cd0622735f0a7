package iscsi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// sessionKey is an I_T nexus: initiator port and target port.
type sessionKey struct {
	target    string
	group     uint16 // portal group tag
	initiator string
	isid      [6]byte
}

// session is a session in the full-feature phase and its one connection.
//
// Its goroutines: the connection's own reads and dispatches; one writes
// (writer); workers run commands, or start them, and one takes back what was
// started (finisher); task management functions wait on
// goroutines of their own. serve returns when all have ended.
type session struct {
	srv    *Server
	conn   net.Conn
	portal *listening
	log    *slog.Logger
	target *Target     // nil in a discovery session
	nexus  *scsi.Nexus // likewise
	key    sessionKey
	tsih   uint16
	since  time.Time
	w      *writer
	ctx    context.Context // cancelled when the session ends
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing of the session is left

	// The command window (section 4.2.2.1). The reader moves expCmdSN. Whoever
	// ends a command that used up a CmdSN moves maxCmdSN, so it never shrinks.
	expCmdSN, maxCmdSN atomic.Uint32
	sendLimit          atomic.Int32 // MaxRecvDataSegmentLength of the initiator

	// Of the reader only.
	p           login.Params
	r           *pdu.Reader
	meter       *meter              // what r reads from
	slab        []taskPair          // tasks to be used
	spare       []*taskPair         // tasks to be used again
	held        map[uint32]*heldPDU // came before their turn, by CmdSN
	heldLen     int                 // bytes of their data
	tried       int                 // bytes of answers that were left to send later
	unscheduled bool                // something was left to scheduleNow
	text        textExchange

	inside   atomic.Bool // the reader is at a request, not between two
	knowsNOP atomic.Bool // the initiator has sent a NOP-Out
	goodbye  chan string // why the session has to end
	pinged   int64       // when a ping was sent that nothing came after; 0 = none; of watch only

	readSpace *semaphore.Weighted // bytes of data-in
	handover  chan *task          // to idle workers
	// What the session has of the server's memory.
	inAccount, outAccount, firstAccount account
	wg                                  sync.WaitGroup // workers, tasks that were started, and task management
	finisher                            finisher

	mu         sync.Mutex
	tasks      map[uint32]*task // by initiator task tag, until they are answered
	queue      []*task          // ready to run
	workers    int
	busy       perLUN // of the workers, how many are at a LUN
	begun      perLUN // tasks that a device is at, without a worker
	starting   bool   // a worker is starting a task
	reading    bool   // the reader is at it, and will call scheduleNow
	idle       int    // workers that wait for a task
	lastTTT    uint32
	seq        uint64      // of the next task
	ordered    int         // tasks with the ORDERED attribute
	immediate  int         // tasks and functions that came as immediate
	writeSpace int         // bytes left for data-out
	waiting    []*task     // for writeSpace, or the server's memory, in order
	awaiting   bool        // somebody waits for the server's memory
	credit     int         // bytes of it that have come
	alarm      *time.Timer // for tasks that are due later
	moved      time.Time   // when data-out was last asked for or came
	handedOver bool        // the nexus goes on in another session
	ended      bool
}

// maxImmediate bounds the immediate requests in work (section 4.2.2.1.1).
const maxImmediate = 16

func newSession(s *Server, nc net.Conn, portal *listening, p login.Params, t *Target) *session {
	ctx, cancel := context.WithCancel(context.Background())
	sess := &session{
		srv: s, conn: nc, portal: portal, log: s.o.Log, target: t, p: p,
		key:   sessionKey{p.TargetName, portal.Group, p.InitiatorName, p.ISID},
		since: time.Now(), ctx: ctx, cancel: cancel, done: make(chan struct{}),
		goodbye:    make(chan string, 1),
		held:       make(map[uint32]*heldPDU),
		tasks:      make(map[uint32]*task),
		handover:   make(chan *task, lunsAtOnce*s.o.Workers),
		busy:       make(perLUN),
		begun:      make(perLUN),
		finisher:   finisher{wakeUp: make(chan struct{}, 1), stop: make(chan struct{})},
		readSpace:  semaphore.NewWeighted(int64(s.o.ReadBudget)),
		writeSpace: s.o.WriteBudget,
	}
	sess.sendLimit.Store(int32(p.SendLimit))
	return sess
}

func (s *session) startWindow(cmdSN uint32, depth int) {
	s.expCmdSN.Store(cmdSN)
	s.maxCmdSN.Store(cmdSN + uint32(depth) - 1)
}

func (s *session) window(statSN uint32) pdu.Window {
	return pdu.Window{StatSN: statSN, ExpCmdSN: s.expCmdSN.Load(), MaxCmdSN: s.maxCmdSN.Load()}
}

// openWindow gives back the place in the window of one command.
func (s *session) openWindow() { s.maxCmdSN.Add(1) }

// begin puts what was negotiated into force.
func (s *session) begin(r *pdu.Reader, m *meter, statSN uint32, log *slog.Logger) {
	s.log = log.With("initiator", s.p.InitiatorName, "target", s.p.TargetName)
	s.r, s.meter = r, m
	r.Grow(sessionBuffer)
	r.MaxData = s.p.RecvLimit
	r.HeaderDigest, r.DataDigest = s.p.HeaderDigest, s.p.DataDigest
	s.w = newWriter(s, statSN)
	m.drained = s.drained
}

// abandon ends a session that never began.
func (s *session) abandon() {
	s.remove()
}

// errLogout is how the reader says that the initiator has logged out.
var errLogout = errors.New("logged out")

// serve runs the session until its connection ends, for whatever reason. When
// ctx ends, the initiator is asked to leave.
func (s *session) serve(ctx context.Context) {
	var writing sync.WaitGroup
	writing.Go(s.w.run)
	writing.Go(s.finish)
	kind := "normal"
	if s.target == nil {
		kind = "discovery"
	}
	s.start(func() { s.watch(ctx) })
	s.say(slog.LevelInfo, "session begins", "type", kind, "authenticated", s.p.Authenticated)
	err := s.readAll()
	if !errors.Is(err, errLogout) {
		s.conn.Close() // the writer, and through it all who wait for it, stop
	}
	s.cancel()
	s.mu.Lock()
	s.ended = true
	for _, t := range s.tasks {
		t.receiving = false // no reader is left
	}
	s.mu.Unlock()
	s.abort(func(*task) bool { return true })
	s.wg.Wait()
	close(s.finisher.stop)
	s.w.close()
	writing.Wait()
	s.remove()
	switch {
	case errors.Is(err, errLogout), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		s.say(slog.LevelInfo, "session ends")
	default:
		s.say(slog.LevelWarn, "session ends", "error", err)
	}
}

// say logs. What those say who have not proven who they are is limited.
func (s *session) say(level slog.Level, msg string, args ...any) {
	if s.p.Authenticated {
		s.log.Log(s.ctx, level, msg, args...)
		return
	}
	s.srv.strangers.write(s.log, level, msg, args...)
}

// start has f run beside the reader. A panic in it ends the session.
func (s *session) start(f func()) {
	s.wg.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				s.srv.panicked(s.log, r)
				s.conn.Close()
			}
		}()
		f()
	})
}

// readAll reads until there is an error. A panic ends the one session it is in.
func (s *session) readAll() (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.srv.panicked(s.log, r)
			err = errors.New("internal error")
		}
	}()
	for {
		h, ahs, err := s.r.Next()
		if err != nil {
			if errors.Is(err, pdu.ErrHeaderDigest) {
				s.srv.counters.digestErrors.Add(1)
			}
			return err
		}
		s.meter.spent.Store(0)
		s.inside.Store(true)
		if err := s.receive(h, ahs); err != nil {
			return err
		}
		s.inside.Store(false)
	}
}

// remove takes the session out of the world. Nothing of it runs any more.
func (s *session) remove() {
	s.cancel()
	s.conn.Close()
	s.mu.Lock()
	s.ended = true
	if s.alarm != nil {
		s.alarm.Stop()
	}
	closing := s.nexus != nil && !s.handedOver
	s.mu.Unlock()
	if closing {
		s.nexus.Close()
	}
	s.srv.leave(s)
	close(s.done)
}

// kill makes the session end, soon. Wait for done.
func (s *session) kill(why string) {
	s.srv.o.Log.Info("session is ended", "initiator", s.p.InitiatorName, "target", s.p.TargetName, "reason", why)
	s.cancel()
	s.conn.Close()
}

// handOver has the nexus survive the session. It returns false if it is too
// late for that.
func (s *session) handOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.handedOver {
		return false
	}
	s.handedOver = true
	return true
}

// keep takes back handOver.
func (s *session) keep() {
	s.mu.Lock()
	closing := false
	select {
	case <-s.done:
		closing = s.handedOver
	default:
		s.handedOver = false
	}
	s.mu.Unlock()
	if closing { // without mu: the nexus has locks that come before it
		s.nexus.Close()
	}
}
