package scsi

import (
	"bytes"

	"sanstick/target/block"
)

// fua reports whether the CDB wants the data on stable storage: FUA, or the
// weaker FUA_NV of SBC-2. DPO (0x10) is advice about a cache that a unit
// doesn't have.
func (t *Task) fua() bool { return len(t.command.usage) > 6 && t.cdb[1]&0x0a != 0 }

func (t *Task) wantBlocks() int {
	_, n := t.bytes()
	return int(n)
}

// read serves READ (6, 10, 12, 16), SBC-3 section 5.8 and following.
func (t *Task) read() Result {
	if t.blocks == 0 {
		return Result{Status: Good}
	}
	u := t.path.unit
	if t.fua() { // a later power cut must not take back what this read shows
		if err := u.flush(t.info); err != nil {
			return t.done(err, writing)
		}
	}
	off, _ := t.bytes()
	if _, err := u.dev.ReadAt(t.in, off); err != nil {
		return t.done(err, reading)
	}
	return Result{Status: Good, Data: t.in}
}

// blocksSent cuts the data-out to what the command is about. If the initiator
// has sent less, but whole blocks, those are what the command is done with. A
// part of a block can't be written: nothing is then.
func (t *Task) blocksSent() ([]byte, sense) {
	data := t.out[:min(len(t.out), t.want)]
	if len(data)%t.info.LogicalBlock != 0 {
		return nil, illegal(invalidFieldInIU)
	}
	return data, sense{}
}

// write serves WRITE (6, 10, 12, 16), SBC-3 section 5.32 and following.
func (t *Task) write() Result {
	data, bad := t.blocksSent()
	if bad.failed() {
		return t.check(bad)
	}
	u := t.path.unit
	if len(data) > 0 {
		off, _ := t.bytes()
		if f, ok := u.dev.(block.ForceWriter); ok && t.fua() && t.info.WriteCache {
			_, err := f.WriteForced(data, off)
			return t.done(err, writing)
		}
		if _, err := u.dev.WriteAt(data, off); err != nil {
			return t.done(err, writing)
		}
	}
	if t.fua() {
		return t.done(u.flush(t.info), writing)
	}
	return Result{Status: Good}
}

// synchronizeCache serves SYNCHRONIZE CACHE (10, 16), SBC-3 section 5.22. It
// flushes all there is, which includes the range asked for, and returns when
// that is done even with IMMED.
func (t *Task) synchronizeCache() Result {
	return t.done(t.path.unit.flush(t.info), writing)
}

// Values of the BYTCHK field of VERIFY.
const (
	checkMedium = 0 // only that the blocks can be read
	checkBytes  = 1 // against as many blocks of data-out
	checkSame   = 3 // each against one block of data-out
)

func (t *Task) bytchk() byte { return t.cdb[1] >> 1 & 3 }

func (t *Task) wantVerify() int {
	switch {
	case t.bytchk() == checkMedium || t.blocks == 0:
		return 0
	case t.bytchk() == checkSame:
		return t.info.LogicalBlock
	}
	return t.wantBlocks()
}

// verify serves VERIFY (10, 12, 16), SBC-3 section 5.29 and following. What is
// not yet on stable storage is put there first: the medium is what is asked
// about.
func (t *Task) verify() Result {
	mode := t.bytchk()
	if mode == 2 {
		return t.check(badCDB(1, 2))
	}
	want, bad := t.blocksSent()
	if bad.failed() {
		return t.check(bad)
	}
	off, n := t.bytes()
	switch {
	case mode != checkMedium && len(want) < t.want: // GOOD would say that all was compared
		return t.check(illegal(invalidFieldInIU))
	case mode == checkBytes:
		n = int64(len(want))
	}
	if n == 0 {
		return Result{Status: Good}
	}
	u := t.path.unit
	if err := u.flush(t.info); err != nil {
		return t.done(err, writing)
	}
	buf := make([]byte, min(n, scratch))
	for at := int64(0); at < n; at += int64(len(buf)) {
		buf = buf[:min(n-at, scratch)]
		if _, err := u.dev.ReadAt(buf, off+at); err != nil {
			return t.done(err, reading)
		}
		i := -1
		switch mode {
		case checkBytes:
			i = firstDifference(buf, want[at:])
		case checkSame:
			i = firstOther(buf, want)
		}
		if i >= 0 {
			return t.check(sense{key: miscompare, code: miscompareDuringVerify,
				info: uint64(at) + uint64(i), hasInfo: true})
		}
	}
	return Result{Status: Good}
}

// scratch is how many bytes VERIFY reads and WRITE SAME writes at once: a
// multiple of every block size, and small, because no budget counts it.
const scratch = 128 << 10

// firstDifference returns where b first differs from the beginning of want,
// -1 if it doesn't. It halves what is left until one byte is, as comparing
// whole slices is far quicker than byte by byte.
func firstDifference(b, want []byte) int {
	want = want[:len(b)]
	if bytes.Equal(b, want) {
		return -1
	}
	at := 0
	for len(b) > 1 {
		half := len(b) / 2
		if bytes.Equal(b[:half], want[:half]) {
			at += half
			b, want = b[half:], want[half:]
		} else {
			b, want = b[:half], want[:half]
		}
	}
	return at
}

// firstOther is firstDifference with want repeated.
func firstOther(b, want []byte) int {
	for at := 0; at < len(b); at += len(want) {
		if i := firstDifference(b[at:at+len(want)], want); i >= 0 {
			return at + i
		}
	}
	return -1
}

// maxSame bounds the bytes that one WRITE SAME covers, so that it ends in
// reasonable time on a disk that has to write them. VPD page B0 tells it. What
// WRITE can't do at once WRITE SAME can't either: there are initiators that
// take the larger of the two limits for both.
const maxSame = MaxTransfer

const (
	sameNDOB  = 0x01 // no data-out, write zeroes; WRITE SAME (16) only
	sameUnmap = 0x08
)

func (t *Task) wantSame() int {
	if t.cdb[1]&sameNDOB != 0 {
		return 0
	}
	return t.info.LogicalBlock
}

// writeSame serves WRITE SAME (10, 16), SBC-3 section 5.42 and following. With
// UNMAP it still promises that the blocks read as the block sent, so only
// zeroes may end up unmapped, which WriteZeroes sees to by itself.
func (t *Task) writeSame() Result {
	_, count := t.command.extent()
	switch {
	case t.cdb[1]&sameUnmap != 0 && !t.path.unit.thin():
		return t.check(badCDB(1, 3))
	case t.blocks == 0 || t.blocks > maxSame/uint64(t.info.LogicalBlock): // VPD page B0 says WSNZ
		return t.check(badCDB(count.at, noBit))
	case len(t.out) != t.want:
		return t.check(illegal(invalidFieldInIU))
	}
	off, n := t.bytes()
	dev := t.path.unit.dev
	if zero(t.out) {
		return t.done(dev.WriteZeroes(off, n), writing)
	}
	buf := bytes.Repeat(t.out, int(min(n, scratch))/len(t.out))
	for at := int64(0); at < n; at += int64(len(buf)) {
		buf = buf[:min(n-at, scratch)]
		if _, err := dev.WriteAt(buf, off+at); err != nil {
			return t.done(err, writing)
		}
	}
	return Result{Status: Good}
}

// sameFrees: with UNMAP, whole units of zeroes end up unmapped.
func (t *Task) sameFrees() bool {
	off, n := t.bytes()
	unit := max(t.info.UnmapGranularity, 1)
	return t.cdb[1]&sameUnmap != 0 && t.info.ReadsZero && off%unit == 0 && n%unit == 0 && zero(t.out)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
