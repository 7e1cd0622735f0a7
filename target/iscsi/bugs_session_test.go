package iscsi_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// Text requests with a data digest, right and wrong in turn: each is answered,
// and the stream stays in step.
func TestBug_LIO_778c2ab142c6_TextDigest(t *testing.T) {
	rounds := 100000
	if slow || testing.Short() {
		rounds = 10000
	}
	b := start(t, iscsi.Options{})
	c := b.session("HeaderDigest=CRC32C", "DataDigest=CRC32C")
	c.SetDeadline(time.Now().Add(time.Minute))
	const batch = 50
	for i := 0; i < rounds; i += batch {
		for j := range batch {
			p := c.TextRequest(0xffffffff, "X-a="+string(bytes.Repeat([]byte("v"), j)))
			bad := iscsitest.SpoilNothing
			if j%2 == 1 {
				bad = iscsitest.SpoilDataDigest
			}
			if err := c.SendSpoiled(p, bad); err != nil {
				t.Fatal(err)
			}
		}
		for j := range batch {
			if j%2 == 0 {
				b.want(c, 0x24)
			} else if p := b.want(c, 0x3f); p.BHS[2] != 2 {
				t.Fatalf("%v", &p)
			}
		}
	}
	if n := b.srv.Stats().DigestErrors; n != uint64(rounds/2) {
		t.Errorf("%d digest errors counted of %d", n, rounds/2)
	}
	b.alive()
}

// Additional headers whose lengths lie.
func TestBug_LIO_ECDB_AHSLength(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	extended := func(n uint16, have int) []byte {
		return append([]byte{byte(n >> 8), byte(n), 1, 0}, make([]byte, have)...)
	}
	for name, ahs := range map[string][]byte{
		"length 0":                extended(0, 0),
		"length 0, and more":      extended(0, 16),
		"length 1":                extended(1, 0),
		"more than came":          extended(6, 4),
		"much more than came":     extended(0xffff, 4),
		"longer than a CDB":       extended(250, 252),
		"two":                     append(extended(5, 4), extended(5, 4)...),
		"of no type":              {0, 5, 0, 0, 1, 2, 3, 4},
		"vendor type":             {0, 5, 0x3f, 0, 1, 2, 3, 4},
		"read length of 3 bytes":  {0, 4, 2, 0, 1, 2, 3, 4},
		"as many zeroes as go in": make([]byte, 255*4),
	} {
		p, _ := c.Request(iscsitest.TestUnitReady())
		p.AHS = ahs
		b.send(c, p)
		if r := b.want(c, 0x3f); r.BHS[2] != 9 || r.U32(28) != c.CmdSN {
			t.Errorf("%s: %v", name, &r)
		}
	}
	b.alive()
}

