package scsi

import (
	"math/bits"
	"sync"
)

// rangeLocks make some commands atomic against all others on a unit, whoever
// sends them. Those that move blocks share the range that they are about;
// those that must not be seen half done, nor see others half done (COMPARE AND
// WRITE and its like), have it to themselves. Plain reads and writes don't
// exclude each other: what a block holds after two writes at once is either.
//
// The locks are stripes of the medium, so two ranges may exclude each other
// without a block in common. The stripes of a range are locked in ascending
// order, no goroutine takes a second range while it holds one, and
// Unit.beginWrite comes before, so there is no deadlock.
type rangeLocks struct {
	stripes [stripeCount]struct {
		sync.RWMutex
		_ [40]byte // the next stripe has a cache line of its own
	}
}

const (
	stripeSize  = 256 << 10 // bytes, a multiple of every logical block size
	stripeCount = 64        // bits in held.stripes; together they are MaxTransfer
)

// held is a range that is locked; release it once. The zero value holds
// nothing.
type held struct {
	locks     *rangeLocks
	stripes   uint64 // a bit for each one that is locked
	exclusive bool
}

// share locks n bytes from off against exclude. Many may share a range. It
// fails, and holds nothing, if the medium may not be used now: commands that
// have passed their checks are let through here, or not.
func (u *Unit) share(off, n int64) (held, sense) { return u.hold(off, n, false) }

// exclude locks n bytes from off against everyone else. It fails like share.
func (u *Unit) exclude(off, n int64) (held, sense) { return u.hold(off, n, true) }

func (u *Unit) hold(off, n int64, exclusive bool) (held, sense) {
	if bad := u.unready(); bad.failed() { // no need to wait for the lock to find out
		return held{}, bad
	}
	h := u.ranges.lock(off, n, exclusive)
	if bad := u.unready(); bad.failed() {
		h.release()
		return held{}, bad
	}
	return h, sense{}
}

func (l *rangeLocks) lock(off, n int64, exclusive bool) held {
	h := held{locks: l, stripes: stripesOf(off, n), exclusive: exclusive}
	for left := h.stripes; left != 0; left &= left - 1 {
		if s := &l.stripes[bits.TrailingZeros64(left)]; exclusive {
			s.Lock()
		} else {
			s.RLock()
		}
	}
	return h
}

// tryShare is share if that needs no waiting. It fails, and holds nothing, if it
// does, or if the medium may not be used now.
func (u *Unit) tryShare(off, n int64) (held, bool) {
	h, ok := u.ranges.tryShare(off, n)
	if ok && u.unready().failed() {
		h.release()
		return held{}, false
	}
	return h, ok
}

func (l *rangeLocks) tryShare(off, n int64) (held, bool) {
	h := held{locks: l}
	stripes := stripesOf(off, n)
	for left := stripes; left != 0; left &= left - 1 {
		bit := left & -left
		if !l.stripes[bits.TrailingZeros64(bit)].TryRLock() {
			h.release()
			return held{}, false
		}
		h.stripes |= bit
	}
	return h, true
}

// release unlocks the range.
func (h held) release() {
	for left := h.stripes; left != 0; left &= left - 1 {
		if s := &h.locks.stripes[bits.TrailingZeros64(left)]; h.exclusive {
			s.Unlock()
		} else {
			s.RUnlock()
		}
	}
}

// stripesOf returns a bit for each stripe that a range touches.
func stripesOf(off, n int64) uint64 {
	if n <= 0 {
		return 0
	}
	first, last := off/stripeSize, (off+n-1)/stripeSize
	if last-first >= stripeCount-1 {
		return 1<<stripeCount - 1
	}
	run := uint64(1)<<(last-first+1) - 1
	return bits.RotateLeft64(run, int(first%stripeCount))
}
