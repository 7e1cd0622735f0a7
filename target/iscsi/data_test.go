package iscsi_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// Data goes there and back unharmed under every kind of transfer.
func TestReadWrite(t *testing.T) {
	digests := map[string][]string{
		"no digests":   nil,
		"both digests": {"HeaderDigest=CRC32C", "DataDigest=CRC32C"},
	}
	transfers := map[string][]string{
		"defaults":         nil,
		"R2T only":         {"ImmediateData=No", "InitialR2T=Yes"},
		"unsolicited":      {"ImmediateData=No", "InitialR2T=No", "FirstBurstLength=65536"},
		"immediate, more":  {"ImmediateData=Yes", "InitialR2T=No", "FirstBurstLength=131072", "MaxBurstLength=262144"},
		"smallest":         {"MaxRecvDataSegmentLength=512", "MaxBurstLength=512", "FirstBurstLength=512", "InitialR2T=No"},
		"odd":              {"MaxRecvDataSegmentLength=1001", "MaxBurstLength=4099", "FirstBurstLength=777", "InitialR2T=No"},
		"several R2Ts":     {"InitialR2T=Yes", "MaxOutstandingR2T=4", "MaxBurstLength=8192"},
		"first over burst": {"FirstBurstLength=65536", "MaxBurstLength=1024", "InitialR2T=No"},
	}
	b := start(t, iscsi.Options{})
	for dn, dk := range digests {
		for tn, tk := range transfers {
			t.Run(dn+", "+tn, func(t *testing.T) {
				keys := append(slices.Clone(dk), tk...)
				if !strings.Contains(strings.Join(keys, " "), "MaxRecvDataSegmentLength=") {
					keys = append(keys, "MaxRecvDataSegmentLength=262144")
				}
				c := b.session(keys...)
				defer c.Close()
				for i, n := range []int{512, 4096, 65536, 300 << 10, 1 << 20} {
					data := noise(uint64(i), n)
					w := b.do(c, iscsitest.Write10(uint32(i)*4096, data, 512))
					if w.Status != 0 || w.Overflow || w.Underflow {
						t.Fatalf("write of %d: %+v", n, w)
					}
					same(t, "on disk", data, b.onDisk(0, int64(i)*4096*512, n))
					r := b.do(c, iscsitest.Read10(uint32(i)*4096, uint16(n/512), 512))
					if r.Status != 0 || r.Overflow || r.Underflow {
						t.Fatalf("read of %d: status %d", n, r.Status)
					}
					same(t, "read", data, r.Data)
				}
			})
		}
	}
}

// Data-In PDUs keep to what was negotiated (section 11.7).
func TestDataInLimits(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("MaxRecvDataSegmentLength=1024", "MaxBurstLength=2560")
	cmd := iscsitest.Read10(0, 10, 512)
	itt, err := c.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		p := b.want(c, 0x25)
		if p.ITT() != itt || p.U32(20) != 0xffffffff {
			t.Fatalf("%v", &p)
		}
		got = append(got, fmt.Sprintf("%d+%d flags %02x sn %d", p.U32(40), len(p.Data), p.BHS[1], p.U32(36)))
		if p.BHS[1]&1 != 0 {
			break
		}
	}
	want := "0+1024 flags 00 sn 0; 1024+1024 flags 00 sn 1; 2048+512 flags 80 sn 2; 2560+1024 flags 00 sn 3; 3584+1024 flags 00 sn 4; 4608+512 flags 81 sn 5"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestResiduals(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("InitialR2T=No")
	block := noise(1, 2048)
	read := func(edtl int) iscsitest.Command { return iscsitest.Command{CDB: cdb10(0x28, 0, 2), In: edtl} }
	write := func(n int) iscsitest.Command { return iscsitest.Command{CDB: cdb10(0x2a, 8, 2), Out: block[:n]} }
	tests := []struct {
		name     string
		cmd      iscsitest.Command
		over     bool
		residual uint32
		data     int
	}{
		{"read, all", read(1024), false, 0, 1024},
		{"read, less expected", read(512), true, 512, 512},
		{"read, odd", read(100), true, 924, 100},
		{"read, more expected", read(4096), false, 3072, 1024},
		{"read, nothing expected", read(0), true, 1024, 0},
		{"write, all", write(1024), false, 0, 0},
		{"write, one block sent", write(512), true, 512, 0},
		{"write, too much sent", write(2048), false, 1024, 0},
		{"no data, some expected", iscsitest.Command{CDB: make([]byte, 6), In: 512}, false, 512, 0},
		{"no data, some sent", iscsitest.Command{CDB: make([]byte, 6), Out: block[:512]}, false, 512, 0},
		{"read with write flag", iscsitest.Command{CDB: cdb10(0x28, 0, 1), Out: block[:512]}, true, 512, 0},
	}
	for _, tt := range tests {
		r := b.do(c, tt.cmd)
		if r.Status != 0 || r.Overflow != tt.over || r.Underflow != (!tt.over && tt.residual > 0) || r.Residual != tt.residual || len(r.Data) != tt.data {
			t.Errorf("%s: status %d, overflow %v, underflow %v, residual %d, %d bytes", tt.name, r.Status, r.Overflow, r.Underflow, r.Residual, len(r.Data))
		}
	}
}

