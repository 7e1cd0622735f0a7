package unh_test

import (
	"fmt"
	"slices"

	"sanstick/target/iscsitest"
)

// pending starts a write that waits for its data.
func (b *bench) pending(c *iscsitest.Conn, lba uint32, data []byte) (p, r2t iscsitest.PDU) {
	b.Helper()
	p = writeAll(c, lba, data)
	b.send(c, p)
	return p, b.want(c, 0x31)
}

// managed does a task management function, and checks its response.
func (b *bench) managed(c *iscsitest.Conn, p iscsitest.PDU, want ...byte) {
	b.Helper()
	got := b.ask(c, p, 0x22)
	if got.ITT() != p.ITT() || !slices.Contains(want, got.BHS[2]) {
		b.Errorf("function %d: response %d, want one of %d", p.BHS[1]&0x7f, got.BHS[2], want)
	}
}

// reassign makes TASK REASSIGN.
func reassign(c *iscsitest.Conn, itt uint32) iscsitest.PDU { return c.Manage(8, 0, itt) }

var solicited = []string{"InitialR2T=Yes", "ImmediateData=No"}

// management is groups 11 to 13: task management, SNACK, logout.
var management = []test{
	{"11.1", "an immediate function uses up no CmdSN", func(b *bench) {
		c := b.session()
		p := c.Manage(iscsitest.AbortTaskSet, 0, 0xffffffff)
		got := b.ask(c, p, 0x22)
		if got.BHS[2] != 0 || got.U32(28) != p.U32(24) {
			b.Errorf("response %d, ExpCmdSN %d, want 0 and %d", got.BHS[2], got.U32(28), p.U32(24))
		}
		// One that isn't immediate waits for its turn.
		p = c.Manage(iscsitest.AbortTaskSet, 0, 0xffffffff)
		p.BHS[0] &^= 0x40
		p.Put32(24, c.CmdSN+1)
		b.send(c, p)
		b.quiet(c)
		b.ask(c, c.NOPOut(false, nil), 0x20)
		if got := b.want(c, 0x22); got.BHS[2] != 0 || got.U32(28) != p.U32(24)+1 {
			b.Errorf("got %v", &got)
		}
		c.CmdSN++
		b.alive(c)
	}},
	{"11.2.1", "reassignment of a task in work is refused", func(b *bench) {
		c := b.session(solicited...)
		data := noise(50, blockSize)
		p, r2t := b.pending(c, 0, data)
		b.managed(c, reassign(c, p.ITT()), 3, 4, 5)
		b.satisfy(c, r2t, data)
		if got := b.want(c, 0x21); got.BHS[3] != 0 {
			b.Errorf("got %v", &got)
		}
		b.same("medium", data, b.onDisk(0, 1))
	}},
	{"11.2.2", "reassignment of no task is refused", func(b *bench) {
		c := b.session()
		b.managed(c, reassign(c, 0x12345), 1, 4, 5)
		b.alive(c)
	}},
	{"11.2.3", "reassignment from a connection that is gone is refused", func(b *bench) {
		before := b.fill(0, 1, 51)
		old := b.session(solicited...)
		p, _ := b.pending(old, 0, noise(52, blockSize))
		old.Close()
		c := b.dial()
		c.ISID = old.ISID
		b.login(c, solicited...)
		b.managed(c, reassign(c, p.ITT()), 1, 4, 5)
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 1))
	}},
	{"11.3.1", "ABORT TASK of a task there is", func(b *bench) {
		before := b.fill(0, 1, 53)
		c := b.session(solicited...)
		data := noise(54, blockSize)
		p, r2t := b.pending(c, 0, data)
		q := c.Manage(iscsitest.AbortTask, 0, p.ITT())
		q.Put32(32, p.U32(24)) // RefCmdSN
		b.managed(c, q, 0)
		b.satisfy(c, r2t, data) // was on its way
		b.quiet(c)
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 1))
	}},
	{"11.3.2", "ABORT TASK of a task there isn't", func(b *bench) {
		c := b.session()
		p, _ := c.Request(iscsitest.TestUnitReady())
		b.ask(c, p, 0x21)
		q := c.Manage(iscsitest.AbortTask, 0, p.ITT())
		q.Put32(32, p.U32(24))
		b.managed(c, q, 1)
		// Of one that was sent but hasn't come: it never runs.
		before := b.fill(0, 1, 55)
		p, _ = c.Request(iscsitest.Write10(0, noise(56, blockSize), blockSize))
		q = c.Manage(iscsitest.AbortTask, 0, p.ITT())
		q.Put32(32, p.U32(24))
		b.managed(c, q, 0)
		b.send(c, p)
		b.quiet(c)
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 1))
	}},
	{"11.3.3", "functions with a wrong LUN, or that don't exist", func(b *bench) {
		c := b.session()
		for _, f := range []byte{iscsitest.AbortTaskSet, iscsitest.ClearTaskSet, iscsitest.LUNReset} {
			b.managed(c, c.Manage(f, 77, 0xffffffff), 2)
		}
		b.managed(c, c.Manage(3, 0, 0xffffffff), 5) // CLEAR ACA
		for _, f := range []byte{0, 20, 127} {
			p := c.Manage(f, 0, 0xffffffff)
			b.send(c, p)
			switch got, err := c.Receive(); {
			case err != nil:
				b.Fatal(err)
			case got.Op() == 0x3f:
			case got.Op() != 0x22 || got.BHS[2] == 0:
				b.Errorf("function %d: %v", f, &got)
			}
		}
		b.alive(c)
	}},
	{"11.4", "TARGET WARM RESET", func(b *bench) {
		reset(b, iscsitest.WarmReset, func(c *iscsitest.Conn) {
			r := b.do(c, iscsitest.TestUnitReady())
			if r.Status != 2 || r.SenseCode()>>8 != 0x0629 {
				b.Errorf("after the reset: %+v", r)
			}
			b.alive(c)
		})
	}},
	{"11.5", "TARGET COLD RESET", func(b *bench) { reset(b, iscsitest.ColdReset, b.gone) }},
	{"12.1", "SNACK for data is refused", func(b *bench) { snack(b, 0) }},
	{"12.2", "SNACK for status is refused", func(b *bench) { snack(b, 1) }},
	{"12.3", "SNACK that acknowledges data is refused", func(b *bench) { snack(b, 2) }},
	{"12.4", "SNACK for resegmented data is refused", func(b *bench) { snack(b, 3) }},
	{"13.1", "logout of the session", func(b *bench) {
		before := b.fill(0, 1, 57)
		c := b.session(solicited...)
		data := noise(58, blockSize)
		_, r2t := b.pending(c, 0, data)
		p := c.Logout()
		if got := b.ask(c, p, 0x26); got.BHS[2] != 0 || got.ITT() != p.ITT() {
			b.Errorf("got %v", &got)
		}
		_ = c.SendData(r2t.ITT(), r2t.U32(20), 0, data, 0) // too late; may fail
		b.gone(c)
		b.same("medium", before, b.onDisk(0, 1))
	}},
	{"13.2", "logout of a connection", func(b *bench) {
		c := b.session()
		p := c.Logout()
		p.BHS[1] = 0x81
		p.Put16(20, 7) // CID
		if got := b.ask(c, p, 0x26); got.BHS[2] != 1 {
			b.Errorf("connection 7: %v", &got)
		}
		b.alive(c)
		p = c.Logout()
		p.BHS[1] = 0x81
		if got := b.ask(c, p, 0x26); got.BHS[2] != 0 {
			b.Errorf("got %v", &got)
		}
		b.gone(c)
	}},
	{"13.3", "logout for recovery is refused", func(b *bench) {
		c := b.session()
		p := c.Logout()
		p.BHS[1] = 0x82
		if got := b.ask(c, p, 0x26); got.BHS[2] != 2 {
			b.Errorf("got %v", &got)
		}
		b.alive(c)
	}},
	{"14.1", "Reject of an operation code there isn't", func(b *bench) {
		c := b.session()
		for _, op := range []byte{0x5c, 0x47, 0x50 | 0x0f} { // vendor specific and reserved, immediate
			var p iscsitest.PDU
			p.BHS[0], p.BHS[1] = op, 0x80
			p.Put32(16, c.NextITT())
			p.Put32(24, c.CmdSN)
			p.Data = []byte("with data")
			b.rejected(c, p, rejectCommand)
		}
		b.alive(c)
	}},
	{"14.2", "Reject of what breaks the protocol", func(b *bench) {
		c := b.session()
		p := c.LoginRequest(iscsitest.Operational, iscsitest.FullFeature, iscsitest.Names(alice, *name)...)
		p.BHS[0] = 0x43
		b.rejected(c, p, rejectProtocol, rejectCommand, 0x0b)
		b.alive(c)
	}},
	{"14.3", "Reject of a field that is wrong, and the numbers go on", func(b *bench) {
		c := b.session()
		p := c.Logout()
		p.BHS[1] = 0x80 | 9 // reason code
		b.rejected(c, p, rejectField, rejectProtocol)
		// One that isn't immediate has used up its CmdSN.
		p = c.Logout()
		p.BHS[0] &^= 0x40
		p.BHS[1] = 0x80 | 9
		c.CmdSN++
		statSN := c.ExpStatSN
		got := b.ask(c, p, 0x3f)
		b.isReject(got, p, rejectField, rejectProtocol)
		if got.U32(24) != statSN || got.U32(28) != c.CmdSN {
			b.Errorf("StatSN %d, ExpCmdSN %d, want %d and %d", got.U32(24), got.U32(28), statSN, c.CmdSN)
		}
		b.alive(c)
	}},
}

