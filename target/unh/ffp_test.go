package unh_test

import (
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

// ffpNumbers are the 82 tests of the full feature phase.
const ffpNumbers = `1.1 1.2 1.3 2.1 3.1 4.1 5.1 6.1 7.1 7.2 8.1 8.2 9.1 9.2 9.3.1 9.3.2 9.3.3 9.4 9.5 10.1
	11.1 11.2.1 11.2.2 11.2.3 11.3.1 11.3.2 11.3.3 11.4 11.5 12.1 12.2 12.3 12.4 13.1 13.2 13.3 14.1 14.2 14.3
	15.1.1 15.1.2 15.2 15.3
	16.1.1 16.1.2 16.1.3 16.1.4 16.1.5 16.1.6 16.1.7 16.1.8 16.2.1 16.2.2 16.2.3 16.2.4 16.2.5 16.3.1 16.3.2 16.4.1 16.4.2 16.5
	17.1 17.2 17.3.1 17.3.2 17.3.3 17.3.4 17.3.5 17.4.1 17.4.2 17.5 17.6 17.7.1 17.7.2 17.7.3 17.8.1 17.8.2 17.8.3
	18.1 18.2.1 18.2.2 19.1`

// TestUNHFullFeature is the full feature phase list.
func TestUNHFullFeature(t *testing.T) {
	var all []test
	for _, part := range [][]test{numbering, dataIn, management, pings, responses, texts, digests} {
		all = append(all, part...)
	}
	if len(all) != 82 {
		t.Errorf("%d tests, want 82", len(all))
	}
	runList(t, all, ffpNumbers)
}

// after says whether serial number a comes after b (RFC 1982).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// numbering is groups 1 to 8: sequence numbers, retry, allegiance, unexpected
// data, transfer tags.
var numbering = []test{
	{"1.1", "MaxCmdSN and ExpCmdSN follow the commands", func(b *bench) {
		c := b.dial()
		c.CmdSN = 0xffffff80 // wraps
		b.login(c)
		last := c.MaxCmdSN
		for range 300 {
			itt, err := c.Start(iscsitest.TestUnitReady())
			if err != nil {
				b.Fatal(err)
			}
			p := b.want(c, 0x21)
			exp, most := p.U32(28), p.U32(32)
			if p.ITT() != itt || exp != c.CmdSN {
				b.Fatalf("ExpCmdSN is %#x, want %#x", exp, c.CmdSN)
			}
			if after(exp-1, most) || after(last, most) {
				b.Fatalf("MaxCmdSN went from %#x to %#x at ExpCmdSN %#x", last, most, exp)
			}
			last = most
		}
	}},
	{"1.2", "a command beyond MaxCmdSN is ignored", func(b *bench) {
		c := b.session()
		p, _ := c.Request(iscsitest.TestUnitReady())
		own := p.U32(24)
		p.Put32(24, c.MaxCmdSN+1)
		b.send(c, p)
		b.quiet(c)
		p.Put32(24, own)
		if got := b.ask(c, p, 0x21); got.ITT() != p.ITT() || got.BHS[3] != 0 {
			b.Errorf("got %v", &got)
		}
		b.alive(c)
	}},
	{"1.3", "commands run in the order of CmdSN", func(b *bench) {
		c := b.session()
		first, _ := c.Request(iscsitest.TestUnitReady())
		second, _ := c.Request(iscsitest.TestUnitReady())
		third := c.NOPOut(false, nil)
		b.send(c, third)
		b.send(c, second)
		b.quiet(c)
		b.send(c, first)
		got := map[uint32]bool{}
		for range 3 {
			p, err := c.Receive()
			if err != nil {
				b.Fatal(err)
			}
			got[p.ITT()] = true
		}
		if !got[first.ITT()] || !got[second.ITT()] || !got[third.ITT()] {
			b.Errorf("answers for %v", got)
		}
		// Below ExpCmdSN now.
		b.send(c, second)
		b.quiet(c)
		b.alive(c)
	}},
	{"2.1", "StatSN grows by one with each status", func(b *bench) {
		c := b.session()
		next := c.ExpStatSN
		ask := func(p iscsitest.PDU, op byte) {
			b.Helper()
			if got := b.ask(c, p, op); got.U32(24) != next {
				b.Errorf("StatSN is %d, want %d, in %v", got.U32(24), next, &got)
			}
			next++
		}
		good, _ := c.Request(iscsitest.TestUnitReady())
		ask(good, 0x21)
		bad, _ := c.Request(iscsitest.Command{CDB: []byte{0xff, 0, 0, 0, 0, 0}})
		ask(bad, 0x21)
		ask(c.NOPOut(true, nil), 0x20)
		ask(c.NOPOut(false, nil), 0x20)
		ask(c.TextRequest(0xffffffff, "SendTargets="), 0x24)
		ask(c.Manage(iscsitest.AbortTaskSet, 0, 0xffffffff), 0x22)
		ask(c.SNACK(1, 0xffffffff, 0xffffffff, 0, 0), 0x3f)
		ask(c.Logout(), 0x26)
	}},
	{"3.1", "DataSN counts the Data-In PDUs of a command", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512")
		for range 2 {
			p, _ := c.Request(iscsitest.Read10(0, 16, blockSize))
			b.send(c, p)
			n := uint32(0)
			for got := 0; got < 16*blockSize; n++ {
				d := b.want(c, 0x25)
				if d.U32(36) != n {
					b.Fatalf("DataSN is %d, want %d", d.U32(36), n)
				}
				if got += len(d.Data); got == 16*blockSize && d.BHS[1]&1 == 0 {
					if r := b.want(c, 0x21); r.U32(36) != n+1 {
						b.Errorf("ExpDataSN is %d after %d Data-In PDUs", r.U32(36), n+1)
					}
				}
			}
		}
	}},
	{"4.1", "R2TSN counts the R2Ts of a command", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=1024")
		data := noise(1, 16*blockSize)
		for range 2 {
			b.send(c, writeAll(c, 0, data))
			for n := range uint32(8) {
				p := b.want(c, 0x31)
				if p.U32(36) != n {
					b.Fatalf("R2TSN is %d, want %d", p.U32(36), n)
				}
				b.satisfy(c, p, data)
			}
			if p := b.want(c, 0x21); p.BHS[3] != 0 {
				b.Errorf("got %v", &p)
			}
		}
		b.same("medium", data, b.onDisk(0, 16))
	}},
	{"5.1", "a command that is sent again is one command", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		data := noise(2, 4*blockSize)
		p := writeAll(c, 8, data)
		b.send(c, p)
		r2t := b.want(c, 0x31)
		b.send(c, p) // while it is in work
		b.quiet(c)
		b.satisfy(c, r2t, data)
		if p := b.want(c, 0x21); p.BHS[3] != 0 {
			b.Errorf("got %v", &p)
		}
		b.send(c, p) // when it has ended
		b.quiet(c)
		b.alive(c)
		b.same("medium", data, b.onDisk(8, 4))
	}},
	{"6.1", "what belongs to a command stays on its connection", func(b *bench) {
		one, two := b.session("InitialR2T=Yes", "ImmediateData=No"), b.session("InitialR2T=Yes", "ImmediateData=No")
		two.ITT = one.ITT // the same tags mean different tasks
		a, z := noise(3, 2*blockSize), noise(4, 2*blockSize)
		pa, pz := writeAll(one, 16, a), writeAll(two, 32, z)
		b.send(one, pa)
		b.send(two, pz)
		ra, rz := b.want(one, 0x31), b.want(two, 0x31)
		b.quiet(one)
		b.satisfy(two, rz, z)
		if p := b.want(two, 0x21); p.BHS[3] != 0 {
			b.Errorf("got %v", &p)
		}
		b.quiet(one)
		b.satisfy(one, ra, a)
		if p := b.want(one, 0x21); p.BHS[3] != 0 {
			b.Errorf("got %v", &p)
		}
		b.same("first write", a, b.onDisk(16, 2))
		b.same("second write", z, b.onDisk(32, 2))
		// A second connection can't join.
		c := b.dial()
		c.ISID, c.TSIH = one.ISID, one.TSIH
		p := c.LoginRequest(iscsitest.Operational, iscsitest.FullFeature, iscsitest.Names(alice, *name)...)
		p.Put16(20, 7) // CID
		_, _, err := c.LoginExchange(p)
		b.refusedLogin(c, err, 0x0206, 0x0208)
		b.alive(one)
	}},
	{"7.1", "unsolicited data where none is allowed", func(b *bench) {
		before := b.fill(40, 4, 5)
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		cmd := iscsitest.Write10(40, noise(6, 4*blockSize), blockSize)
		p, _ := c.Request(cmd)
		b.send(c, p)
		b.send(c, c.DataOut(p.ITT(), 0xffffffff, 0, 0, 0, cmd.Out[:blockSize]))
		b.aborted(b.finish(c, p.ITT(), cmd), 0x0c0c)
		b.alive(c)
		b.same("medium", before, b.onDisk(40, 4))
	}},
	{"7.2", "more unsolicited data than FirstBurstLength", func(b *bench) {
		before := b.fill(40, 8, 7)
		c := b.session("InitialR2T=No", "ImmediateData=No", "FirstBurstLength=1024")
		cmd := iscsitest.Write10(40, noise(8, 8*blockSize), blockSize)
		p, unsolicited := c.Request(cmd)
		if !unsolicited {
			b.Fatal("InitialR2T=No was not agreed on")
		}
		b.send(c, p)
		b.send(c, c.DataOut(p.ITT(), 0xffffffff, 0, 0, 0, cmd.Out[:4*blockSize]))
		b.aborted(b.finish(c, p.ITT(), cmd), 0x0c0c, 0x0c0d)
		b.alive(c)
		b.same("medium", before, b.onDisk(40, 8))
	}},
	{"8.1", "data with a transfer tag that isn't the R2T's", func(b *bench) {
		before := b.fill(48, 2, 9)
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		data := noise(10, 2*blockSize)
		p := writeAll(c, 48, data)
		b.send(c, p)
		r2t := b.want(c, 0x31)
		b.send(c, c.DataOut(p.ITT(), r2t.U32(20)+100, 0, 0, 0, data))
		b.quiet(c) // the transfer is still owed
		b.satisfy(c, r2t, data)
		b.aborted(b.finish(c, p.ITT(), iscsitest.Command{Out: data}), 0x0c0c, 0x0c0d)
		b.alive(c)
		b.same("medium", before, b.onDisk(48, 2))
	}},
	{"8.2", "transfer tags of R2T and Data-In", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=512", "MaxOutstandingR2T=4")
		data := noise(11, 4*blockSize)
		b.send(c, writeAll(c, 48, data))
		seen := map[uint32]bool{}
		for len(seen) < 4 {
			var r2ts []iscsitest.PDU
			for more := true; more; more = b.waiting(c) { // as many as come at once
				p := b.want(c, 0x31)
				if p.U32(20) == 0xffffffff || seen[p.U32(20)] {
					b.Fatalf("want an R2T with a tag of its own, got %v", &p)
				}
				seen[p.U32(20)] = true
				r2ts = append(r2ts, p)
			}
			for _, r := range r2ts {
				b.satisfy(c, r, data)
			}
		}
		if p := b.want(c, 0x21); p.BHS[3] != 0 {
			b.Errorf("got %v", &p)
		}
		b.same("medium", data, b.onDisk(48, 4))
		p, _ := c.Request(iscsitest.Read10(48, 1, blockSize))
		if d := b.ask(c, p, 0x25); d.U32(20) != 0xffffffff {
			b.Errorf("Data-In without A bit has transfer tag %#x", d.U32(20))
		}
	}},
}

