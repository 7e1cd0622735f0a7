package honest

import (
	"bytes"

	"sanstick/target/iscsitest"
)

// steps has everything done once that makes data durable.
func (u *unit) steps() {
	u.t.Helper()
	whole := span{0, unitSize}
	// Writes.
	u.writes(fua)
	u.writes(0) // if WCE=0 they must be durable, too
	u.written("WRITE AND VERIFY (10)", 0x2e, 0, true)
	u.written("WRITE AND VERIFY (12)", 0xae, 0, true)
	u.written("WRITE AND VERIFY (16)", 0x8e, 0, true)
	u.written("WRITE AND VERIFY (10) BYTCHK", 0x2e, 0x02, true)

	// What follows on a write that may be volatile.
	for _, f := range []struct {
		name  string
		cdb   func(lba int64, blocks int) []byte
		in    bool // it reads what was written
		whole bool // it is about the whole unit
	}{
		{name: "SYNCHRONIZE CACHE (10)", cdb: func(int64, int) []byte { return cdb(0x35, 0, 0, 0) }, whole: true},
		{name: "SYNCHRONIZE CACHE (16)", cdb: func(int64, int) []byte { return cdb(0x91, 0, 0, 0) }, whole: true},
		{name: "SYNCHRONIZE CACHE (10) of a range", cdb: func(lba int64, n int) []byte { return cdb(0x35, 0, lba, n) }},
		{name: "SYNCHRONIZE CACHE (16) of a range", cdb: func(lba int64, n int) []byte { return cdb(0x91, 0, lba, n) }},
		{name: "SYNCHRONIZE CACHE (10) IMMED", cdb: func(int64, int) []byte { return cdb(0x35, 0x02, 0, 0) }, whole: true},
		{name: "SYNCHRONIZE CACHE (16) IMMED of a range", cdb: func(lba int64, n int) []byte { return cdb(0x91, 0x02, lba, n) }},
		{name: "READ (10) FUA", cdb: func(lba int64, n int) []byte { return cdb(0x28, fua, lba, n) }, in: true},
		{name: "READ (12) FUA", cdb: func(lba int64, n int) []byte { return cdb(0xa8, fua, lba, n) }, in: true},
		{name: "READ (16) FUA", cdb: func(lba int64, n int) []byte { return cdb(0x88, fua, lba, n) }, in: true},
		{name: "VERIFY (10)", cdb: func(lba int64, n int) []byte { return cdb(0x2f, 0, lba, n) }},
		{name: "VERIFY (16)", cdb: func(lba int64, n int) []byte { return cdb(0x8f, 0, lba, n) }},
		{name: "START STOP UNIT, stop", cdb: func(int64, int) []byte { return []byte{0x1b, 0, 0, 0, 0, 0} }, whole: true},
	} {
		s, lba, n := u.area()
		data := u.write("WRITE", s)
		c := iscsitest.Command{CDB: f.cdb(lba, n)}
		if f.in {
			c.In = areaSize
		}
		durable := s
		if f.whole {
			durable = whole
		}
		u.send(u.name(f.name), c, change{}, durable)
		if f.in {
			if got := u.do(c); !bytes.Equal(got, data) {
				u.t.Errorf("%s: not what was written", f.name)
			}
		}
	}
	u.do(iscsitest.Command{CDB: []byte{0x1b, 0, 0, 0, 1, 0}}) // start

	// Commands without FUA, followed by a flush.
	u.same(true)
}

// writes has all kinds of plain writes done. Those without FUA are durable only
// if WCE=0.
func (u *unit) writes(flags byte) {
	u.t.Helper()
	name := ""
	if flags != 0 {
		name = " FUA"
	} else {
		u.written("WRITE (6)", 0x0a, 0, false)
	}
	u.written("WRITE (10)"+name, 0x2a, flags, flags != 0)
	u.written("WRITE (12)"+name, 0xaa, flags, flags != 0)
	u.written("WRITE (16)"+name, 0x8a, flags, flags != 0)

	s, lba, n := u.area()
	old, data := u.fill(s), u.random(areaSize)
	u.send(u.name("COMPARE AND WRITE"+name), iscsitest.Command{CDB: cdb(0x89, flags, lba, n), Out: append(old, data...)},
		change{off: s.off, data: data}, s.only(flags != 0))

	s, lba, n = u.area()
	old, data = u.fill(s), u.random(areaSize)
	both := make([]byte, len(data))
	for i := range data {
		both[i] = data[i] | old[i]
	}
	u.send(u.name("ORWRITE (16)"+name), iscsitest.Command{CDB: cdb(0x8b, flags, lba, n), Out: data},
		change{off: s.off, data: both}, s.only(flags != 0))

	if u.atomic > 0 {
		s, lba, _ = u.area()
		s.n = int64(min(u.atomic, areaSize))
		data = u.random(int(s.n))
		u.send(u.name("WRITE ATOMIC (16)"+name), iscsitest.Command{CDB: cdb(0x9c, flags, lba, len(data)/u.block), Out: data},
			change{off: s.off, data: data}, s.only(flags != 0))
	}
}

