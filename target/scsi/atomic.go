package scsi

// maxCompare is how much COMPARE AND WRITE compares, in bytes. VPD page B0
// tells it. It is small enough that the transport notices data-out of more
// than twice that.
const maxCompare = 32 << 10

// wantCompare: what is compared, and what is written.
func (t *Task) wantCompare() int {
	if t.blocks > maxCompare/uint64(t.info.LogicalBlock) {
		return 0
	}
	return 2 * t.wantBlocks()
}

// compareAndWrite serves COMPARE AND WRITE (SBC-3 section 5.3). No other
// command on the unit comes between the two, whichever nexus it is of.
func (t *Task) compareAndWrite() Result {
	switch {
	case t.want == 0 && (t.blocks > 0 || len(t.out) > 0): // too many, or none, but data for some
		return t.check(badCDB(13, noBit))
	case t.blocks == 0:
		return Result{Status: Good}
	case len(t.out) != t.want: // data of which one half is not the other's
		return t.check(illegal(invalidFieldInIU))
	}
	u := t.path.unit
	off, n := t.bytes()
	is := make([]byte, n)
	if _, err := u.dev.ReadAt(is, off); err != nil {
		return t.done(err, reading)
	}
	if i := firstDifference(is, t.out); i >= 0 {
		return t.check(sense{key: miscompare, code: miscompareDuringVerify, info: uint64(i), hasInfo: true})
	}
	return t.writeThrough(t.out[n:], off)
}

// writeThrough writes what the command brings, and flushes if it has FUA set.
func (t *Task) writeThrough(data []byte, off int64) Result {
	u := t.path.unit
	if _, err := u.dev.WriteAt(data, off); err != nil {
		return t.done(err, writing)
	}
	if t.fua() {
		return t.done(u.flush(t.info), writing)
	}
	return Result{Status: Good}
}

// orWrite serves ORWRITE (16), SBC-3 section 5.9: the blocks become what they
// were or what is sent, bit by bit, and no other command comes between. If
// less is sent than the command is about, nothing is done.
func (t *Task) orWrite() Result {
	switch {
	case t.want == 0:
		return Result{Status: Good}
	case len(t.out) < t.want:
		return t.check(illegal(invalidFieldInIU))
	}
	off, n := t.bytes()
	buf := make([]byte, min(n, scratch))
	for at := int64(0); at < n; at += int64(len(buf)) {
		buf = buf[:min(n-at, scratch)]
		if _, err := t.path.unit.dev.ReadAt(buf, off+at); err != nil {
			return t.done(err, reading)
		}
		for i, b := range t.out[at : at+int64(len(buf))] {
			buf[i] |= b
		}
		if _, err := t.path.unit.dev.WriteAt(buf, off+at); err != nil {
			return t.done(err, writing)
		}
	}
	if t.fua() {
		return t.done(t.path.unit.flush(t.info), writing)
	}
	return Result{Status: Good}
}

// maxAtomic is how much WRITE ATOMIC writes, in bytes; 0 if not even a block.
//
// That other commands see all of it or nothing, the range locks see to. But it
// must also be there as a whole or not at all after a power cut, and that only
// the device can promise: its physical block, mostly.
func (t *Task) maxAtomic() int {
	n := min(t.info.AtomicWrite, MaxTransfer)
	return n - n%t.info.LogicalBlock
}

func (t *Task) wantAtomic() int {
	if _, n := t.bytes(); n <= int64(t.maxAtomic()) {
		return int(n)
	}
	return 0
}

// writeAtomic serves WRITE ATOMIC (16), SBC-4 section 5.49. VPD page B0 says
// that there are no atomic boundaries, and how long and where a write may be.
func (t *Task) writeAtomic() Result {
	off, n := t.bytes()
	switch boundary := (field{10, 2}); {
	case boundary.read(t.cdb) != 0:
		return t.check(badCDB(boundary.at, noBit))
	case n == 0:
		return Result{Status: Good}
	case t.want == 0:
		return t.check(badCDB(t.command.count.at, noBit))
	case off%int64(t.info.AtomicAlign) != 0:
		return t.check(badCDB(2, noBit))
	case len(t.out) < t.want:
		return t.check(illegal(invalidFieldInIU))
	}
	return t.writeThrough(t.out[:t.want], off)
}
