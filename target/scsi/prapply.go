package scsi

import "slices"

// prChange is what a PERSISTENT RESERVE OUT command does.
type prChange struct {
	conflict bool  // nothing: RESERVATION CONFLICT
	bad      sense // nothing: CHECK CONDITION

	state      prState
	counts     bool // PRGENERATION goes up
	attentions []prAttention
	preempted  []itNexus // whose commands PREEMPT AND ABORT ends
}

// prAttention is a unit attention for some nexuses, except the one that the
// command came on.
type prAttention struct {
	code code
	to   []itNexus
}

// apply computes what a request does to the state, which stays as it is. It is
// all of SPC-4 sections 5.13.7 to 5.13.11, without side effects.
func (s prState) apply(r *prRequest) prChange {
	if r.action == prRegister || r.action == prRegisterIgnore {
		return s.register(r)
	}
	i := s.find(r.from.nexus)
	if i < 0 || s.registrations[i].key != r.key {
		return prChange{conflict: true}
	}
	switch r.action {
	case prReserve:
		return s.reserve(r)
	case prRelease:
		return s.release(r)
	case prClear:
		return s.clear()
	case prPreempt, prPreemptAbort:
		return s.preempt(r)
	}
	return s.move(r)
}

// typed refuses a scope or a type that doesn't exist.
func (r *prRequest) typed() sense {
	switch {
	case r.scope != 0: // LU_SCOPE
		return badCDB(2, 7)
	case !r.kind.valid():
		return badCDB(2, 3)
	}
	return sense{}
}

// register is REGISTER and REGISTER AND IGNORE EXISTING KEY (tables 67 to 69).
// With ALL_TG_PT it is as if the request had come through each port; where one
// of them conflicts, all do.
func (s prState) register(r *prRequest) prChange {
	i := s.find(r.from.nexus)
	ignore := r.action == prRegisterIgnore
	switch {
	case ignore:
	case i < 0 && r.key != 0, i >= 0 && s.registrations[i].key != r.key:
		return prChange{conflict: true}
	case i >= 0 && r.others:
		return prChange{bad: badParameter(atFlags)}
	}
	c := prChange{state: s, counts: true}
	if r.newKey == 0 {
		return s.unregister(r)
	}
	next := slices.Clone(s.registrations)
	put := func(n registration) {
		if i := slices.IndexFunc(next, func(x registration) bool { return x.nexus == n.nexus }); i >= 0 {
			next[i] = n
		} else {
			next = append(next, n)
		}
	}
	for _, p := range r.targets {
		n := registration{itNexus{r.from.nexus.initiator, p.Name}, p.RelativeID, r.newKey}
		if j := s.find(n.nexus); j >= 0 && !ignore && s.registrations[j].key != r.key && s.registrations[j].key != r.newKey {
			return prChange{conflict: true}
		}
		put(n)
	}
	for _, name := range r.initiators {
		for _, p := range r.targets {
			n := registration{itNexus{name, p.Name}, p.RelativeID, r.newKey}
			if s.find(n.nexus) >= 0 {
				return prChange{bad: badParameter(atOtherID)}
			}
			put(n)
		}
	}
	if len(next) > maxRegistrations {
		return prChange{bad: illegal(insufficientRegistration)}
	}
	c.state.registrations, c.state.aptpl = next, r.aptpl
	return c
}

// unregister takes away the registrations of the initiator port that the
// request came from (section 5.13.11.2.3).
func (s prState) unregister(r *prRequest) prChange {
	c := prChange{state: s}
	c.remove(func(x registration) bool {
		return x.nexus.initiator == r.from.nexus.initiator && (r.action == prRegisterIgnore || x.key == r.key) &&
			slices.ContainsFunc(r.targets, func(p Port) bool { return p.Name == x.nexus.target })
	})
	if len(c.state.registrations) == len(s.registrations) {
		return prChange{state: s}
	}
	c.counts, c.state.aptpl = true, r.aptpl
	return c
}

// remove takes registrations away, and the reservation with its last holder.
func (c *prChange) remove(gone func(registration) bool) {
	s := &c.state
	s.registrations = slices.DeleteFunc(slices.Clone(s.registrations), gone)
	switch {
	case s.kind == 0:
	case s.kind.allHold() && len(s.registrations) > 0:
	case !s.kind.allHold() && s.find(s.holder) >= 0:
	default:
		if s.kind.shared() {
			c.attend(reservationsReleased, s.registrations)
		}
		s.kind, s.holder = 0, itNexus{}
	}
}