func cdb10(op byte, lba uint32, blocks uint16) []byte {
	return []byte{op, 0, byte(lba >> 24), byte(lba >> 16), byte(lba >> 8), byte(lba), 0, byte(blocks >> 8), byte(blocks), 0}
}

// What breaks the rules of data-out fails the command, writes nothing, and
// leaves the session of use.
func TestBadDataOut(t *testing.T) {
	b := start(t, iscsi.Options{})
	data := noise(2, 4096)
	type conn = iscsitest.Conn
	tests := []struct {
		name  string
		keys  []string
		play  func(c *conn, itt, ttt uint32)
		sense uint32
	}{
		{"wrong DataSN", nil, func(c *conn, itt, ttt uint32) {
			b.send(c, c.DataOut(itt, ttt, 0, 1, 0, data))
		}, 0x0b0c0c},
		{"wrong offset", nil, func(c *conn, itt, ttt uint32) {
			p := c.DataOut(itt, ttt, 0, 0, 512, data[512:])
			b.send(c, p)
		}, 0x0b0c0c},
		{"wrong transfer tag", nil, func(c *conn, itt, ttt uint32) {
			b.send(c, c.DataOut(itt, ttt+1, 0, 0, 0, data))
			b.send(c, c.DataOut(itt, ttt, 0, 0, 0, data))
		}, 0x0b0c0c},
		{"too much", nil, func(c *conn, itt, ttt uint32) {
			b.send(c, c.DataOut(itt, ttt, 0, 0, 0, append(data, 1, 2, 3, 4)))
		}, 0x0b0c0d},
		{"too little", nil, func(c *conn, itt, ttt uint32) {
			b.send(c, c.DataOut(itt, ttt, 0, 0, 0, data[:2048]))
		}, 0x0b0c0d},
		{"no final bit", nil, func(c *conn, itt, ttt uint32) {
			p := c.DataOut(itt, ttt, 0, 0, 0, data)
			p.BHS[1] = 0
			b.send(c, p)
			b.send(c, c.DataOut(itt, ttt, 0, 1, 4096, nil))
		}, 0x0b0c0d},
		{"unsolicited after R2T", nil, func(c *conn, itt, ttt uint32) {
			b.send(c, c.DataOut(itt, 0xffffffff, 0, 0, 0, data))
			b.send(c, c.DataOut(itt, ttt, 0, 0, 0, data))
		}, 0x0b0c0c},
		{"hole", nil, func(c *conn, itt, ttt uint32) {
			p := c.DataOut(itt, ttt, 0, 0, 0, data[:1024])
			p.BHS[1] = 0
			b.send(c, p)
			b.send(c, c.DataOut(itt, ttt, 0, 1, 2048, data[2048:]))
		}, 0x0b0c0c},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := b.session("ImmediateData=No", "InitialR2T=Yes")
			defer c.Close()
			lba := uint32(1000 + i*16)
			writes := b.disks[0].Calls(faultdev.Write)
			itt, err := c.Start(iscsitest.Write10(lba, data, 512))
			if err != nil {
				t.Fatal(err)
			}
			r2t := b.want(c, 0x31)
			if r2t.U32(40) != 0 || r2t.U32(44) != 4096 {
				t.Fatalf("%v", &r2t)
			}
			tt.play(c, itt, r2t.U32(20))
			r, err := c.Finish(itt, iscsitest.Command{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != 2 || r.SenseCode() != tt.sense {
				t.Errorf("status %d, sense %06x, want %06x", r.Status, r.SenseCode(), tt.sense)
			}
			if n := b.disks[0].Calls(faultdev.Write) - writes; n != 0 {
				t.Errorf("%d writes reached the disk", n)
			}
			if r := b.do(c, iscsitest.Write10(lba, data, 512)); r.Status != 0 {
				t.Errorf("a good write afterwards: %+v", r)
			}
		})
	}
}

