package iscsi

import (
	"fmt"
	"slices"

	"sanstick/target/iscsi/internal/login"
)

// Check says what is wrong with a target, without a look at its device or at
// other targets.
func (t Target) Check() error { return t.prepare() }

// prepare checks the target and brings its names into the form that names are
// compared in.
func (t *Target) prepare() error {
	name, ok := login.FoldName(t.Name)
	if !ok {
		return fmt.Errorf("that is no iSCSI name")
	}
	t.Name = name
	t.Initiators, t.Groups = slices.Clone(t.Initiators), slices.Clone(t.Groups)
	if t.Redirect != nil {
		r := *t.Redirect
		t.Redirect = &r
	}
	for i, n := range t.Initiators {
		if n == "*" {
			continue
		}
		if t.Initiators[i], ok = login.FoldName(n); !ok {
			return fmt.Errorf("initiator %q is no iSCSI name", n)
		}
	}
	return t.check()
}

// nextCredentials returns a number for Target.credentials. s.mu is held.
func (s *Server) nextCredentials() uint64 {
	s.credentials++
	return s.credentials
}

// SetAccess gives the target of the same name the alias, initiators, credentials,
// portal groups, redirect and limit of t; its device stays. Sessions that couldn't be
// made any more are ended, and it returns when the last of their commands has
// come back from its device. Other sessions go on, even if the credentials are
// new ones: those count from the next login. A login that is under way with
// the old ones is refused.
func (s *Server) SetAccess(t Target) error {
	if err := t.prepare(); err != nil {
		return fmt.Errorf("cannot change target %q: %w", t.Name, err)
	}
	s.mu.Lock()
	have := s.targets[t.Name]
	if have == nil {
		s.mu.Unlock()
		return fmt.Errorf("cannot change target %s: there is none of that name", t.Name)
	}
	if err := s.reflection(&t); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("cannot change target %s: %w", t.Name, err)
	}
	have.Alias, have.Initiators, have.Groups, have.Redirect = t.Alias, t.Initiators, t.Groups, t.Redirect
	s.setPorts(have)
	if !t.CHAP.same(have.CHAP) || !t.Mutual.same(have.Mutual) {
		have.CHAP, have.Mutual, have.credentials = t.CHAP, t.Mutual, s.nextCredentials()
	}
	have.Limit = t.Limit
	limited := have.limiter.set(t.Limit)
	var ending, staying []*session
	gone := make(map[*session]bool) // those who may not even stay for a goodbye
	for _, sess := range s.sessions {
		if sess.target == have && (!have.allows(sess.p.InitiatorName) || !have.reachable(sess.portal.Group) || have.Redirect != nil) {
			ending = append(ending, sess)
			gone[sess] = !have.allows(sess.p.InitiatorName)
		} else if sess.target == have && limited {
			staying = append(staying, sess)
		}
	}
	s.mu.Unlock()
	for _, sess := range staying {
		sess.tollAnew()
	}
	for _, sess := range ending {
		if why := "access to the target has changed"; gone[sess] {
			sess.kill(why)
		} else {
			sess.dismiss(why)
		}
	}
	for _, sess := range ending {
		<-sess.done
	}
	return nil
}

// same says whether two credentials are the same, or both none.
func (c *Credentials) same(o *Credentials) bool {
	return c == o || c != nil && o != nil && *c == *o
}
