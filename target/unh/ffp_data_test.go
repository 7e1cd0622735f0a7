package unh_test

import (
	"fmt"

	"sanstick/target/iscsitest"
)

// received is a read as it came.
type received struct {
	pdus []iscsitest.PDU
	data []byte
	last iscsitest.PDU // the one with the status
}

// read sends a command and collects its Data-In PDUs.
func (b *bench) read(c *iscsitest.Conn, cmd iscsitest.Command) (r received) {
	b.Helper()
	p, _ := c.Request(cmd)
	b.send(c, p)
	for {
		d, err := c.Receive()
		if err != nil {
			b.Fatal(err)
		}
		if d.ITT() != p.ITT() || d.Op() != 0x25 && d.Op() != 0x21 {
			b.Fatalf("unexpected %v", &d)
		}
		r.last = d
		if d.Op() == 0x21 {
			return r
		}
		r.pdus = append(r.pdus, d)
		r.data = append(r.data, d.Data...)
		if d.BHS[1]&1 != 0 {
			return r
		}
	}
}

// segments is the body of the DataSegmentLength tests: no Data-In PDU is longer
// than limit, and no sequence than burst.
func segments(b *bench, limit, burst int, keys ...string) {
	want := b.fill(0, 2048, 20)
	c := b.session(keys...)
	r := b.read(c, iscsitest.Read10(0, 2048, blockSize))
	b.same("data", want, r.data)
	sequence := 0
	for _, p := range r.pdus {
		if len(p.Data) > limit {
			b.Fatalf("%d bytes in a Data-In PDU, the limit is %d", len(p.Data), limit)
		}
		if sequence += len(p.Data); sequence > burst {
			b.Fatalf("a sequence has %d bytes, MaxBurstLength is %d", sequence, burst)
		}
		if p.BHS[1]&0x80 != 0 {
			sequence = 0
		}
	}
}

// dataIn is groups 9 and 10: Data-In and R2T.
var dataIn = []test{
	{"9.1", "status in Data-In", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512")
		r := b.read(c, iscsitest.Read10(0, 4, blockSize))
		for i, p := range r.pdus {
			s, final := p.BHS[1]&1 != 0, p.BHS[1]&0x80 != 0
			switch {
			case s && !final, s && i != len(r.pdus)-1:
				b.Errorf("status in the middle: %v", &p)
			case s && (p.BHS[3] != 0 || p.U32(44) != 0 || p.BHS[1]&6 != 0):
				b.Errorf("status or residual is not zero: %v", &p)
			case !s && (p.U32(24) != 0 || p.BHS[3] != 0 || p.U32(44) != 0):
				b.Errorf("StatSN, status or residual without S bit: %v", &p)
			}
		}
		// A command that fails has its status in a SCSI Response, with sense.
		p, _ := c.Request(iscsitest.Read10(1<<30, 4, blockSize))
		if got := b.ask(c, p, 0x21); got.BHS[3] != 2 || len(got.Data) == 0 {
			b.Errorf("READ beyond the end: %v", &got)
		}
	}},
	{"9.2", "F bit at the end of each sequence", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512", "MaxBurstLength=2048")
		r := b.read(c, iscsitest.Read10(0, 16, blockSize))
		sequence := 0
		for i, p := range r.pdus {
			sequence += len(p.Data)
			final := p.BHS[1]&0x80 != 0
			if sequence > 2048 || sequence == 2048 && !final {
				b.Fatalf("PDU %d: %d bytes without F bit", i, sequence)
			}
			if final {
				sequence = 0
			}
		}
		if sequence != 0 {
			b.Error("no F bit at the end")
		}
	}},
	{"9.3.1", "Data-In of at most 512 bytes", func(b *bench) {
		segments(b, 512, 262144, "MaxRecvDataSegmentLength=512", "MaxBurstLength=262144")
	}},
	{"9.3.2", "Data-In of at most the default 8192 bytes", func(b *bench) { segments(b, 8192, 262144, "MaxBurstLength=262144") }},
	{"9.3.3", "Data-In of the largest segments", func(b *bench) {
		segments(b, 1<<24-1, 512<<10, "MaxRecvDataSegmentLength=16777215", "MaxBurstLength=524288")
	}},
	{"9.4", "DataSN begins at 0 for each command", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512", "MaxBurstLength=1024")
		for range 2 {
			for i, p := range b.read(c, iscsitest.Read10(0, 8, blockSize)).pdus {
				if p.U32(36) != uint32(i) {
					b.Fatalf("DataSN is %d, want %d: not reset by the F bit", p.U32(36), i)
				}
			}
		}
	}},
	{"9.5", "buffer offsets in order without holes", func(b *bench) {
		want := b.fill(0, 64, 21)
		c := b.session("MaxRecvDataSegmentLength=1000", "MaxBurstLength=3333")
		r := b.read(c, iscsitest.Read10(0, 64, blockSize))
		off := 0
		for _, p := range r.pdus {
			if int(p.U32(40)) != off {
				b.Fatalf("offset %d, want %d", p.U32(40), off)
			}
			off += len(p.Data)
		}
		b.same("data", want, r.data)
	}},
	{"10.1", "R2Ts in order, within MaxBurstLength and MaxOutstandingR2T", func(b *bench) {
		for _, outstanding := range []int{1, 3} {
			c := b.session("InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=1536", fmt.Sprint("MaxOutstandingR2T=", outstanding))
			data := noise(22, 16*blockSize)
			p := writeAll(c, 64, data)
			b.send(c, p)
			asked := 0
			var open []iscsitest.PDU
			statSN := c.ExpStatSN
			for asked < len(data) {
				for more := true; more && asked < len(data); more = b.waiting(c) {
					r := b.want(c, 0x31)
					off, n := int(r.U32(40)), int(r.U32(44))
					if off != asked || n == 0 || n > 1536 || off+n > len(data) || r.ITT() != p.ITT() || r.U16(8) != 0 || r.BHS[1] != 0x80 {
						b.Fatalf("R2T for %d bytes at %d, want from %d: %v", n, off, asked, &r)
					}
					if r.U32(24) != statSN {
						b.Errorf("an R2T has StatSN %d, the next is %d", r.U32(24), statSN)
					}
					asked += n
					if open = append(open, r); len(open) > outstanding {
						b.Fatalf("%d R2Ts at once, MaxOutstandingR2T is %d", len(open), outstanding)
					}
				}
				b.satisfy(c, open[0], data)
				open = open[1:]
			}
			for _, r := range open {
				b.satisfy(c, r, data)
			}
			if got := b.want(c, 0x21); got.BHS[3] != 0 || got.U32(24) != statSN {
				b.Errorf("got %v", &got)
			}
			b.same("medium", data, b.onDisk(64, 16))
			c.Close()
		}
	}},
}
