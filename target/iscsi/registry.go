package iscsi

import (
	"context"
	"fmt"
	"net"
	"time"

	"sanstick/target/iscsi/internal/login"
)

// join makes the session of a login that has succeeded. An older session of
// the same initiator port, if any, is ended first (RFC 7143 section 6.3.5), and
// its commands with it; with a TSIH, its connection is replaced (section 6.3.4).
func (s *Server) join(ctx context.Context, nc net.Conn, portal *listening, p login.Params) (*session, login.Status) {
	if p.Discovery {
		if p.TSIH != 0 {
			return nil, login.NoSession
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.newSession(nc, portal, p, nil, nil)
	}
	s.awaitLeavers(ctx, p.InitiatorName)
	for {
		sess, old, st := s.admit(nc, portal, p)
		if old == nil {
			return sess, st
		}
		old.kill("replaced by a new login")
		select {
		case <-old.done:
		case <-ctx.Done():
			old.keep()
			return nil, login.Unavailable
		}
		if p.TSIH == 0 {
			continue
		}
		if sess, st = s.succeed(nc, portal, p, old); st != login.Success {
			old.keep()
		}
		return sess, st
	}
}

// leaveTimeout is how long a login waits for the initiator's earlier sessions
// to end.
const leaveTimeout = time.Second

// awaitLeavers waits for the end of those sessions of an initiator whose
// connections it has closed. It need not know that we read of that when we get
// to it: what a session held (SAM-5 section 6.3.4, I_T nexus loss) is free when
// its next login is answered. A session whose device doesn't come back is not
// waited for.
func (s *Server) awaitLeavers(ctx context.Context, initiator string) {
	var leaving []*session
	s.mu.Lock()
	for key, sess := range s.sessions {
		if key.initiator == initiator && hungUp(sess.conn) {
			leaving = append(leaving, sess)
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	for _, sess := range leaving {
		select {
		case <-sess.done:
		case <-ctx.Done():
			return
		}
	}
}

// admit decides on a login, and enters the session if none is in its way. If
// one is, that is returned: it has to end first.
func (s *Server) admit(nc net.Conn, portal *listening, p login.Params) (sess, old *session, st login.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[p.TargetName]
	old = s.sessions[sessionKey{p.TargetName, portal.Group, p.InitiatorName, p.ISID}]
	switch {
	case t == nil:
		st = login.Removed
	case !t.allows(p.InitiatorName):
		st = login.NotAllowed
	case !t.reachable(portal.Group):
		st = login.NotFound
	case t.Redirect != nil: // it was added anew in the meantime
		st = login.Unavailable
	case t.CHAP != nil && !p.Authenticated:
		st = login.AuthFailed
	case t.credentials != p.Credentials: // they have changed in the meantime: again, please
		st = login.Unavailable
	case p.TSIH != 0 && (old == nil || old.tsih != p.TSIH):
		st = login.NoSession
	case p.TSIH != 0 && old.p.CID != p.CID:
		st = login.TooManyConnections
	case p.TSIH != 0 && !old.handOver():
		st = login.NoSession
	}
	if st != login.Success {
		return nil, nil, st
	}
	if old == nil {
		sess, st = s.newSession(nc, portal, p, t, nil)
	}
	return sess, old, st
}

// succeed enters a session in place of one that has ended.
func (s *Server) succeed(nc net.Conn, portal *listening, p login.Params, from *session) (*session, login.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newSession(nc, portal, p, from.target, from)
}

// newSession enters a session. s.mu is held. from is the session whose
// connection is replaced, which has ended.
func (s *Server) newSession(nc net.Conn, portal *listening, p login.Params, t *Target, from *session) (*session, login.Status) {
	sess := newSession(s, nc, portal, p, t)
	depth := s.o.Window
	if t != nil {
		depth = t.limiter.depth(depth, len(s.ofTarget(t))+1)
	}
	if from != nil {
		if s.sessions[sess.key] != nil || s.targets[p.TargetName] != t {
			return nil, login.NoSession
		}
		sess.tsih, sess.nexus = from.tsih, from.nexus
		sess.startWindow(from.expCmdSN.Load(), depth)
	} else {
		if len(s.handles) >= 1<<16-2 {
			return nil, login.OutOfResources
		}
		for s.lastTSIH++; s.lastTSIH == 0 || s.handles[s.lastTSIH]; s.lastTSIH++ {
		}
		sess.tsih = s.lastTSIH
		sess.startWindow(p.CmdSN, depth)
	}
	if t != nil {
		if sess.nexus == nil {
			isid := fmt.Sprintf("%s,i,0x%x", p.InitiatorName, p.ISID[:])
			sess.nexus = t.Device.NewNexus(isid, t.port(portal.Group), sess)
		} else {
			sess.nexus.SetAborter(sess)
		}
		s.sessions[sess.key] = sess
	}
	s.handles[sess.tsih] = true
	return sess, login.Success
}

// leave takes an ended session out.
func (s *Server) leave(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handles, sess.tsih)
	if s.sessions[sess.key] == sess {
		delete(s.sessions, sess.key)
	}
}

// sessionsOf returns the sessions with a target.
func (s *Server) sessionsOf(t *Target) []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ofTarget(t)
}

// ofTarget is sessionsOf with s.mu held.
func (s *Server) ofTarget(t *Target) []*session {
	var all []*session
	for _, sess := range s.sessions {
		if sess.target == t {
			all = append(all, sess)
		}
	}
	return all
}
