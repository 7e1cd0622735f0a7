package honest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

const (
	unitSize = 2 << 20
	areaSize = 16 << 10 // of each step
)

// unit is the unit under test: what it is told, and what it must hold.
type unit struct {
	t        *testing.T
	addr     string
	conn     *iscsitest.Conn
	disk     *disk
	block    int
	zeroes   bool // what is unmapped reads as zero
	atomic   int  // bytes that WRITE ATOMIC takes, 0 = none
	cached   bool // WCE
	rng      *rand.Rand
	began    []byte  // what the unit held
	events   []event // since
	shots    []shot
	next     int64 // the area that the next step gets
	sessions []*iscsitest.Conn
}

// shot is the moment at which a command was answered.
type shot struct {
	step   string
	at     int64 // size of the log
	own    span  // what the command was about
	events int   // so many there were
}

// newUnit logs in to a unit that holds these bytes, and asks what it is.
func newUnit(t *testing.T, addr string, d *disk, block int, holds []byte) *unit {
	t.Helper()
	u := &unit{t: t, addr: addr, disk: d, block: block, began: holds, rng: rand.New(rand.NewPCG(1, uint64(block)))}
	u.conn = u.session()
	capacity := u.do(iscsitest.Command{CDB: []byte{0x9e, 0x10, 13: 32, 15: 0}, In: 32})
	last, size := binary.BigEndian.Uint64(capacity), binary.BigEndian.Uint32(capacity[8:])
	if int(size) != block || int64(last+1)*int64(size) != int64(len(holds)) {
		t.Fatalf("the unit has %d blocks of %d bytes", last+1, size)
	}
	u.zeroes = capacity[14]&0x40 != 0 // LBPRZ
	limits := u.do(iscsitest.Command{CDB: []byte{0x12, 1, 0xb0, 0, 64, 0}, In: 64})
	u.atomic = int(binary.BigEndian.Uint32(limits[44:])) * block
	u.readMode()
	return u
}

// session logs in once more.
func (u *unit) session() *iscsitest.Conn {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	u.t.Cleanup(cancel)
	c, err := iscsitest.Dial(ctx, u.addr)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { c.Close() })
	u.sessions = append(u.sessions, c)
	c.ISID[5] = byte(len(u.sessions))
	if _, err := c.Login(iscsitest.Names("iqn.2026-01.test:initiator", iqn)...); err != nil {
		u.t.Fatal(err)
	}
	for range 5 { // unit attentions
		r, err := c.Do(iscsitest.TestUnitReady())
		if err != nil {
			u.t.Fatal(err)
		}
		if r.Status == 0 {
			return c
		}
	}
	u.t.Fatal("the unit isn't ready")
	return nil
}

// leave ends all sessions: nobody waits for them to log out then.
func (u *unit) leave() {
	for _, c := range u.sessions {
		c.Close()
	}
}

// do has a command done, which must be GOOD.
func (u *unit) do(c iscsitest.Command) []byte {
	u.t.Helper()
	r, err := u.conn.Do(c)
	if err != nil {
		u.t.Fatal(err)
	}
	if r.Status != 0 {
		u.t.Fatalf("command % x: status %#x, sense %06x", c.CDB, r.Status, r.SenseCode())
	}
	return r.Data
}

// readMode asks whether the unit has a write cache. What it answers is what it
// is held to.
func (u *unit) readMode() {
	u.t.Helper()
	page := u.do(iscsitest.Command{CDB: []byte{0x1a, 0x08, 0x08, 0, 24, 0}, In: 24})
	if len(page) < 7 || page[4]&0x3f != 0x08 {
		u.t.Fatalf("MODE SENSE of the caching page: % x", page)
	}
	if page[2]&0x10 == 0 {
		u.t.Fatal("the unit doesn't take FUA (DPOFUA)")
	}
	u.cached = page[6]&0x04 != 0
}

// setMode has the unit turn its write cache on or off.
func (u *unit) setMode(cached bool) iscsitest.Command {
	page := u.do(iscsitest.Command{CDB: []byte{0x1a, 0x08, 0x08, 0, 24, 0}, In: 24})
	page[0], page[2] = 0, 0
	page[6] &^= 0x04
	if cached {
		page[6] |= 0x04
	}
	return iscsitest.Command{CDB: []byte{0x15, 0x10, 0, 0, byte(len(page)), 0}, Out: page}
}

// send has a command done that changes the unit, and makes a range durable; of
// no bytes if it needn't. Without a write cache what it changes is durable in
// any case.
func (u *unit) send(step string, c iscsitest.Command, change change, durable span) {
	u.t.Helper()
	u.do(c)
	at := u.disk.now(u.t)
	if !u.cached && durable.n == 0 {
		durable = change.span()
	}
	u.events = append(u.events, event{change, durable})
	if durable.n > 0 {
		u.shots = append(u.shots, shot{step, at, durable, len(u.events)})
	}
}

// area returns a place of its own for a step, and the LBA where it begins.
func (u *unit) area() (s span, lba int64, blocks int) {
	s = span{u.next, areaSize}
	if u.next += areaSize; u.next > unitSize/2 {
		u.t.Fatal("no room for another step")
	}
	return s, s.off / int64(u.block), areaSize / u.block
}

// random returns bytes that are nowhere else.
func (u *unit) random(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], u.rng.Uint64())
	}
	return b
}

// fill writes something to an area and makes it durable.
func (u *unit) fill(s span) []byte {
	u.t.Helper()
	data := u.random(int(s.n))
	u.send("fill", iscsitest.Command{CDB: cdb(0x2a, fua, s.off/int64(u.block), int(s.n)/u.block), Out: data},
		change{off: s.off, data: data}, s)
	return data
}

func (u *unit) name(step string) string {
	if u.cached {
		return step
	}
	return fmt.Sprintf("%s, WCE=0", step)
}