// reset has two sessions with pending writes, one of which resets the target.
func reset(b *bench, function byte, afterwards func(*iscsitest.Conn)) {
	before := b.fill(0, 2, 59)
	one, two := b.session(solicited...), b.session(solicited...)
	data := noise(60, blockSize)
	_, r1 := b.pending(one, 0, data)
	_, r2 := b.pending(two, 1, data)
	b.managed(one, one.Manage(function, 0, 0xffffffff), 0)
	_ = one.SendData(r1.ITT(), r1.U32(20), 0, data, 0) // on its way when the tasks were aborted
	_ = two.SendData(r2.ITT(), r2.U32(20), 0, data, 0)
	afterwards(one)
	afterwards(two)
	b.same("medium", before, b.onDisk(0, 2))
}

// snack asks for what error recovery level 0 doesn't have, with a task in work.
func snack(b *bench, kind byte) {
	c := b.session(solicited...)
	data := noise(61, blockSize)
	p, r2t := b.pending(c, 0, data)
	for _, itt := range []uint32{p.ITT(), 0xffffffff} {
		b.rejected(c, c.SNACK(kind, itt, r2t.U32(20), 0, 1), rejectSNACK, rejectProtocol, rejectCommand)
	}
	b.satisfy(c, r2t, data)
	if got := b.want(c, 0x21); got.BHS[3] != 0 {
		b.Errorf("got %v", &got)
	}
	b.alive(c)
}

