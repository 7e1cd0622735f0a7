package scsi

// reserveCommands are RESERVE and RELEASE of SPC-2, which SPC-4 keeps for those
// who don't know persistent reservations. Third parties and extents are
// refused.
func reserveCommands() []command {
	return []command{{
		name:    "RESERVE (6)",
		usage:   []byte{0x16, 0, 0, 0, 0, control},
		sharing: sharedAlways,
		run:     (*Task).reserve,
	}, {
		name:    "RELEASE (6)",
		usage:   []byte{0x17, 0, 0, 0, 0, control},
		sharing: sharedAlways,
		run:     (*Task).release,
	}, {
		name:    "RESERVE (10)",
		usage:   []byte{0x56, 0, 0, 0, 0, 0, 0, 0, 0, control},
		sharing: sharedAlways,
		run:     (*Task).reserve,
	}, {
		name:    "RELEASE (10)",
		usage:   []byte{0x57, 0, 0, 0, 0, 0, 0, 0, 0, control},
		sharing: sharedAlways,
		run:     (*Task).release,
	}}
}

// passesReserve reports whether a command may be used on a unit that another
// nexus has reserved (SPC-2 table 10, SBC-2 table 3).
func (t *Task) passesReserve() bool {
	switch t.cdb[0] {
	case 0x03, 0x12, 0x17, 0x25, 0x4d, 0x57, 0xa0: // REQUEST SENSE, INQUIRY, RELEASE, READ CAPACITY, LOG SENSE, REPORT LUNS
		return true
	case 0x1e: // PREVENT ALLOW MEDIUM REMOVAL that allows
		return t.cdb[4]&3 == 0
	case 0x9e: // READ CAPACITY (16)
		return t.cdb[1]&0x1f == 0x10
	case 0xa3: // REPORT TARGET PORT GROUPS
		return t.cdb[1]&0x1f == 0x0a
	}
	return false
}

// compatible reports whether RESERVE and RELEASE of a nexus do nothing and
// succeed, as it has its rights by a persistent reservation (SPC-4 section
// 5.13.3).
func (s *prState) compatible(n itNexus) bool {
	return s.holds(n) || (s.kind.shared() && s.find(n) >= 0)
}

// reserve serves RESERVE (6, 10), SPC-2 sections 7.21 and 7.22.
func (t *Task) reserve() Result {
	u := t.path.unit
	r := &u.reservations
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.cancelled(), r.legacy != nil && r.legacy != t.nexus:
		return Result{Status: ReservationConflict}
	case r.state.compatible(t.nexus.id), r.legacy == t.nexus:
		return Result{Status: Good}
	case len(r.state.registrations) > 0:
		return Result{Status: ReservationConflict}
	case !u.hasPath(t.path): // nobody would ever release it
		return t.check(illegal(lunNotSupported))
	}
	r.legacy = t.nexus
	r.publish()
	return Result{Status: Good}
}

// release serves RELEASE (6, 10), SPC-2 sections 7.16 and 7.17. Where there is
// nothing of the nexus to release, it succeeds.
func (t *Task) release() Result {
	r := &t.path.unit.reservations
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.cancelled():
		return Result{Status: ReservationConflict}
	case r.legacy == t.nexus:
		r.legacy = nil
		r.publish()
	case r.legacy == nil && len(r.state.registrations) > 0 && !r.state.compatible(t.nexus.id):
		return Result{Status: ReservationConflict}
	}
	return Result{Status: Good}
}

// drop ends the reservation that a nexus has by RESERVE; anyone's for nil.
func (r *reservations) drop(n *Nexus) {
	if g := r.guard.Load(); g == nil || g.legacy == nil || (n != nil && g.legacy != n) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.legacy != nil && (n == nil || r.legacy == n) {
		r.legacy = nil
		r.publish()
	}
}
