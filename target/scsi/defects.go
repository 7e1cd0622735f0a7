package scsi

// writeAndVerify serves WRITE AND VERIFY (10, 12, 16), SBC-3 section 5.38 and
// following. What is verified is what has come to stable storage. It is always
// compared, as it costs nothing more: with BYTCHK a difference is the
// initiator's MISCOMPARE, without it the medium's error.
func (t *Task) writeAndVerify() Result {
	data, bad := t.blocksSent()
	if bad.failed() {
		return t.check(bad)
	}
	if len(data) == 0 {
		return Result{Status: Good}
	}
	u := t.path.unit
	off, _ := t.bytes()
	if _, err := u.dev.WriteAt(data, off); err != nil {
		return t.done(err, writing)
	}
	if err := u.flush(t.info); err != nil {
		return t.done(err, writing)
	}
	buf := make([]byte, min(len(data), scratch))
	for at := 0; at < len(data); at += len(buf) {
		buf = buf[:min(len(data)-at, scratch)]
		if _, err := u.dev.ReadAt(buf, off+int64(at)); err != nil {
			return t.done(err, reading)
		}
		switch i := firstDifference(buf, data[at:]); {
		case i < 0:
		case t.bytchk() == checkBytes:
			return t.check(sense{key: miscompare, code: miscompareDuringVerify, info: uint64(at + i), hasInfo: true})
		default:
			return t.check(sense{key: mediumError, code: writeError})
		}
	}
	return Result{Status: Good}
}

// maxPrefetch is how much PRE-FETCH reads, in bytes. VPD page B0 tells it.
const maxPrefetch = MaxTransfer

// prefetch serves PRE-FETCH (10, 16), SBC-3 section 5.12. It reads the blocks,
// so that what caches there are below can keep them. As the unit has none of
// its own it never promises by CONDITION MET that they do. A count of zero
// stands for all blocks to the end, of which it reads the first.
func (t *Task) prefetch() Result {
	_, count := t.command.extent()
	off, n := t.bytes()
	if n > maxPrefetch {
		return t.check(badCDB(count.at, noBit))
	}
	if t.blocks == 0 {
		n = min(maxPrefetch, t.info.Size-t.info.Size%int64(t.info.LogicalBlock)-off)
	}
	buf := make([]byte, min(n, scratch))
	for at := int64(0); at < n; at += int64(len(buf)) {
		buf = buf[:min(n-at, scratch)]
		if _, err := t.path.unit.dev.ReadAt(buf, off+at); err != nil {
			return t.done(err, reading)
		}
	}
	return Result{Status: Good}
}

// readDefects10 serves READ DEFECT DATA (10), SBC-3 section 5.17: there are
// lists of the format asked for, and nothing in them.
func (t *Task) readDefects10() Result {
	flags := t.cdb[2]
	if bad := checkDefectFormat(flags, 2); bad.failed() {
		return t.check(bad)
	}
	return t.reply([]byte{0, flags, 0, 0})
}

// readDefects12 serves READ DEFECT DATA (12), SBC-3 section 5.18. Whichever
// descriptor of an empty list is the first to be returned, none is.
func (t *Task) readDefects12() Result {
	flags := t.cdb[1]
	if bad := checkDefectFormat(flags, 1); bad.failed() {
		return t.check(bad)
	}
	b := make([]byte, 8)
	b[1] = flags
	return t.reply(b)
}

// checkDefectFormat refuses address descriptor formats that SBC-3 table 58
// doesn't define. flags are REQ_PLIST, REQ_GLIST and the format, and come back
// as PLISTV, GLISTV and the format.
func checkDefectFormat(flags byte, at int) sense {
	if flags&7 > 5 {
		return badCDB(at, 2)
	}
	return sense{}
}
