package unh_test

import "sanstick/target/iscsitest"

// outcome of a transfer: how much was too much or too little.
type outcome struct {
	status              byte
	overflow, underflow bool
	residual            uint32
}

func (b *bench) residual(c *iscsitest.Conn, what string, cmd iscsitest.Command, want outcome, data int) []byte {
	b.Helper()
	r := b.do(c, cmd)
	got := outcome{r.Status, r.Overflow, r.Underflow, r.Residual}
	if got != want || len(r.Data) != data {
		b.Errorf("%s: %+v with %d bytes, want %+v with %d", what, got, len(r.Data), want, data)
	}
	return r.Data
}

// readResidual reads 8 blocks with this expected length.
func readResidual(b *bench, edtl int, want outcome) {
	data := b.fill(0, 8, 30)
	c := b.session()
	cmd := iscsitest.Read10(0, 8, blockSize)
	cmd.In = edtl
	n := min(edtl, 8*blockSize)
	b.same("data", data[:n], b.residual(c, "READ", cmd, want, n))
	b.alive(c)
}

// writeResidual writes 8 blocks with this expected length, both with and
// without R2T.
func writeResidual(b *bench, edtl int, want outcome) {
	for _, keys := range [][]string{{"InitialR2T=Yes", "ImmediateData=No"}, {"InitialR2T=No", "ImmediateData=Yes"}} {
		before := b.fill(0, 32, 31)
		c := b.session(keys...)
		cmd := iscsitest.Write10(8, noise(32, 8*blockSize), blockSize)
		cmd.Out = noise(33, edtl)
		b.residual(c, "WRITE", cmd, want, 0)
		b.alive(c)
		n := min(edtl, 8*blockSize)
		b.same("medium", append(append(append([]byte{}, before[:8*blockSize]...), cmd.Out[:n]...), before[8*blockSize+n:]...), b.onDisk(0, 32))
	}
}