// Bytes whose digest was wrong are never written.
func TestBadDataDigest(t *testing.T) {
	b := start(t, iscsi.Options{})
	data := noise(3, 4096)
	reject := func(c *iscsitest.Conn) {
		t.Helper()
		p := b.want(c, 0x3f)
		if p.BHS[2] != 2 || len(p.Data) != 48 {
			t.Errorf("%v", &p)
		}
	}
	check := func(c *iscsitest.Conn, itt uint32) {
		t.Helper()
		// Reject and response may come in either order.
		rejected := false
		for range 2 {
			p, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch p.Op() {
			case 0x3f:
				rejected = p.BHS[2] == 2 && len(p.Data) == 48
			case 0x21:
				if p.ITT() != itt || p.BHS[3] != 2 || !bytes.Equal(p.Data[14:16], []byte{0x47, 0x05}) {
					t.Errorf("%v % x", &p, p.Data)
				}
			}
		}
		if !rejected {
			t.Error("no Reject with the header")
		}
		if n := b.disks[0].Calls(faultdev.Write); n != 0 {
			t.Errorf("%d writes reached the disk", n)
		}
	}
	c := b.session("HeaderDigest=CRC32C", "DataDigest=CRC32C", "ImmediateData=Yes")
	p, _ := c.Request(iscsitest.Write10(0, data, 512))
	if err := c.SendSpoiled(p, iscsitest.SpoilDataDigest); err != nil {
		t.Fatal(err)
	}
	check(c, p.ITT())

	c = b.session("DataDigest=CRC32C", "ImmediateData=No")
	itt, err := c.Start(iscsitest.Write10(0, data, 512))
	if err != nil {
		t.Fatal(err)
	}
	r2t := b.want(c, 0x31)
	ttt := r2t.U32(20)
	if err := c.SendSpoiled(c.DataOut(itt, ttt, 0, 0, 0, data), iscsitest.SpoilDataDigest); err != nil {
		t.Fatal(err)
	}
	check(c, itt)

	// A ping and a text request are rejected, and nothing else happens.
	ping := iscsitest.PDU{Data: []byte("ping")}
	ping.BHS[0], ping.BHS[1] = 0x40, 0x80
	ping.Put32(20, 0xffffffff)
	if err := c.SendSpoiled(ping, iscsitest.SpoilDataDigest); err != nil {
		t.Fatal(err)
	}
	reject(c)
	if err := c.SendSpoiled(c.TextRequest(0xffffffff, "SendTargets="), iscsitest.SpoilDataDigest); err != nil {
		t.Fatal(err)
	}
	reject(c)
	if r := b.do(c, iscsitest.Write10(0, data, 512)); r.Status != 0 {
		t.Errorf("a good write afterwards: %+v", r)
	}

	// A wrong header digest ends the connection at error recovery level 0.
	c = b.session("HeaderDigest=CRC32C")
	p, _ = c.Request(iscsitest.TestUnitReady())
	if err := c.SendSpoiled(p, iscsitest.SpoilHeaderDigest); err != nil {
		t.Fatal(err)
	}
	b.closed(c)
}

// An error of the disk is never GOOD.
func TestDiskErrors(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	boom := fmt.Errorf("boom")
	data := noise(4, 512)
	b.disks[0].FailAll(faultdev.Read, boom)
	b.disks[0].FailAll(faultdev.Write, boom)
	b.disks[0].FailAll(faultdev.Flush, boom)
	for name, cmd := range map[string]iscsitest.Command{
		"read":  iscsitest.Read10(0, 1, 512),
		"write": iscsitest.Write10(0, data, 512),
		"flush": {CDB: cdb10(0x35, 0, 0)},
	} {
		if r := b.do(c, cmd); r.Status != 2 || len(r.Sense) == 0 || len(r.Data) != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// SYNCHRONIZE CACHE reaches the disk, and is answered after it.
func TestFlush(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	before := b.disks[0].Calls(faultdev.Flush)
	arrived, release := b.disks[0].Hold(faultdev.Flush)
	itt, err := c.Start(iscsitest.Command{CDB: cdb10(0x35, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.quiet(c)
	release()
	if r, err := c.Finish(itt, iscsitest.Command{}); err != nil || r.Status != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := b.disks[0].Calls(faultdev.Flush) - before; n != 1 {
		t.Errorf("%d flushes, want 1", n)
	}
}

// More data than the session may hold is taken in turn, not refused.
func TestBudgets(t *testing.T) {
	b := start(t, iscsi.Options{ReadBudget: 1 << 20, WriteBudget: 1 << 20})
	c := b.session("InitialR2T=No", "MaxRecvDataSegmentLength=262144")
	data := noise(5, 1<<20)
	cmds := make(map[uint32]iscsitest.Command)
	for i := range 16 {
		cmd := iscsitest.Write10(uint32(i)*2048, data, 512)
		itt, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		cmds[itt] = cmd
	}
	for left := len(cmds); left > 0; {
		p, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch p.Op() {
		case 0x31:
			off, n := int(p.U32(40)), int(p.U32(44))
			if err := c.SendData(p.ITT(), p.U32(20), 0, cmds[p.ITT()].Out[:off+n], off); err != nil {
				t.Fatal(err)
			}
		case 0x21:
			if p.BHS[3] != 0 {
				t.Fatalf("%v", &p)
			}
			left--
		}
	}
	for i := range 16 {
		same(t, "on disk", data, b.onDisk(0, int64(i)<<20, 1<<20))
	}
	// As many reads at once, which the initiator doesn't take for a while.
	want := make(map[uint32]int)
	for i := range 16 {
		itt, err := c.Start(iscsitest.Read10(uint32(i)*2048, 2048, 512))
		if err != nil {
			t.Fatal(err)
		}
		want[itt] = 1 << 20
	}
	for len(want) > 0 {
		p := b.want(c, 0x25)
		off := int(p.U32(40))
		same(t, "read", data[off:off+len(p.Data)], p.Data)
		if want[p.ITT()] -= len(p.Data); want[p.ITT()] == 0 {
			delete(want, p.ITT())
		}
	}
}
