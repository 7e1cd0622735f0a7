package iscsi

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/scsi"
)

// Credentials are a CHAP name and secret.
type Credentials struct{ User, Secret string }

// Target is a SCSI device under an iSCSI name, and who may use it. What a
// server was given must not be changed; see Server.SetAccess.
type Target struct {
	Name, Alias string
	Device      *scsi.Device
	// Initiators are the names that may log in. "*" is anyone; empty is nobody.
	Initiators []string
	// CHAP is what initiators must know; nil = no authentication. Mutual is
	// how the target proves itself to those that ask; nil = not at all.
	CHAP, Mutual *Credentials
	// Groups are the portal groups through which the target can be reached;
	// empty is all.
	Groups []uint16
	// Redirect sends initiators elsewhere once they have shown that they may
	// use the target. nil = it is here.
	Redirect *Redirect
	// Limit bounds what is done for all sessions together.
	Limit Limit

	limiter *limiter
	// credentials says which CHAP and Mutual these are: no others that the
	// server ever had have the same number.
	credentials uint64
}

// Redirect is where a target has gone (section 11.13.5, status class 1).
type Redirect struct {
	Address   string // "address:port", IPv6 in brackets
	Permanent bool   // for good, or until the initiator asks again
}

// Secrets of CHAP, in bytes (RFC 7143 section 9.2.1: 96 random bits).
const (
	minSecret = 12
	maxSecret = 255
)

func (t *Target) check() error {
	for _, c := range []*Credentials{t.CHAP, t.Mutual} {
		switch {
		case c == nil:
		case c.User == "" || len(c.User) > 255 || strings.ContainsFunc(c.User, func(r rune) bool { return r < 0x20 || r == 0x7f }):
			return fmt.Errorf("CHAP user must have 1 to 255 printable characters")
		case len(c.Secret) < minSecret || len(c.Secret) > maxSecret:
			return fmt.Errorf("CHAP secret of user %q must have %d to %d bytes", c.User, minSecret, maxSecret)
		}
	}
	if err := t.Limit.check(); err != nil {
		return err
	}
	switch {
	case slices.Contains(t.Groups, 0):
		return fmt.Errorf("portal group tags start at 1")
	case t.Redirect != nil && !isPortal(t.Redirect.Address):
		return fmt.Errorf("redirect %q is not address:port", t.Redirect.Address)
	case t.Mutual != nil && t.CHAP == nil:
		return fmt.Errorf("mutual CHAP needs CHAP of the initiator too")
	case t.Mutual != nil && t.Mutual.Secret == t.CHAP.Secret:
		return fmt.Errorf("the secrets of CHAP and mutual CHAP must differ")
	case strings.ContainsFunc(t.Alias, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(t.Alias) > 255:
		return fmt.Errorf("alias must have at most 255 printable characters")
	}
	return nil
}

// isPortal says whether s can be a TargetAddress (section 13.8).
func isPortal(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, numErr := strconv.ParseUint(port, 10, 16)
	return err == nil && numErr == nil && n > 0 && host != "" && len(s) <= 255 &&
		!strings.ContainsFunc(host, func(r rune) bool { return r <= 0x20 || r >= 0x7f || r == '%' || r == ',' })
}

// reflects says that t would compute for an initiator what o wants to see from
// one: the secret of one direction may not be used in the other (section 9.2.1).
func (t *Target) reflects(o *Target) bool {
	return t.Mutual != nil && o.CHAP != nil && t.Mutual.Secret == o.CHAP.Secret
}

// reflection checks the secrets of t against those of the other targets. s.mu
// is held.
func (s *Server) reflection(t *Target) error {
	for _, o := range s.targets {
		if o.Name != t.Name && (t.reflects(o) || o.reflects(t)) {
			return fmt.Errorf("it and %s use one CHAP secret in both directions", o.Name)
		}
	}
	return nil
}

// Add offers a target.
func (s *Server) Add(t Target) error {
	if err := t.prepare(); err != nil {
		return fmt.Errorf("cannot add target %q: %w", t.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.targets[t.Name] != nil {
		return fmt.Errorf("cannot add target %s: it is there already", t.Name)
	}
	if err := s.reflection(&t); err != nil {
		return fmt.Errorf("cannot add target %s: %w", t.Name, err)
	}
	t.credentials = s.nextCredentials()
	t.limiter = newLimiter(t.Limit)
	s.targets[t.Name] = &t
	s.setPorts(&t)
	return nil
}

// Remove takes targets away, ends their sessions, and returns when the last of
// the commands has come back from its device. Initiators that are asked to
// log out and don't have Options.LogoutGrace, all of them together.
func (s *Server) Remove(names ...string) error {
	var errs []error
	var ending []*session
	s.mu.Lock()
	for _, n := range names {
		name, _ := login.FoldName(n)
		t := s.targets[name]
		if t == nil {
			errs = append(errs, fmt.Errorf("cannot remove target %q: there is none of that name", n))
			continue
		}
		delete(s.targets, name)
		ending = append(ending, s.ofTarget(t)...)
	}
	s.mu.Unlock()
	for _, sess := range ending {
		sess.dismiss("target removed")
	}
	for _, sess := range ending {
		<-sess.done
	}
	return errors.Join(errs...)
}

// Session is what is known of one that is logged in.
type Session struct {
	Target, Initiator, Address string
	Since                      time.Time
	PortalGroup                uint16
}

// Sessions returns the normal sessions there are, by target and initiator.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	var all []Session
	for _, sess := range s.sessions {
		all = append(all, Session{sess.target.Name, sess.p.InitiatorName, sess.conn.RemoteAddr().String(), sess.since, sess.portal.Group})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Session) int {
		return strings.Compare(a.Target+"\x00"+a.Initiator+"\x00"+a.Address, b.Target+"\x00"+b.Initiator+"\x00"+b.Address)
	})
	return all
}

func (t *Target) allows(initiator string) bool {
	return slices.Contains(t.Initiators, "*") || slices.Contains(t.Initiators, initiator)
}

// directory shows the targets to the login phase, through one portal group.
type directory struct {
	s     *Server
	group uint16
}

func (d directory) Find(initiator, name string) (login.Target, login.Status) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	t := d.s.targets[name]
	switch {
	case t == nil, !t.reachable(d.group):
		return login.Target{}, login.NotFound
	case !t.allows(initiator):
		return login.Target{}, login.NotAllowed
	}
	return t.forLogin(d.group), login.Success
}

func (d directory) Allowed(initiator string) []login.Target {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	var ts []login.Target
	for _, t := range d.s.targets {
		if t.allows(initiator) && t.reachable(d.group) {
			ts = append(ts, t.forLogin(d.group))
		}
	}
	slices.SortFunc(ts, func(a, b login.Target) int { return strings.Compare(a.Name, b.Name) })
	return ts
}

func (t *Target) forLogin(group uint16) login.Target {
	lt := login.Target{Name: t.Name, Alias: t.Alias, PortalGroup: group, Groups: t.Groups, Credentials: t.credentials}
	if t.Redirect != nil {
		lt.Redirect, lt.Permanent = t.Redirect.Address, t.Redirect.Permanent
	}
	if t.CHAP != nil {
		lt.CHAP = &login.Credentials{User: t.CHAP.User, Secret: t.CHAP.Secret}
	}
	if t.Mutual != nil {
		lt.Mutual = &login.Credentials{User: t.Mutual.User, Secret: t.Mutual.Secret}
	}
	return lt
}