// writeAll makes a WRITE (10) without immediate data.
func writeAll(c *iscsitest.Conn, lba uint32, data []byte) iscsitest.PDU {
	p, _ := c.Request(iscsitest.Write10(lba, data, blockSize))
	p.BHS[1] |= 0x80
	p.Data = nil
	return p
}

// waiting says whether something comes.
func (b *bench) waiting(c *iscsitest.Conn) bool {
	b.Helper()
	something, err := c.Waiting(30 * time.Millisecond)
	if err != nil {
		b.Fatal(err)
	}
	return something
}

// satisfy sends what an R2T asks for.
func (b *bench) satisfy(c *iscsitest.Conn, r2t iscsitest.PDU, data []byte) {
	b.Helper()
	off, n := int(r2t.U32(40)), int(r2t.U32(44))
	if n == 0 || off+n > len(data) {
		b.Fatalf("R2T for %d bytes at %d of %d", n, off, len(data))
	}
	if err := c.SendData(r2t.ITT(), r2t.U32(20), 0, data[:off+n], off); err != nil {
		b.Fatal(err)
	}
}

// finish sees a command that was sent through.
func (b *bench) finish(c *iscsitest.Conn, itt uint32, cmd iscsitest.Command) iscsitest.Result {
	b.Helper()
	r, err := c.Finish(itt, cmd)
	if err != nil {
		b.Fatal(err)
	}
	return r
}