// attend adds a unit attention for those who are (or were) registered.
func (c *prChange) attend(what code, to []registration) {
	if len(to) > 0 {
		c.attentions = append(c.attentions, prAttention{what, nexuses(to)})
	}
}

func nexuses(of []registration) []itNexus {
	var ns []itNexus
	for _, r := range of {
		ns = append(ns, r.nexus)
	}
	return ns
}

// reserve is RESERVE (section 5.13.9).
func (s prState) reserve(r *prRequest) prChange {
	if bad := r.typed(); bad.failed() {
		return prChange{bad: bad}
	}
	if s.kind != 0 && (!s.holds(r.from.nexus) || s.kind != r.kind) {
		return prChange{conflict: true}
	}
	s.take(r)
	return prChange{state: s}
}

// take makes the reservation that a request asks for.
func (s *prState) take(r *prRequest) {
	s.kind, s.holder = r.kind, itNexus{}
	if !s.kind.allHold() {
		s.holder = r.from.nexus
	}
}

// release is RELEASE (section 5.13.11.2.2).
func (s prState) release(r *prRequest) prChange {
	c := prChange{state: s}
	if !s.holds(r.from.nexus) {
		c.bad = r.typed()
		return c
	}
	if r.scope != 0 || r.kind != s.kind {
		return prChange{bad: illegal(invalidRelease)}
	}
	if s.kind.shared() {
		c.attend(reservationsReleased, s.registrations)
	}
	c.state.kind, c.state.holder = 0, itNexus{}
	return c
}

// clear is CLEAR (section 5.13.11.2.7).
func (s prState) clear() prChange {
	c := prChange{state: prState{aptpl: s.aptpl}, counts: true}
	c.attend(reservationsPreempted, s.registrations)
	return c
}

// preempt is PREEMPT and PREEMPT AND ABORT (sections 5.13.11.2.4 to 6).
func (s prState) preempt(r *prRequest) prChange {
	everyone := r.newKey == 0
	if everyone && !s.kind.allHold() {
		return prChange{bad: badParameter(atNewKey)}
	}
	takeover := everyone
	if i := s.find(s.holder); s.kind != 0 && !s.kind.allHold() {
		takeover = s.registrations[i].key == r.newKey
	}
	var lost []registration
	for _, x := range s.registrations {
		if everyone || x.key == r.newKey {
			lost = append(lost, x)
		}
	}
	if len(lost) == 0 {
		return prChange{conflict: true}
	}
	c := prChange{state: s, counts: true, preempted: nexuses(lost)}
	if takeover {
		if bad := r.typed(); bad.failed() {
			return prChange{bad: bad}
		}
		c.state.take(r) // the new one goes with nobody who loses his registration
		c.state.registrations = slices.DeleteFunc(slices.Clone(s.registrations), func(x registration) bool {
			return x.nexus != r.from.nexus && slices.Contains(lost, x)
		})
		c.attend(registrationsPreempted, lost)
		if r.kind != s.kind {
			c.attend(reservationsReleased, c.state.registrations)
		}
		return c
	}
	c.attend(registrationsPreempted, lost)
	c.remove(func(x registration) bool { return x.key == r.newKey })
	return c
}

// move is REGISTER AND MOVE (section 5.13.8).
func (s prState) move(r *prRequest) prChange {
	switch {
	case s.kind == 0:
		return prChange{bad: badCDB(1, 4)}
	case s.kind.allHold(), !s.holds(r.from.nexus):
		return prChange{conflict: true}
	case r.newKey == 0:
		return prChange{bad: badParameter(atNewKey)}
	case r.initiators[0] == r.from.nexus.initiator:
		return prChange{bad: badParameter(atMoveID)}
	}
	i := slices.IndexFunc(r.targets, func(p Port) bool { return p.RelativeID == r.port })
	if i < 0 {
		return prChange{bad: badParameter(atPort)}
	}
	to := registration{itNexus{r.initiators[0], r.targets[i].Name}, r.port, r.newKey}
	c := prChange{state: s, counts: true}
	next := slices.DeleteFunc(slices.Clone(s.registrations), func(x registration) bool {
		return r.unregister && x.nexus == r.from.nexus
	})
	if j := slices.IndexFunc(next, func(x registration) bool { return x.nexus == to.nexus }); j >= 0 {
		next[j] = to
	} else {
		next = append(next, to)
	}
	if len(next) > maxRegistrations {
		return prChange{bad: illegal(insufficientRegistration)}
	}
	c.state.registrations, c.state.holder, c.state.aptpl = next, to.nexus, r.aptpl
	return c
}
