package scsi

import (
	"errors"

	"sanstick/target/block"
)

const (
	modeParametersChanged  code = 0x2a01
	softwareWriteProtected code = 0x2702
)

// modeBits are those of Unit.mode that are modes. The others count resets.
const modeBits = 0xff

func (u *Unit) modes() modes { return modes(u.mode.Load() & modeBits) }

// setModes changes the modes, unless there was a reset since word was read from
// Unit.mode. It returns what is in Unit.mode then.
func (u *Unit) setModes(word uint32, m modes) uint32 {
	next := word&^modeBits | uint32(m)
	u.mode.CompareAndSwap(word, next)
	return next
}

// SetReadOnly has the unit refuse writes, or take them again if its device
// does. It returns when no write is running any more. Every initiator is told
// by a unit attention.
func (u *Unit) SetReadOnly(readOnly bool) error {
	if !u.enter() {
		return errors.New("cannot change a logical unit: it is closed")
	}
	defer u.leave()
	i := u.dev.Info()
	if !readOnly && (u.types() != disk || (u.o.Thin && !i.CanUnmap)) {
		return errors.New("cannot make a logical unit writable: its device can't do what it offers")
	}
	if u.readOnly.Swap(readOnly) == readOnly {
		return nil
	}
	if readOnly {
		u.waitForWrites()
	}
	u.attention(modeParametersChanged, nil) // WP is in the mode parameter header
	return nil
}

// protection returns why the medium may not be changed; noAdditionalSense if
// it may.
func (u *Unit) protection(i block.Info) code {
	switch {
	case u.readOnly.Load() || i.ReadOnly:
		return writeProtected
	case u.modes()&softwareProtect != 0:
		return softwareWriteProtected
	}
	return noAdditionalSense
}

// beginWrite lets a command change the medium until endWrite, unless there is
// a reason against it, which it returns. Whoever sets such a reason and then
// calls waitForWrites knows that nothing changes the medium any more.
func (u *Unit) beginWrite(i block.Info) code {
	u.writing.RLock()
	c := u.protection(i)
	if c != noAdditionalSense {
		u.writing.RUnlock()
	}
	return c
}

func (u *Unit) endWrite() { u.writing.RUnlock() }

func (u *Unit) waitForWrites() {
	u.writing.Lock()
	defer u.writing.Unlock()
}

// settle is what a command does after it has written and before its GOOD: it
// puts the data on stable storage if an initiator wants no write cache.
func (u *Unit) settle(i block.Info) error {
	if u.modes()&writeThrough == 0 {
		return nil
	}
	return u.flush(i)
}

// mayWrite is how a task with the flag writes goes about it; the caller calls
// endWrite if there is no failure.
func (t *Task) mayWrite() sense {
	if c := t.path.unit.beginWrite(t.info); c != noAdditionalSense {
		return sense{key: dataProtect, code: c}
	}
	if t.wantsSpace() {
		t.path.unit.endWrite()
		return noSpace
	}
	return sense{}
}

// runCommand does the command, and what follows from the unit's modes.
func (t *Task) runCommand() Result {
	if t.command.flags&writes == 0 {
		r := t.runLocked()
		t.count(r)
		return r
	}
	if bad := t.mayWrite(); bad.failed() {
		return t.check(bad)
	}
	defer t.path.unit.endWrite()
	r := t.runLocked()
	if r.Status == Good {
		if err := t.path.unit.settle(t.info); err != nil {
			r = t.done(err, writing)
		}
	}
	t.count(r)
	return r
}