// Sessions that come, work and go in every way at once. Run with -race.
func TestBug_CVE_2026_23193_ComeAndGo(t *testing.T) {
	b := start(t, iscsi.Options{PingInterval: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			data := make([]byte, 64<<10)
			for range 40 {
				c := b.dial()
				c.ISID[5] = byte(r.IntN(2)) // they take each other's sessions
				if _, err := c.Login(iscsitest.Names(alice, open, "InitialR2T=No")...); err != nil {
					continue
				}
				for range r.IntN(8) {
					c.Start(iscsitest.Write10(uint32(r.IntN(64)), data, 512))
					c.Start(iscsitest.Read10(0, 128, 512))
				}
				switch r.IntN(4) {
				case 0:
					c.Send(c.Logout())
				case 1:
					c.Send(c.Manage(iscsitest.LUNReset, 0, 0))
				case 2:
					c.Conn.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	b.alive()
}

// Pings to sessions that are just ending.
func TestBug_CVE_2025_38075_PingOfClosedConnection(t *testing.T) {
	b := start(t, iscsi.Options{PingInterval: time.Millisecond, PingTimeout: 2 * time.Millisecond})
	before := runtime.NumGoroutine()
	for i := range 150 {
		c := b.dial()
		c.ISID[5] = byte(i)
		if _, err := c.Login(iscsitest.Names(alice, open)...); err != nil {
			t.Fatal(err)
		}
		nop := iscsitest.PDU{}
		nop.BHS[0], nop.BHS[1] = 0x40, 0x80
		nop.Put32(16, 1)
		nop.Put32(20, 0xffffffff)
		b.send(c, nop)
		time.Sleep(time.Duration(i%5) * time.Millisecond)
		c.Close()
	}
	for i := 0; len(b.srv.Sessions()) > 0 || runtime.NumGoroutine() > before+10; i++ {
		if i == 200 {
			t.Fatalf("%d sessions and %d goroutines left", len(b.srv.Sessions()), runtime.NumGoroutine())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := b.srv.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}

// Ends of a write whose data was asked for and has not come.
func TestBug_LIO_d5869dae5080_AbortWithDataOutstanding(t *testing.T) {
	b := start(t, iscsi.Options{})
	for name, end := range map[string]func(c *iscsitest.Conn, itt uint32){
		"ABORT TASK":     func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Manage(iscsitest.AbortTask, 0, itt)) },
		"ABORT TASK SET": func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Manage(iscsitest.AbortTaskSet, 0, 0)) },
		"CLEAR TASK SET": func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Manage(iscsitest.ClearTaskSet, 0, 0)) },
		"LUN RESET":      func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Manage(iscsitest.LUNReset, 0, 0)) },
		"WARM RESET":     func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Manage(iscsitest.WarmReset, 0, 0)) },
		"logout":         func(c *iscsitest.Conn, itt uint32) { b.send(c, c.Logout()) },
		"connection":     func(c *iscsitest.Conn, itt uint32) { c.Close() },
	} {
		c := b.session("ImmediateData=No", "MaxBurstLength=8192")
		data := bytes.Repeat([]byte(name), 200)[:1024]
		before := b.onDisk(0, 0, 1024)
		itt, err := c.Start(iscsitest.Write10(0, data, 512))
		if err != nil {
			t.Fatal(err)
		}
		r2t := b.want(c, 0x31)
		half := c.DataOut(itt, r2t.U32(20), 0, 0, 0, data[:512])
		half.BHS[1] = 0
		b.send(c, half)
		within(t, name, 0, patience, func() {
			end(c, itt)
			switch name {
			case "connection":
			case "logout":
				b.want(c, 0x26)
			default:
				if p := b.want(c, 0x22); p.BHS[2] != 0 {
					t.Errorf("%s: %v", name, &p)
				}
			}
		})
		if name != "connection" && name != "logout" {
			b.send(c, c.DataOut(itt, r2t.U32(20), 0, 1, 512, data[512:])) // too late
			for i := 0; b.do(c, iscsitest.TestUnitReady()).Status != 0; i++ {
				if i == 3 {
					t.Errorf("%s: the session is of no use", name)
					break
				}
			}
			if n := c.MaxCmdSN - c.CmdSN; n != 127 {
				t.Errorf("%s: the window is %d", name, n+1)
			}
			c.Close()
		}
		same(t, name, before, b.onDisk(0, 0, 1024))
	}
	b.alive()
}

// Every opcode, without data where there should be some.
func TestBug_CVE_2021_28361_NoData(t *testing.T) {
	b := start(t, iscsi.Options{})
	for op := range 256 {
		for _, flags := range []byte{0, 0x80, 0xff} {
			c := b.dial()
			c.ISID[4] = byte(op)
			if _, err := c.Login(iscsitest.Names(alice, open, "InitialR2T=No")...); err != nil {
				t.Fatal(err)
			}
			for _, tag := range []uint32{0, 1, 0xffffffff} {
				var p iscsitest.PDU
				p.BHS[0], p.BHS[1] = byte(op), flags
				p.Put32(16, tag)
				p.Put32(20, 0xffffffff)
				p.Put32(24, c.CmdSN)
				if c.Send(p) != nil {
					break
				}
			}
			c.Conn.(*net.TCPConn).CloseWrite()
			b.closed(c)
			c.Close()
		}
	}
	b.alive()
}

