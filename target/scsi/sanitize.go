package scsi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"sanstick/target/block"
)

// sanitizing is a sanitize operation (SBC-3 section 4.11): one that runs, or
// one that has failed. It belongs to the unit, not to the command: neither an
// abort nor a reset ends it, only Unit.Close does. A failure is remembered as
// long as the unit is open.
type sanitizing struct {
	unrestricted bool          // AUSE: EXIT FAILURE MODE may end a failure
	progress     atomic.Uint32 // in 1/65536
	failed       atomic.Bool
	done         chan struct{} // closed at its end, good or bad
}

// What a sanitize operation writes at once, and what it locks at a time, in
// bytes.
const (
	sanitizePiece = 1 << 20
	sanitizeChunk = 16 << 20
)

var errStopped = errors.New("the unit is being closed")

const (
	sanitizeInProgress code = 0x041b
	sanitizeFailed     code = 0x3103
)

// unready says why the medium can't be used; nothing if it can.
func (u *Unit) unready() sense {
	s := u.sanitizing.Load()
	switch {
	case s == nil:
		return sense{}
	case s.failed.Load():
		return sense{key: mediumError, code: sanitizeFailed}
	}
	return sense{key: notReady, code: sanitizeInProgress, where: inTime, byte: uint16(s.progress.Load())}
}

// checkSanitizing refuses what needs the medium while that is being sanitized,
// and after it has failed to be. The commands that pass a unit attention need
// none.
func (t *Task) checkSanitizing() {
	f := t.command.flags
	if t.path == nil || f&passAttention != 0 {
		return
	}
	s := t.path.unit.unready()
	if s.failed() && (s.code != sanitizeFailed || f&repairs == 0) {
		t.fail(s)
	}
}

// wantOverwrite: a parameter list of a length that isn't allowed is refused
// without looking at it.
func (t *Task) wantOverwrite() int {
	if n := int(field{7, 2}.read(t.cdb)); n >= 5 && n <= t.info.LogicalBlock+4 {
		return n
	}
	return 0
}

// sanitizeOverwrite serves SANITIZE with service action OVERWRITE (SBC-3
// section 5.21.2.2). It writes every block, also of a thin unit, which needs
// the space for that.
func (t *Task) sanitizeOverwrite() Result {
	switch {
	case t.want == 0:
		return t.check(badCDB(7, noBit))
	case len(t.out) < t.want:
		return t.check(illegal(parameterListLength))
	}
	o, bad := decodeOverwrite(t.out[:t.want], t.info.LogicalBlock)
	if bad.failed() {
		return t.check(bad)
	}
	u := t.path.unit
	return t.sanitize(o.passes, func(pass int, off, n int64) error { return u.fill(o.piece(pass), off, n) })
}

