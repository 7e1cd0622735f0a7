package scsi

import (
	"slices"
	"sync"
	"sync/atomic"
)

// prType is the type of a persistent reservation (SPC-4 section 6.15.3.4). The
// zero value is none.
type prType byte

const (
	writeExclusive             prType = 1
	exclusiveAccess            prType = 3
	writeExclusiveRegistrants  prType = 5
	exclusiveAccessRegistrants prType = 6
	writeExclusiveAll          prType = 7
	exclusiveAccessAll         prType = 8
)

func (p prType) valid() bool {
	switch p {
	case writeExclusive, exclusiveAccess, writeExclusiveRegistrants, exclusiveAccessRegistrants, writeExclusiveAll, exclusiveAccessAll:
		return true
	}
	return false
}

// exclusive: others may not even read.
func (p prType) exclusive() bool {
	return p == exclusiveAccess || p == exclusiveAccessRegistrants || p == exclusiveAccessAll
}

// shared: all who are registered may do everything.
func (p prType) shared() bool { return p >= writeExclusiveRegistrants }

// allHold: all who are registered hold the reservation.
func (p prType) allHold() bool { return p >= writeExclusiveAll }

// itNexus names an I_T nexus for good, whether or not there is a session: by
// the names of the initiator port and of the target port.
type itNexus struct{ initiator, target string }

// maxRegistrations bounds the registrations with one unit.
const maxRegistrations = 1024

// registration is the key that an I_T nexus has registered, never 0.
type registration struct {
	nexus itNexus
	port  uint16 // relative identifier of the target port
	key   uint64
}

// prState is what the standard calls persistent: who has registered, and who
// holds the reservation. Its slice is never changed, only replaced.
type prState struct {
	registrations []registration // in the order of their coming
	kind          prType
	holder        itNexus // valid if there is a kind, and not all hold it
	aptpl         bool    // survives a loss of power
}

// find returns the place of a registration, -1 for none.
func (s *prState) find(n itNexus) int {
	return slices.IndexFunc(s.registrations, func(r registration) bool { return r.nexus == n })
}

// holds reports whether a nexus holds the reservation (SPC-4 section 5.13.10).
func (s *prState) holds(n itNexus) bool {
	switch {
	case s.kind == 0:
		return false
	case s.kind.allHold():
		return s.find(n) >= 0
	}
	return s.holder == n
}

// reservations are all that restricts who may use a unit.
type reservations struct {
	// guard is what commands are checked against, nil if there is no
	// reservation. It is replaced, never changed.
	guard atomic.Pointer[guard]

	// mu is held for as long as a command changes something here, which
	// includes writing it to the store. It comes after the locks of Device and
	// Nexus, and before those of Unit and of the transport (Aborter).
	mu         sync.Mutex
	state      prState
	generation uint32 // PRGENERATION
	legacy     *Nexus // who has the unit by RESERVE (6) or (10)
	keeper     keeper
}

// guard says who may do what.
type guard struct {
	legacy *Nexus
	kind   prType
	free   map[itNexus]struct{} // who may do everything
}

// publish puts what has changed into force. mu is held.
func (r *reservations) publish() {
	switch {
	case r.legacy != nil:
		r.guard.Store(&guard{legacy: r.legacy})
	case r.state.kind == 0:
		r.guard.Store(nil)
	default:
		g := &guard{kind: r.state.kind, free: make(map[itNexus]struct{})}
		if !g.kind.shared() {
			g.free[r.state.holder] = struct{}{}
		} else {
			for _, x := range r.state.registrations {
				g.free[x.nexus] = struct{}{}
			}
		}
		r.guard.Store(g)
	}
}

// conflicts reports whether reservations keep a nexus from what a command
// needs (SPC-4 table 65, SBC-3 table 13). There may be no guard.
func (g *guard) conflicts(n *Nexus, s sharing) bool {
	switch {
	case g == nil || s == sharedAlways:
		return false
	case g.legacy != nil:
		return g.legacy != n
	case s == sharedReads && !g.kind.exclusive():
		return false
	}
	_, free := g.free[n.id]
	return !free
}

// checkReservation refuses what another's reservation doesn't allow. Run does
// it again, as the data of a write may be long in coming.
func (t *Task) checkReservation() {
	if t.conflicts() {
		t.ended, t.result = true, Result{Status: ReservationConflict}
	}
}

func (t *Task) conflicts() bool {
	if t.path == nil {
		return false
	}
	g := t.path.unit.reservations.guard.Load()
	if g == nil {
		return false
	}
	s := t.command.sharing
	switch {
	case g.legacy != nil && t.passesReserve():
		s = sharedAlways
	case g.legacy != nil:
		s = sharedNever
	case t.command.sharingOf != nil:
		s = t.command.sharingOf(t)
	}
	return g.conflicts(t.nexus, s)
}