// responses is group 16: SCSI responses.
var responses = []test{
	{"16.1.1", "read of less than expected: underflow", func(b *bench) {
		readResidual(b, 16*blockSize, outcome{underflow: true, residual: 8 * blockSize})
	}},
	{"16.1.2", "read of more than expected: overflow", func(b *bench) {
		readResidual(b, 2*blockSize, outcome{overflow: true, residual: 6 * blockSize})
		readResidual(b, 700, outcome{overflow: true, residual: 8*blockSize - 700})
	}},
	{"16.1.3", "write of less than expected: underflow", func(b *bench) {
		writeResidual(b, 16*blockSize, outcome{underflow: true, residual: 8 * blockSize})
		writeResidual(b, 8*blockSize+1, outcome{underflow: true, residual: 1})
	}},
	{"16.1.4", "write of more than expected: overflow", func(b *bench) {
		writeResidual(b, 2*blockSize, outcome{overflow: true, residual: 6 * blockSize})
	}},
	{"16.1.5", "exact lengths: no residual", func(b *bench) {
		readResidual(b, 8*blockSize, outcome{})
		writeResidual(b, 8*blockSize, outcome{})
	}},
	{"16.1.6", "data that nobody expects: overflow", func(b *bench) {
		c := b.session()
		cmd := iscsitest.Read10(0, 8, blockSize)
		cmd.In = 0
		b.residual(c, "READ without R and W", cmd, outcome{overflow: true, residual: 8 * blockSize}, 0)
		b.alive(c)
	}},
	{"16.1.7", "no data where some is expected: underflow", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		b.residual(c, "TEST UNIT READY with R", iscsitest.Command{CDB: make([]byte, 6), In: 512}, outcome{underflow: true, residual: 512}, 0)
		b.residual(c, "TEST UNIT READY with W", iscsitest.Command{CDB: make([]byte, 6), Out: make([]byte, 512)}, outcome{underflow: true, residual: 512}, 0)
		cmd := iscsitest.Read10(1<<30, 8, blockSize)
		b.residual(c, "READ that fails", cmd, outcome{status: 2, underflow: true, residual: 8 * blockSize}, 0)
		b.alive(c)
	}},
	{"16.1.8", "data the other way", func(b *bench) {
		before := b.fill(0, 8, 34)
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		// READ with the W bit: nothing may be read into nowhere.
		cmd := iscsitest.Read10(0, 8, blockSize)
		cmd.In, cmd.Out = 0, make([]byte, 8*blockSize)
		if r := b.do(c, cmd); len(r.Data) != 0 || r.Status == 0 && !r.Overflow && !r.Underflow {
			b.Errorf("READ with W: %+v", r)
		}
		// WRITE with the R bit: there is no data to write.
		cmd = iscsitest.Write10(0, make([]byte, 8*blockSize), blockSize)
		cmd.In, cmd.Out = 8*blockSize, nil
		if r := b.do(c, cmd); len(r.Data) != 0 || r.Status == 0 && !r.Overflow && !r.Underflow {
			b.Errorf("WRITE with R: %+v", r)
		}
		// Both bits.
		p, _ := c.Request(iscsitest.Read10(0, 1, blockSize))
		p.BHS[1] |= 0x20
		b.send(c, p)
		if got, err := c.Receive(); err != nil || got.Op() == 0x25 || got.Op() == 0x21 && got.BHS[3] == 0 {
			b.Errorf("a bidirectional command: %v, %v", &got, err)
		}
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 8))
	}},
	{"16.2.1", "immediate data where none was agreed on", func(b *bench) {
		unsolicited(b, []string{"InitialR2T=Yes", "ImmediateData=No"}, func(c *iscsitest.Conn, p *iscsitest.PDU, data []byte) []iscsitest.PDU {
			p.Data = data[:blockSize]
			return nil
		}, 0x0c0c)
	}},
	{"16.2.2", "more immediate data than FirstBurstLength", func(b *bench) {
		unsolicited(b, []string{"InitialR2T=Yes", "ImmediateData=Yes", "FirstBurstLength=512"}, func(c *iscsitest.Conn, p *iscsitest.PDU, data []byte) []iscsitest.PDU {
			p.Data = data[:2*blockSize]
			return nil
		}, 0x0c0c, 0x0c0d)
	}},
	{"16.2.3", "unsolicited data announced though InitialR2T=Yes", func(b *bench) {
		unsolicited(b, []string{"InitialR2T=Yes", "ImmediateData=No"}, func(c *iscsitest.Conn, p *iscsitest.PDU, data []byte) []iscsitest.PDU {
			p.BHS[1] &^= 0x80
			return []iscsitest.PDU{c.DataOut(p.ITT(), 0xffffffff, 0, 0, 0, data[:blockSize])}
		}, 0x0c0c)
	}},
	{"16.2.4", "immediate and unsolicited data over FirstBurstLength together", func(b *bench) {
		unsolicited(b, []string{"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=1024"}, func(c *iscsitest.Conn, p *iscsitest.PDU, data []byte) []iscsitest.PDU {
			p.BHS[1] &^= 0x80
			p.Data = data[:blockSize]
			return []iscsitest.PDU{c.DataOut(p.ITT(), 0xffffffff, 0, 0, blockSize, data[blockSize:3*blockSize])}
		}, 0x0c0c, 0x0c0d)
	}},
	{"16.2.5", "less unsolicited data than announced", func(b *bench) {
		c := b.session("InitialR2T=No", "ImmediateData=No", "FirstBurstLength=4096")
		before := b.fill(80, 8, 35)
		cmd := iscsitest.Write10(80, noise(36, 8*blockSize), blockSize)
		p, _ := c.Request(cmd)
		b.send(c, p)
		b.send(c, c.DataOut(p.ITT(), 0xffffffff, 0, 0, 0, cmd.Out[:blockSize]))
		// Either the target says so, or it asks for the rest.
		want := cmd.Out
		if r := b.finish(c, p.ITT(), cmd); r.Status != 0 {
			b.aborted(r, 0x0c0d)
			want = before
		}
		b.alive(c)
		b.same("medium", want, b.onDisk(80, 8))
	}},
	{"16.3.1", "data that belongs to nothing", func(b *bench) {
		c := b.session()
		before := b.fill(88, 2, 37)
		for _, ttt := range []uint32{0xffffffff, 1234} {
			if err := c.Send(c.DataOut(0x7777, ttt, 0, 0, 0, noise(38, 2*blockSize))); err != nil {
				b.Fatal(err)
			}
		}
		for b.waiting(c) { // a Reject is as good as silence
			b.want(c, 0x3f)
		}
		b.alive(c)
		b.same("medium", before, b.onDisk(88, 2))
	}},
	{"16.3.2", "a SCSI command that doesn't exist", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		for _, cmd := range []iscsitest.Command{
			{CDB: []byte{0xff, 0, 0, 0, 0, 0}},
			{CDB: []byte{0x1f, 0, 0, 0, 0, 0}, In: 512},
			{CDB: []byte{0xff, 0, 0, 0, 0, 0}, Out: make([]byte, 512)},
		} {
			if r := b.do(c, cmd); r.Status != 2 || r.SenseCode() != 0x052000 {
				b.Errorf("CDB % x: %+v", cmd.CDB, r)
			}
		}
		b.alive(c)
	}},
	{"16.4.1", "a command sent again after its response is ignored", func(b *bench) {
		c := b.session()
		p, _ := c.Request(iscsitest.Write10(96, noise(39, blockSize), blockSize))
		if got := b.ask(c, p, 0x21); got.BHS[3] != 0 {
			b.Fatalf("got %v", &got)
		}
		after := b.fill(96, 1, 40)
		b.send(c, p)
		b.quiet(c)
		b.alive(c)
		b.same("medium", after, b.onDisk(96, 1))
	}},
	{"16.4.2", "a task tag that is in use", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		data := noise(41, blockSize)
		p := writeAll(c, 97, data)
		b.send(c, p)
		r2t := b.want(c, 0x31)
		again, _ := c.Request(iscsitest.TestUnitReady())
		again.Put32(16, p.ITT())
		b.rejected(c, again, rejectInProgress, rejectField)
		b.satisfy(c, r2t, data)
		if got := b.want(c, 0x21); got.BHS[3] != 0 {
			b.Errorf("got %v", &got)
		}
		b.alive(c)
		b.same("medium", data, b.onDisk(97, 1))
	}},
	{"16.5", "after an error the rest of the data is taken and forgotten", func(b *bench) {
		c := b.session("InitialR2T=Yes", "ImmediateData=No")
		before := b.fill(100, 8, 42)
		data := noise(43, 8*blockSize)
		p := writeAll(c, 100, data)
		b.send(c, p)
		ttt := b.want(c, 0x31)
		for sn := range uint32(8) {
			d := c.DataOut(p.ITT(), ttt.U32(20), 0, sn, int(sn)*blockSize, data[int(sn)*blockSize:][:blockSize])
			if sn < 7 {
				d.BHS[1] = 0
			}
			if sn == 2 {
				d.Put32(36, 9) // wrong DataSN
			}
			b.send(c, d)
		}
		b.aborted(b.finish(c, p.ITT(), iscsitest.Command{Out: data}), 0x0c0c, 0x0c0d, 0x4705, 0x4b00)
		b.alive(c)
		b.same("medium", before, b.onDisk(100, 8))
	}},
}

// unsolicited sends a WRITE of 4 blocks with something wrong in its unsolicited
// data, which must fail it and leave the medium alone.
func unsolicited(b *bench, keys []string, spoil func(c *iscsitest.Conn, p *iscsitest.PDU, data []byte) []iscsitest.PDU, codes ...uint32) {
	before := b.fill(72, 4, 44)
	c := b.session(keys...)
	data := noise(45, 4*blockSize)
	cmd := iscsitest.Write10(72, data, blockSize)
	p := writeAll(c, 72, data)
	more := spoil(c, &p, data)
	b.send(c, p)
	for _, d := range more {
		b.send(c, d)
	}
	b.aborted(b.finish(c, p.ITT(), cmd), codes...)
	b.alive(c)
	b.same("medium", before, b.onDisk(72, 4))
}
