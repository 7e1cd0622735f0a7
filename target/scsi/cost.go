package scsi

import "math"

// Cost returns how many bytes of a medium the command reads or writes, given
// its data-out, for those who bound what is moved. counts is false for commands
// that have nothing to do with the medium, and for those that have failed
// already.
func (t *Task) Cost(out []byte) (bytes int64, counts bool) {
	switch {
	case t.ended || t.path == nil:
		return 0, false
	case t.command.copies:
		l, bad := decodeCopyList(out)
		if bad.failed() {
			return 0, false
		}
		return l.bytes(), true
	case t.command.flags&(extent|writes) == 0:
		return 0, false
	case t.command.flags&(transfers|writes) == 0:
		return 0, true
	}
	_, n := t.bytes()
	return n, true
}

// bytes returns how much a copy moves, if it can be done.
func (l *copyList) bytes() int64 {
	var n uint64
	for _, s := range l.segments {
		end := s.source
		if s.byDestination {
			end = s.destination
		}
		if int(end) < len(l.targets) {
			n += min(s.blocks, math.MaxInt32) * uint64(l.targets[end].block)
		}
	}
	return int64(min(n, math.MaxInt64))
}
