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
// order, and no goroutine may take a second range while it holds one, so there
// is no deadlock.
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

// held is a range that is locked; release it once.
type held struct {
	locks     *rangeLocks
	stripes   uint64 // a bit for each one that is locked
	exclusive bool
}

// share locks n bytes from off against exclude. Many may share a range.
func (u *Unit) share(off, n int64) held {
	h := held{locks: &u.ranges, stripes: stripesOf(off, n)}
	for left := h.stripes; left != 0; left &= left - 1 {
		h.locks.stripes[bits.TrailingZeros64(left)].RLock()
	}
	return h
}

// exclude locks n bytes from off against everyone else.
func (u *Unit) exclude(off, n int64) held {
	h := held{locks: &u.ranges, stripes: stripesOf(off, n), exclusive: true}
	for left := h.stripes; left != 0; left &= left - 1 {
		h.locks.stripes[bits.TrailingZeros64(left)].Lock()
	}
	return h
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