// same has those commands done that write what isn't sent as such, each with a
// flush to follow or not.
func (u *unit) same(flush bool) {
	u.t.Helper()
	then := func(step string, s span) {
		if flush {
			u.send(u.name(step+" and SYNCHRONIZE CACHE"), iscsitest.Command{CDB: cdb(0x35, 0, 0, 0)}, change{}, s)
		}
	}
	for _, f := range []struct {
		name   string
		op     byte
		flags  byte
		zeroes bool
	}{
		{"WRITE SAME (10)", 0x41, 0, false},
		{"WRITE SAME (16)", 0x93, 0, false},
		{"WRITE SAME (10) of zeroes", 0x41, 0, true},
		{"WRITE SAME (16) NDOB", 0x93, 0x01, true},
		{"WRITE SAME (16) UNMAP", 0x93, 0x08, true},
	} {
		s, lba, n := u.area()
		u.fill(s)
		c := iscsitest.Command{CDB: cdb(f.op, f.flags, lba, n), Out: make([]byte, u.block)}
		switch {
		case f.flags&0x01 != 0:
			c.Out = nil
		case !f.zeroes:
			c.Out = u.random(u.block)
		}
		data := make([]byte, areaSize)
		if !f.zeroes {
			data = bytes.Repeat(c.Out, n)
		}
		u.send(u.name(f.name), c, change{off: s.off, data: data}, span{})
		then(f.name, s)
	}

	s, lba, n := u.area()
	u.fill(s)
	command, list := unmap(lba, n)
	unmapped := change{off: s.off, n: areaSize}
	if u.zeroes {
		unmapped.data = make([]byte, areaSize)
	}
	u.send(u.name("UNMAP"), iscsitest.Command{CDB: command, Out: list}, unmapped, span{})
	then("UNMAP", s)

	from, lba, n := u.area()
	to, there, _ := u.area()
	data := u.fill(from)
	command, list = extendedCopy(lba, there, n, u.block)
	u.send(u.name("EXTENDED COPY"), iscsitest.Command{CDB: command, Out: list}, change{off: to.off, data: data}, span{})
	then("EXTENDED COPY", to)
}

// throughSteps turns the write cache off, if there is one that can be, and has
// everything done that then has to be durable by itself.
func (u *unit) throughSteps() {
	u.t.Helper()
	if !u.cached {
		return
	}
	s, _, _ := u.area()
	u.write("WRITE", s)
	u.send("MODE SELECT of WCE=0", u.setMode(false), change{}, span{0, unitSize})
	if u.readMode(); u.cached {
		u.t.Fatal("WCE=1 after it was turned off")
	}
	u.writes(0)
	u.same(false)
	u.do(u.setMode(true))
	if u.readMode(); !u.cached {
		u.t.Fatal("WCE=0 after it was turned on")
	}
}

// written writes an area of its own.
func (u *unit) written(step string, op, flags byte, durable bool) {
	u.t.Helper()
	s, lba, n := u.area()
	data := u.random(areaSize)
	u.send(u.name(step), iscsitest.Command{CDB: cdb(op, flags, lba, n), Out: data}, change{off: s.off, data: data}, s.only(durable))
}

// write writes to a range, and doesn't ask for more.
func (u *unit) write(step string, s span) []byte {
	u.t.Helper()
	data := u.random(int(s.n))
	u.send(u.name(step), iscsitest.Command{CDB: cdb(0x2a, 0, s.off/int64(u.block), int(s.n)/u.block), Out: data},
		change{off: s.off, data: data}, span{})
	return data
}

// only returns the range, or an empty one.
func (s span) only(yes bool) span {
	if yes {
		return s
	}
	return span{}
}
