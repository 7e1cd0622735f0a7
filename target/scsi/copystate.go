package scsi

import (
	"encoding/binary"
	"maps"
	"sync"
	"sync/atomic"
)

// copies are the EXTENDED COPY commands of an I_T_L nexus that have a list
// identifier: those that run, and the last one of each identifier that has.
type copies struct {
	mu   sync.Mutex
	byID map[byte]*copyProgress
}

// copyProgress is how far a copy is. A nil one takes no notes.
type copyProgress struct {
	in       *copies
	ended    bool
	segments uint16
	bytes    uint64
	status   Status
	sense    []byte
}

// begin notes a copy, and forgets the one before with the same identifier. If
// that is still running it returns nil.
func (c *copies) begin(id byte) *copyProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byID[id]; old != nil && !old.ended {
		return nil
	}
	if c.byID == nil {
		c.byID = make(map[byte]*copyProgress)
	}
	c.byID[id] = &copyProgress{in: c}
	return c.byID[id]
}

// find returns what is known of a copy now.
func (c *copies) find(id byte) (copyProgress, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byID[id]
	if p == nil {
		return copyProgress{}, false
	}
	return *p, true
}

// forgetCopies has RECEIVE COPY STATUS and its relatives know nothing more of
// copies that have ended.
func (u *Unit) forgetCopies() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p := range u.paths {
		p.copies.forget()
	}
}

// forget drops what is known of copies that have ended.
func (c *copies) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byID, func(_ byte, p *copyProgress) bool { return p.ended })
}

func (p *copyProgress) note(f func()) {
	if p != nil {
		p.in.mu.Lock()
		defer p.in.mu.Unlock()
		f()
	}
}

func (p *copyProgress) moved(n int64) { p.note(func() { p.bytes += uint64(n) }) }
func (p *copyProgress) segmentDone()  { p.note(func() { p.segments++ }) }
func (p *copyProgress) end(r Result) {
	p.note(func() { p.ended, p.status, p.sense = true, r.Status, r.Sense })
}

// command is the COPY COMMAND STATUS of SPC-4 table 349: in progress, done, or
// failed.
func (p *copyProgress) command() byte {
	switch {
	case !p.ended:
		return 0
	case p.status == Good:
		return 1
	}
	return 2
}

// receiveCopyStatus serves RECEIVE COPY STATUS (LID1), SPC-4 section 6.20.
func (t *Task) receiveCopyStatus() Result {
	p, ok := t.path.copies.find(t.cdb[2])
	if !ok {
		return t.check(badCDB(2, noBit))
	}
	b := make([]byte, 12)
	b[3] = byte(len(b) - 4)
	b[4] = p.command()
	binary.BigEndian.PutUint16(b[5:], p.segments)
	count := p.bytes
	if count > 0xffffffff {
		b[7] = 1 // KiB
		count >>= 10
	}
	binary.BigEndian.PutUint32(b[8:], uint32(count))
	return t.reply(b)
}

// receiveCopyFailure serves RECEIVE COPY FAILURE DETAILS (LID1), SPC-4 section
// 6.18. Of a copy that hasn't failed there are none.
func (t *Task) receiveCopyFailure() Result {
	p, ok := t.path.copies.find(t.cdb[2])
	if !ok {
		return t.check(badCDB(2, noBit))
	}
	if p.command() != 2 {
		return t.reply(make([]byte, 4))
	}
	b := make([]byte, 60, 60+len(p.sense))
	b[56] = byte(p.status)
	binary.BigEndian.PutUint16(b[58:], uint16(len(p.sense)))
	b = append(b, p.sense...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return t.reply(b)
}

// receiveCopyParameters serves RECEIVE COPY OPERATING PARAMETERS, SPC-4 section
// 6.19. No data is held and none comes inline.
func (t *Task) receiveCopyParameters() Result {
	types := []byte{blockToBlock, identification}
	b := make([]byte, 44, 44+len(types))
	b[4] = 0x01 // SNLID: a copy may have no list identifier
	binary.BigEndian.PutUint16(b[8:], maxCopyTargets)
	binary.BigEndian.PutUint16(b[10:], maxCopySegments)
	binary.BigEndian.PutUint32(b[12:], maxCopyDescriptors)
	binary.BigEndian.PutUint32(b[16:], maxCopySegment)
	binary.BigEndian.PutUint16(b[34:], maxCopies)
	b[36] = maxCopies
	b[37] = 9 // data segment granularity: 512 bytes
	b[43] = byte(len(types))
	b = append(b, types...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return t.reply(b)
}

// guest is a copy that reads or writes units which may be others than the one
// that its command came to.
type guest struct {
	nexus  *Nexus
	units  []*Unit
	killed atomic.Bool
	done   chan struct{}
}

// beginGuest makes the units know about a copy until end, so that those who
// end the tasks of a unit end the copy too.
func (t *Task) beginGuest(units ...*Unit) *guest {
	g := &guest{nexus: t.nexus, units: units, done: make(chan struct{})}
	for _, u := range units {
		u.mu.Lock()
		if u.guests == nil {
			u.guests = make(map[*guest]struct{})
		}
		u.guests[g] = struct{}{}
		u.mu.Unlock()
	}
	return g
}

func (g *guest) end() {
	for _, u := range g.units {
		u.mu.Lock()
		delete(u.guests, g)
		u.mu.Unlock()
	}
	close(g.done)
}

// endGuests ends the copies of the nexuses that match which use the unit. Their
// commands fail, and nothing more happens to the unit once the channels are
// closed.
func (u *Unit) endGuests(match func(*Nexus) bool) (wait []<-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for g := range u.guests {
		if match(g.nexus) {
			g.killed.Store(true)
			wait = append(wait, g.done)
		}
	}
	return wait
}