// pings is group 15: NOP.
var pings = []test{
	{"15.1.1", "NOP-In echoes data and tag", func(b *bench) {
		c := b.session()
		for _, n := range []int{0, 1, 3, 4, 100, 8192} {
			for _, immediate := range []bool{true, false} {
				ping := c.NOPOut(immediate, noise(70, n))
				p := b.ask(c, ping, 0x20)
				if p.ITT() != ping.ITT() || p.U32(20) != 0xffffffff || p.BHS[1] != 0x80 {
					b.Errorf("got %v", &p)
				}
				b.same(fmt.Sprint("echo of ", n), ping.Data, p.Data)
				if p.U32(28) != c.CmdSN {
					b.Errorf("ExpCmdSN is %d, want %d (immediate: %t)", p.U32(28), c.CmdSN, immediate)
				}
			}
		}
	}},
	{"15.1.2", "the echo ends at MaxRecvDataSegmentLength", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512")
		ping := c.NOPOut(true, noise(71, 2000))
		p := b.ask(c, ping, 0x20)
		if len(p.Data) > 512 {
			b.Fatalf("%d bytes", len(p.Data))
		}
		b.same("echo", ping.Data[:512], p.Data)
		b.alive(c)
	}},
	{"15.2", "a NOP-Out that wants no answer", func(b *bench) {
		c := b.session()
		ping := c.NOPOut(true, []byte("x"))
		ping.Put32(16, 0xffffffff)
		b.send(c, ping)
		b.quiet(c)
		// One that isn't immediate moves ExpCmdSN, and gives its place back.
		for range 300 {
			ping = c.NOPOut(false, nil)
			ping.Put32(16, 0xffffffff)
			b.send(c, ping)
			if c.CmdSN%64 == 0 {
				if p := b.ask(c, c.NOPOut(true, nil), 0x20); p.U32(28) != c.CmdSN {
					b.Fatalf("ExpCmdSN is %d, want %d", p.U32(28), c.CmdSN)
				}
			}
		}
		b.alive(c)
	}},
	{"15.3", "StatSN of NOP-In", func(b *bench) {
		c := b.session()
		next := c.ExpStatSN
		for range 5 {
			if p := b.ask(c, c.NOPOut(true, nil), 0x20); p.U32(24) != next {
				b.Errorf("StatSN %d, want %d", p.U32(24), next)
			}
			next++
		}
		b.good(c, iscsitest.TestUnitReady())
	}},
}