// Everything comes a byte at a time, digests and padding too.
func TestBug_SPDK_eb739d0364_OneByteSegments(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.dial()
	c.Conn = &dribble{c.Conn}
	b.login(c, alice, "HeaderDigest=CRC32C", "DataDigest=CRC32C", "ImmediateData=No", "InitialR2T=No", "FirstBurstLength=512")
	data := noise(9, 2*512)
	if r := b.do(c, iscsitest.Write10(3, data, 512)); r.Status != 0 { // unsolicited, and by R2T
		t.Errorf("%+v", r)
	}
	if r := b.do(c, iscsitest.Read10(3, 2, 512)); !bytes.Equal(r.Data, data) {
		t.Errorf("%+v", r)
	}
	p, _ := c.Request(iscsitest.TestUnitReady())
	p.AHS = []byte{0, 2, 1, 0, 0, 0, 0, 0}
	b.send(c, p)
	b.want(c, 0x21)
	p = c.TextRequest(0xffffffff, "SendTargets=", "X-a=b") // with padding
	b.send(c, p)
	b.want(c, 0x24)
	b.send(c, c.Logout())
	b.want(c, 0x26)
	b.alive()
}

// dribble writes a byte at a time.
type dribble struct{ net.Conn }

func (d *dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// Buffers are used again; what an initiator gets is never what another left in
// them.
func TestBug_FreeBSD_CVE_2024_8178_OldDataInBuffers(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	secret := bytes.Repeat([]byte("SECRET! "), 1<<20/8)
	if r := b.do(c, iscsitest.Write10(0, secret, 512)); r.Status != 0 {
		t.Fatalf("%+v", r)
	}
	fill := func() {
		for range 4 {
			if r := b.do(c, iscsitest.Read10(0, 2048, 512)); r.Status != 0 {
				t.Fatalf("%+v", r)
			}
		}
	}
	fill()
	b.disks[1].FailRange(faultdev.Read, 512<<10, 512, block.ErrMedium)
	cmd := iscsitest.Read10(0, 2048, 512)
	cmd.LUN = 1
	if r := b.do(c, cmd); r.Status != 2 || len(r.Data) != 0 {
		t.Errorf("status %d with %d bytes", r.Status, len(r.Data))
	}
	b.disks[1].Heal()
	for _, cdb := range [][]byte{
		{0x12, 0, 0, 0xff, 0xff, 0}, {0x12, 1, 0x83, 0xff, 0xff, 0}, {0x12, 1, 0xb0, 0xff, 0xff, 0},
		{0x03, 0, 0, 0, 0xff, 0}, {0x5a, 0, 0x3f, 0, 0, 0, 0, 0xff, 0xff, 0}, {0xa0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0},
		{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0},
		{0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0},
	} {
		fill()
		r := b.do(c, iscsitest.Command{LUN: 1, CDB: cdb, In: 65535})
		if r.Status != 0 || bytes.Contains(r.Data, []byte("SECRET")) {
			t.Errorf("% x: status %d, %d bytes", cdb, r.Status, len(r.Data))
		}
	}
}

// Junk on many connections, with good work beside it.
func TestBug_CVE_2014_0255_Flood(t *testing.T) {
	b := start(t, iscsi.Options{})
	good := b.session()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 3))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c := b.dial()
				c.ISID[5], c.ISID[4] = byte(i), 1
				if n%3 > 0 {
					if _, err := c.Login(iscsitest.Names(alice, open)...); err != nil {
						t.Error(err)
						return
					}
				}
				c.SetDeadline(time.Now().Add(50 * time.Millisecond))
				for range 200 {
					var p iscsitest.PDU
					for j := range p.BHS {
						p.BHS[j] = byte(r.Uint32())
					}
					p.BHS[4], p.BHS[0] = byte(r.IntN(3)), byte(r.IntN(7))|byte(r.IntN(2)<<6)
					if p.Op() == 2 { // but no resets: they end what others do
						p.BHS[1] = 0x81 + byte(r.IntN(3))
					}
					p.AHS = make([]byte, int(p.BHS[4])*4)
					p.Data = make([]byte, r.IntN(64))
					if r.IntN(2) == 0 {
						p.Put32(24, c.CmdSN)
						c.CmdSN++
					}
					if c.Send(p) != nil {
						break
					}
				}
				c.Close()
			}
		})
	}
	slowest := time.Duration(0)
	for begin, n := time.Now(), 0; time.Since(begin) < 1500*time.Millisecond; n++ {
		at := time.Now()
		r := b.do(good, iscsitest.Read10(uint32(n%1024), 8, 512))
		if r.Status != 0 && r.SenseCode()>>16 != 6 {
			t.Errorf("%+v", r)
		}
		slowest = max(slowest, time.Since(at))
	}
	close(stop)
	wg.Wait()
	if slowest > patience {
		t.Errorf("the slowest of the others' commands took %v", slowest)
	}
	b.alive()
}

