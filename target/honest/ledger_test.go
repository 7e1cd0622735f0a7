package honest

import (
	"bytes"
	"slices"
)

// sector is what a disk writes as a whole or not at all, in bytes.
const sector = 512

// ledger is what a unit must hold if the power goes now: each sector has what
// was last promised, or something that was sent since.
type ledger struct {
	promised []byte
	nothing  map[int64]bool     // sectors of which nothing is promised
	since    map[int64][][]byte // what was sent for a sector since; nil = anything
}

func newLedger(holds []byte) *ledger {
	return &ledger{promised: holds, nothing: make(map[int64]bool), since: make(map[int64][][]byte)}
}

// change is what a command does to a unit: it writes data, or, without, leaves
// n bytes as nobody knows what.
type change struct {
	off  int64
	data []byte
	n    int64
}

func (c change) span() span { return span{c.off, max(c.n, int64(len(c.data)))} }

// span is a range of bytes.
type span struct{ off, n int64 }

func (s span) sectors(do func(i int64)) {
	for i := s.off / sector; i < (s.off+s.n)/sector; i++ {
		do(i)
	}
}

func (s span) has(i int64) bool { return i*sector >= s.off && i*sector < s.off+s.n }

// sent notes a command that is on its way.
func (l *ledger) sent(c change) {
	c.span().sectors(func(i int64) {
		var data []byte
		if c.data != nil {
			data = c.data[i*sector-c.off:][:sector]
		}
		l.since[i] = append(slices.Clip(l.since[i]), data)
	})
}

// promise notes that a range is durable as it is.
func (l *ledger) promise(s span) {
	s.sectors(func(i int64) {
		sent := l.since[i]
		if len(sent) == 0 {
			return
		}
		delete(l.since, i)
		last := sent[len(sent)-1]
		l.nothing[i] = last == nil
		copy(l.promised[i*sector:], last)
	})
}

// event is what a ledger is told: that something was sent, that a range was
// promised, or both.
type event struct {
	sent     change
	promised span
}

func (l *ledger) add(e event) {
	l.sent(e.sent)
	l.promise(e.promised)
}

// broken returns the sectors that hold what they must not.
//
//go:norace
func (l *ledger) broken(holds []byte) (wrong []int64) {
	span{0, int64(len(l.promised))}.sectors(func(i int64) {
		at := i * sector
		if at+sector > int64(len(holds)) {
			wrong = append(wrong, i)
			return
		}
		is := holds[at : at+sector]
		if l.nothing[i] || bytes.Equal(is, l.promised[at:at+sector]) ||
			slices.ContainsFunc(l.since[i], func(b []byte) bool { return b == nil || bytes.Equal(is, b) }) {
			return
		}
		wrong = append(wrong, i)
	})
	return wrong
}
