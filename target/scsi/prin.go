package scsi

import "encoding/binary"

// persistentCommands are PERSISTENT RESERVE IN and OUT. Who may use which
// service action is a matter of registrations, not of the general check.
func persistentCommands() []command {
	in := func(name string, sa byte, run func(*Task) Result) command {
		return command{
			name:       "PERSISTENT RESERVE IN, " + name,
			usage:      []byte{0x5e, sa, 0, 0, 0, 0, 0, all, all, control},
			direction:  DataIn,
			flags:      action,
			allocation: field{7, 2},
			sharing:    sharedAlways,
			run:        func(t *Task) Result { return t.prIn(run) },
		}
	}
	out := func(name string, sa, kind byte) command {
		return command{
			name:      "PERSISTENT RESERVE OUT, " + name,
			usage:     []byte{0x5f, sa, kind, 0, 0, all, all, all, all, control},
			ignored:   []byte{2: all &^ kind},
			direction: DataOut,
			flags:     action,
			sharing:   sharedAlways,
			want:      (*Task).wantPROut,
			run:       (*Task).prOut,
		}
	}
	return []command{
		in("READ KEYS", 0, (*Task).readKeys),
		in("READ RESERVATION", 1, (*Task).readReservation),
		in("REPORT CAPABILITIES", 2, (*Task).reportCapabilities),
		in("READ FULL STATUS", 3, (*Task).readFullStatus),
		out("REGISTER", prRegister, 0),
		out("RESERVE", prReserve, all),
		out("RELEASE", prRelease, all),
		out("CLEAR", prClear, 0),
		out("PREEMPT", prPreempt, all),
		out("PREEMPT AND ABORT", prPreemptAbort, all),
		out("REGISTER AND IGNORE EXISTING KEY", prRegisterIgnore, 0),
		out("REGISTER AND MOVE", prRegisterMove, 0),
	}
}

// prIn runs a service action of PERSISTENT RESERVE IN. While someone has the
// unit by RESERVE there is nothing but conflict, even for that one (SPC-2
// section 5.5.1).
func (t *Task) prIn(run func(*Task) Result) Result {
	if g := t.path.unit.reservations.guard.Load(); g != nil && g.legacy != nil {
		return Result{Status: ReservationConflict}
	}
	return run(t)
}

// persistent returns a consistent view of who has registered and reserved.
func (t *Task) persistent() (prState, uint32) {
	r := &t.path.unit.reservations
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state, r.generation
}

// prReply returns GOOD with PRGENERATION, the length of the rest, and the rest.
func (t *Task) prReply(generation uint32, rest []byte) Result {
	b := make([]byte, 8, 8+len(rest))
	binary.BigEndian.PutUint32(b, generation)
	binary.BigEndian.PutUint32(b[4:], uint32(len(rest)))
	return t.reply(append(b, rest...))
}

// readKeys serves READ KEYS, SPC-4 section 6.15.2.
func (t *Task) readKeys() Result {
	s, generation := t.persistent()
	b := make([]byte, 0, 8*len(s.registrations))
	for _, r := range s.registrations {
		b = binary.BigEndian.AppendUint64(b, r.key)
	}
	return t.prReply(generation, b)
}

// readReservation serves READ RESERVATION, SPC-4 section 6.15.3.
func (t *Task) readReservation() Result {
	s, generation := t.persistent()
	if s.kind == 0 {
		return t.prReply(generation, nil)
	}
	b := make([]byte, 16)
	if i := s.find(s.holder); !s.kind.allHold() && i >= 0 {
		binary.BigEndian.PutUint64(b, s.registrations[i].key)
	}
	b[13] = byte(s.kind)
	return t.prReply(generation, b)
}

// reportCapabilities serves REPORT CAPABILITIES, SPC-4 section 6.15.4.
func (t *Task) reportCapabilities() Result {
	s, _ := t.persistent()
	b := []byte{
		0, 8,
		0x1c,        // CRH, SIP_C, ATP_C
		0x80 | 0x40, // TMV; ALLOW COMMANDS: all that SPC-4 lets others use, they may
		0xea, 0x01,  // all types there are
		0, 0,
	}
	if t.path.unit.reservations.keeper.store != nil {
		b[2] |= 0x01 // PTPL_C
	}
	if s.aptpl {
		b[3] |= 0x01 // PTPL_A
	}
	return t.reply(b)
}

// readFullStatus serves READ FULL STATUS, SPC-4 section 6.15.5. Each nexus has
// a descriptor of its own, so ALL_TG_PT is never set.
func (t *Task) readFullStatus() Result {
	s, generation := t.persistent()
	var b []byte
	for _, r := range s.registrations {
		at := len(b)
		b = binary.BigEndian.AppendUint64(b, r.key)
		b = append(b, make([]byte, 16)...)
		if s.holds(r.nexus) {
			b[at+12] = 0x01 // R_HOLDER
			b[at+13] = byte(s.kind)
		}
		binary.BigEndian.PutUint16(b[at+18:], r.port)
		b = appendTransportID(b, r.nexus.initiator)
		binary.BigEndian.PutUint32(b[at+20:], uint32(len(b)-at-24))
	}
	return t.prReply(generation, b)
}
