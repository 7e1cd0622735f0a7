package iscsi

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/scsi"
)

// portalGroup is the tag of the one portal group there is, and the relative
// identifier of the target port that goes with it.
const portalGroup = 1

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

	// credentials says which CHAP and Mutual these are: no others that the
	// server ever had have the same number.
	credentials uint64
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
	switch {
	case t.Mutual != nil && t.CHAP == nil:
		return fmt.Errorf("mutual CHAP needs CHAP of the initiator too")
	case t.Mutual != nil && t.Mutual.Secret == t.CHAP.Secret:
		return fmt.Errorf("the secrets of CHAP and mutual CHAP must differ")
	case strings.ContainsFunc(t.Alias, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(t.Alias) > 255:
		return fmt.Errorf("alias must have at most 255 printable characters")
	}
	return nil
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
	s.targets[t.Name] = &t
	return nil
}

// Remove takes a target away, ends its sessions, and returns when the last of
// their commands has come back from its device.
func (s *Server) Remove(name string) error {
	name, _ = login.FoldName(name)
	s.mu.Lock()
	t := s.targets[name]
	delete(s.targets, name)
	var ending []*session
	for _, sess := range s.sessions {
		if sess.target == t {
			ending = append(ending, sess)
		}
	}
	s.mu.Unlock()
	if t == nil {
		return fmt.Errorf("cannot remove target %q: there is none of that name", name)
	}
	for _, sess := range ending {
		sess.kill("target removed")
	}
	for _, sess := range ending {
		<-sess.done
	}
	return nil
}

// Session is what is known of one that is logged in.
type Session struct {
	Target, Initiator, Address string
	Since                      time.Time
}

// Sessions returns the normal sessions there are, by target and initiator.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	var all []Session
	for _, sess := range s.sessions {
		all = append(all, Session{sess.target.Name, sess.p.InitiatorName, sess.conn.RemoteAddr().String(), sess.since})
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

// directory shows the targets to the login phase.
type directory struct{ s *Server }

func (d directory) Find(initiator, name string) (login.Target, login.Status) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	t := d.s.targets[name]
	switch {
	case t == nil:
		return login.Target{}, login.NotFound
	case !t.allows(initiator):
		return login.Target{}, login.NotAllowed
	}
	return t.forLogin(), login.Success
}

func (d directory) Allowed(initiator string) []login.Target {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	var ts []login.Target
	for _, t := range d.s.targets {
		if t.allows(initiator) {
			ts = append(ts, t.forLogin())
		}
	}
	slices.SortFunc(ts, func(a, b login.Target) int { return strings.Compare(a.Name, b.Name) })
	return ts
}

func (t *Target) forLogin() login.Target {
	lt := login.Target{Name: t.Name, Alias: t.Alias, PortalGroup: portalGroup, Credentials: t.credentials}
	if t.CHAP != nil {
		lt.CHAP = &login.Credentials{User: t.CHAP.User, Secret: t.CHAP.Secret}
	}
	if t.Mutual != nil {
		lt.Mutual = &login.Credentials{User: t.Mutual.User, Secret: t.Mutual.Secret}
	}
	return lt
}

// portals returns the TargetAddress values to tell an initiator that has come
// to this local address.
func (s *Server) portals(local net.Addr) []string {
	addrs := []string{localPortal(local)}
	if s.o.Advertise != nil {
		addrs = s.o.Advertise(local)
	}
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = fmt.Sprintf("%s,%d", a, portalGroup)
	}
	return out
}

// localPortal is an address as RFC 7143 section 13.8 wants it: IPv6 in
// brackets, no zone.
func localPortal(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	return (&net.TCPAddr{IP: t.IP, Port: t.Port}).String()
}