// Data before any command, for no command, and headers as long as they get.
func TestBug_nvmet_CVE_2026_22998_DataBeforeCommand(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("InitialR2T=No")
	for _, ttt := range []uint32{0, 1, 0xffffffff} {
		b.send(c, c.DataOut(77, ttt, 0, 0, 0, noise(1, 4096)))
		b.send(c, c.DataOut(0xffffffff, ttt, 0, 0, 0xffffff00, noise(1, 512)))
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	for n := range 256 {
		p, _ := c.Request(iscsitest.TestUnitReady())
		p.AHS = bytes.Repeat([]byte{0xff}, n*4)
		b.send(c, p)
		if r, err := c.Receive(); err != nil || (n == 0) != (r.Op() == 0x21) {
			t.Fatalf("%d words of additional header: %v %v", n, &r, err)
		}
	}
	if n := b.disks[0].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes", n)
	}
	b.alive()
}

// What one initiator costs at most, whatever it says: see Options.
func TestMemoryOfOneConnection(t *testing.T) {
	b := start(t, iscsi.Options{MaxConnections: 200, MaxLogins: 150, MaxHostLogins: 120})
	const n = 100
	before := heap()
	for range n { // 56 KiB of a request that isn't over
		c := b.dial()
		p := rawLogin(c, bytes.Repeat([]byte("k"), 8192))
		p.BHS[1] = 0x44
		for range 7 {
			b.send(c, p)
			b.want(c, 0x23)
		}
	}
	if each := (heap() - before) / n; each > loginBudget {
		t.Errorf("%d bytes each before login", each)
	}
	all := b.many(30, "MaxRecvDataSegmentLength=512")
	before = heap()
	for i, c := range all { // as much as is kept without a command
		p := c.TextRequest(0xffffffff)
		p.BHS[1], p.Data = 0x40, bytes.Repeat([]byte("k"), 60<<10)
		b.send(c, p)
		b.want(c, 0x24)
		for j := range uint32(100) {
			early, _ := c.Request(iscsitest.TestUnitReady())
			early.Put32(24, c.CmdSN+j)
			early.Data = make([]byte, 600)
			b.send(c, early)
		}
		for range 3 * i {
			b.send(c, c.TextRequest(0xffffffff, fmt.Sprintf("X-%060d=1", i)))
		}
	}
	if each := (heap() - before) / int64(len(all)); each > sessionBudget {
		t.Errorf("%d bytes each in a session", each)
	}
	b.alive()
}

// The budgets that the package comment states, in bytes.
const (
	loginBudget   = 128 << 10
	sessionBudget = 400 << 10
)