// fill writes n bytes from off with a piece again and again.
func (u *Unit) fill(piece []byte, off, n int64) error {
	for end := off + n; off < end; off += int64(len(piece)) {
		if _, err := u.dev.WriteAt(piece[:min(int64(len(piece)), end-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// overwrite is the parameter list of OVERWRITE.
type overwrite struct {
	passes int
	invert bool   // after each pass
	block  []byte // what a block is filled with

	filled []byte // a piece of it
	parity int
}

// decodeOverwrite reads a parameter list for blocks of size bytes.
func decodeOverwrite(list []byte, size int) (*overwrite, sense) {
	if len(list) < 5 {
		return nil, illegal(parameterListLength)
	}
	n := int(binary.BigEndian.Uint16(list[2:]))
	switch {
	case list[0]&0x60 != 0: // TEST
		return nil, badParameter(0)
	case list[0]&0x1f == 0: // OVERWRITE COUNT
		return nil, badParameter(0)
	case list[1] != 0:
		return nil, badParameter(1)
	case n == 0 || n > size || n > len(list)-4:
		return nil, badParameter(2)
	}
	o := &overwrite{passes: int(list[0] & 0x1f), invert: list[0]&0x80 != 0}
	pattern := list[4 : 4+n]
	o.block = bytes.Repeat(pattern, size/n+1)[:size]
	return o, sense{}
}

// piece returns what a pass writes: sanitizePiece bytes.
func (o *overwrite) piece(pass int) []byte {
	if o.filled == nil {
		o.filled = bytes.Repeat(o.block, sanitizePiece/len(o.block))
	}
	if parity := pass & 1; o.invert && o.parity != parity {
		for i := range o.filled {
			o.filled[i] ^= 0xff
		}
		o.parity = parity
	}
	return o.filled
}

// sanitizeErase serves SANITIZE with service action BLOCK ERASE (SBC-3 section
// 5.21.2.3), of thin units. What holds data is written with zeroes, so that it
// is gone from what is below, too, and then unmapped. Where unmapped blocks may
// read as something else the zeroes stay.
func (t *Task) sanitizeErase() Result {
	u := t.path.unit
	zeroes := make([]byte, sanitizePiece)
	return t.sanitize(1, func(_ int, off, n int64) error { return u.erase(zeroes, off, n, t.info) })
}

func (u *Unit) erase(zeroes []byte, off, n int64, i block.Info) error {
	if !i.ReadsZero {
		return u.fill(zeroes, off, n)
	}
	used := false
	for at := off; at < off+n; {
		mapped, run, err := u.mapped(at, off+n-at)
		if err == nil && mapped {
			used = true
			err = u.fill(zeroes, at, run)
		}
		if err != nil {
			return err
		}
		at += run
	}
	if !used {
		return nil
	}
	if err := u.flush(i); err != nil { // unmapping would forget what is only cached
		return err
	}
	return u.dev.Unmap(off, n)
}

// sanitizeExit serves SANITIZE with service action EXIT FAILURE MODE (SBC-3
// section 5.21.2.5).
func (t *Task) sanitizeExit() Result {
	u := t.path.unit
	s := u.sanitizing.Load()
	switch {
	case s == nil:
	case !s.failed.Load():
		return t.check(u.unready())
	case !s.unrestricted:
		return t.check(badCDB(1, 4))
	default:
		u.sanitizing.CompareAndSwap(s, nil)
	}
	return Result{Status: Good}
}

// sanitize starts an operation of so many passes over the medium, and waits
// for its end unless the CDB says IMMED.
func (t *Task) sanitize(passes int, write func(pass int, off, n int64) error) Result {
	u := t.path.unit
	if c := u.protection(t.info); c != noAdditionalSense {
		return t.check(sense{key: dataProtect, code: c})
	}
	if u.full.Load() {
		return t.check(noSpace)
	}
	s := &sanitizing{unrestricted: t.cdb[1]&sanitizeUnrestricted != 0, done: make(chan struct{})}
	old := u.sanitizing.Load()
	if (old != nil && !old.failed.Load()) || !u.sanitizing.CompareAndSwap(old, s) {
		return t.check(sense{key: notReady, code: sanitizeInProgress, where: inTime})
	}
	u.background.Go(func() {
		defer close(s.done)
		if err := u.sanitize(s, passes, write); err != nil {
			s.failed.Store(true)
			return
		}
		u.sanitizing.CompareAndSwap(s, nil)
	})
	if t.cdb[1]&sanitizeImmediate != 0 {
		return Result{Status: Good}
	}
	select {
	case <-s.done:
	case <-t.cancel(): // the operation goes on
		return t.check(u.unready())
	}
	if s.failed.Load() {
		return t.check(sense{key: mediumError, code: sanitizeFailed})
	}
	return Result{Status: Good}
}

// sanitize makes the passes, each of them flushed. Commands that had got hold
// of a chunk before the operation began are waited for when it comes to that
// chunk; nobody gets hold of one any more.
func (u *Unit) sanitize(s *sanitizing, passes int, write func(pass int, off, n int64) error) error {
	for pass := range passes {
		size := u.dev.Info().Size
		for off := int64(0); off < size; off += sanitizeChunk {
			select {
			case <-u.stopped:
				return errStopped
			default:
			}
			s.progress.Store(uint32((float64(pass) + float64(off)/float64(size)) / float64(passes) * 65535))
			if err := u.sanitizeChunk(pass, off, min(sanitizeChunk, size-off), write); err != nil {
				return err
			}
			size = u.dev.Info().Size
		}
		if err := u.flush(u.dev.Info()); err != nil {
			return err
		}
	}
	return nil
}

func (u *Unit) sanitizeChunk(pass int, off, n int64, write func(pass int, off, n int64) error) error {
	if u.beginWrite(u.dev.Info()) != noAdditionalSense {
		return block.ErrReadOnly
	}
	defer u.endWrite()
	if u.full.Load() {
		return block.ErrNoSpace
	}
	defer u.ranges.lock(off, n, true).release()
	return write(pass, off, n)
}
