package scsi

import "sync/atomic"

const (
	initializingRequired   code = 0x0402
	mediumMayHaveChanged   code = 0x2800
	mediumNotPresent       code = 0x3a00
	trayOpen               code = 0x3a02
	mediumRemovalPrevented code = 0x5302
)

// medium is the state of a unit's medium.
type mediumState uint32

const (
	started mediumState = iota
	stopped             // by START STOP UNIT; of units that aren't removable only
	ejected             // of removable units only
)

// mediumCommands have to do with the medium being there.
func mediumCommands() []command {
	return []command{{
		name:  "START STOP UNIT",
		usage: []byte{0x1b, 0x01, 0, 0, 0xf7, control},
		types: anyType,
		sharingOf: func(t *Task) sharing {
			return sharedIf(t.cdb[4]&0xf1 == ssuStart)
		},
		run: (*Task).startStop,
	}, {
		name:  "PREVENT ALLOW MEDIUM REMOVAL",
		usage: []byte{0x1e, 0, 0, 0, 0x01, control},
		types: anyType,
		flags: removableOnly,
		sharingOf: func(t *Task) sharing {
			return sharedIf(t.cdb[4] == 0)
		},
		run: (*Task).preventAllow,
	}}
}

// sharedIf is for commands that a reservation matters to by what they do.
func sharedIf(harmless bool) sharing {
	if harmless {
		return sharedAlways
	}
	return sharedNever
}

// mediumStatus returns why the medium can't be used now; noAdditionalSense if
// it can.
func (u *Unit) mediumStatus() code {
	switch mediumState(u.medium.Load()) {
	case stopped:
		return initializingRequired
	case ejected:
		if u.o.Disc {
			return trayOpen
		}
		return mediumNotPresent
	}
	return noAdditionalSense
}

// checkReady refuses medium access where there is no medium, or it doesn't
// turn.
func (t *Task) checkReady() {
	if t.path == nil || t.command.flags&(medium|extent|writes) == 0 {
		return
	}
	if c := t.path.unit.mediumStatus(); c != noAdditionalSense {
		t.fail(sense{key: notReady, code: c})
	}
}

const (
	ssuStart = 0x01
	ssuLoEj  = 0x02
)

// startStop serves START STOP UNIT (SBC-3 section 5.25). It is done when it
// returns, even with IMMED, and flushes before it stops, even with NO_FLUSH.
//
// With a POWER CONDITION, the rest of the byte means nothing. A unit is as
// ready in one as in another, so there is nothing to do.
//
// A removable unit starts by itself when it is used, like the drives of MMC, so
// to stop it only flushes.
func (t *Task) startStop() Result {
	if t.cdb[4]>>4 != 0 {
		return Result{Status: Good}
	}
	u := t.path.unit
	start, loej := t.cdb[4]&ssuStart != 0, t.cdb[4]&ssuLoEj != 0
	if loej && !u.o.Removable {
		return t.check(badCDB(4, 1))
	}
	u.selecting.Lock()
	defer u.selecting.Unlock()
	now := mediumState(u.medium.Load())
	switch {
	case start && now == ejected && !loej:
		return t.check(sense{key: notReady, code: u.mediumStatus()})
	case now == ejected && loej && u.prevented(): // the door is locked
		return t.check(illegal(mediumRemovalPrevented))
	case start:
		u.load(t.nexus)
		return Result{Status: Good}
	case now == ejected:
		return Result{Status: Good}
	case loej && u.prevented():
		return t.check(illegal(mediumRemovalPrevented))
	}
	if err := u.flush(t.info); err != nil {
		return t.done(err, writing)
	}
	switch {
	case loej:
		u.medium.Store(uint32(ejected))
		u.event(mediaRemoval)
	case !u.o.Removable:
		u.medium.Store(uint32(stopped))
	}
	return Result{Status: Good}
}

// Load puts an ejected medium back, and starts the unit, as somebody at the
// drive would: initiators may leave it ejected when they are done. It does
// nothing if the medium is there and started.
func (u *Unit) Load() {
	u.selecting.Lock()
	defer u.selecting.Unlock()
	u.load(nil)
}

// load has the medium there and started. by, which may be nil, is who knows.
// u.selecting is held.
func (u *Unit) load(by *Nexus) {
	if mediumState(u.medium.Swap(uint32(started))) == ejected {
		u.event(newMedia)
		u.attention(mediumMayHaveChanged, by)
	}
}

// preventAllow serves PREVENT ALLOW MEDIUM REMOVAL (SBC-3 section 5.7). Each
// nexus prevents for itself, until it ends or the unit is reset.
func (t *Task) preventAllow() Result {
	t.path.prevents.Store(t.cdb[4]&1 != 0)
	return Result{Status: Good}
}

// prevented reports whether a nexus wants the medium to stay.
func (u *Unit) prevented() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p := range u.paths {
		if p.prevents.Load() {
			return true
		}
	}
	return false
}

// allowRemoval forgets that nexuses that match prevent.
func (u *Unit) allowRemoval(match func(*Nexus) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p := range u.paths {
		if match(p.nexus) {
			p.prevents.Store(false)
		}
	}
}

// start is what a reset does to a stopped unit; an ejected medium stays out.
func (u *Unit) start() { u.medium.CompareAndSwap(uint32(stopped), uint32(started)) }

// prevention is the part of a path that PREVENT ALLOW MEDIUM REMOVAL sets.
type prevention struct{ prevents atomic.Bool }
