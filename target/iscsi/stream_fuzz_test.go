package iscsi_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// fuzzServer serves a small RAM disk to anyone for as long as a fuzz target
// runs.
func fuzzServer(f *testing.F) (srv *iscsi.Server, addr string, disk block.Device) {
	mem, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		f.Fatal(err)
	}
	unit, err := scsi.NewUnit(mem, scsi.UnitOptions{Identity: scsi.Identity{Serial: "F", NAA: scsi.NAAFromUUID("F")}})
	if err != nil {
		f.Fatal(err)
	}
	srv = iscsi.NewServer(iscsi.Options{})
	for _, t := range []iscsi.Target{
		{Name: open, Initiators: []string{"*"}},
		{Name: locked, Initiators: []string{"*"}, CHAP: &iscsi.Credentials{User: "alice", Secret: "alice-secret-123"}},
	} {
		t.Device = scsi.NewDevice(t.Name)
		if err := t.Device.Attach(0, unit); err != nil {
			f.Fatal(err)
		}
		if err := srv.Add(t); err != nil {
			f.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	f.Cleanup(func() { cancel(); <-done; unit.Close() })
	return srv, l.Addr().String(), mem
}

// throw sends a stream, says that nothing follows, and waits until the target
// has closed the connection. Nothing may have gone wrong inside.
func throw(t *testing.T, srv *iscsi.Server, c *iscsitest.Conn, stream []byte) {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.Write(stream)
		c.Conn.(*net.TCPConn).CloseWrite()
	}()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, c.Conn); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatal("the connection doesn't end")
		}
	}
	c.Close()
	<-sent
	if n := srv.Stats().Panics; n != 0 {
		t.Fatalf("%d panics", n)
	}
}

// wireForm is a PDU without digests as it is sent.
func wireForm(p iscsitest.PDU) []byte {
	p.BHS[4] = byte(len(p.AHS) / 4)
	p.Put32(4, p.U32(4)&0xff000000|uint32(len(p.Data)))
	return slices.Concat(p.BHS[:], p.AHS, p.Data, make([]byte, -len(p.Data)&3))
}

// FuzzStream throws a whole byte stream at a session that is logged in. The
// server must come through, and end. Run it with -fuzzminimizetime 10x: which
// code a stream reaches depends on timing, and minimising would never end.
func FuzzStream(f *testing.F) {
	srv, addr, _ := fuzzServer(f)
	c := &iscsitest.Conn{CmdSN: 1, ITT: 1, ImmediateData: true, FirstBurst: 65536, TargetRecvLimit: 8192}
	seed := func(ps ...iscsitest.PDU) {
		var b []byte
		for _, p := range ps {
			b = append(b, wireForm(p)...)
		}
		f.Add(b)
	}
	write, _ := c.Request(iscsitest.Write10(0, make([]byte, 2048), 512))
	tur, _ := c.Request(iscsitest.TestUnitReady())
	read, _ := c.Request(iscsitest.Read10(0, 8, 512))
	short := write
	short.Data = nil
	seed(write, tur, read)
	seed(short, c.DataOut(1, 1, 0, 0, 0, make([]byte, 2048)), c.Manage(iscsitest.AbortTask, 0, 1))
	seed(c.TextRequest(0xffffffff, "SendTargets="), c.Manage(iscsitest.LUNReset, 0, 0), c.Logout())
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, err := iscsitest.Dial(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(iscsitest.Names(alice, open, "InitialR2T=No")...); err != nil {
			t.Fatal(err)
		}
		throw(t, srv, c, stream)
	})
}

// FuzzConnection throws a whole byte stream at a connection that has said
// nothing yet.
func FuzzConnection(f *testing.F) {
	srv, addr, _ := fuzzServer(f)
	c := &iscsitest.Conn{CmdSN: 1, ITT: 1, ISID: [6]byte{0x80, 0, 0, 2}}
	login := func(flags byte, keys ...string) []byte {
		p := rawLogin(c, iscsitest.Text(keys...))
		p.BHS[1] = flags
		return wireForm(p)
	}
	names := iscsitest.Names(bob, open)
	tur, _ := c.Request(iscsitest.TestUnitReady())
	f.Add(slices.Concat(login(0x87, names...), wireForm(tur), wireForm(c.TextRequest(0xffffffff, "SendTargets=")), wireForm(c.Logout())))
	f.Add(slices.Concat(login(0x81, append(names, "AuthMethod=None")...), login(0x87, "HeaderDigest=CRC32C,None", "DataDigest=CRC32C")))
	f.Add(slices.Concat(login(0x81, append(iscsitest.Names(bob, locked), "AuthMethod=CHAP,None")...), login(0x80, "CHAP_A=7,5"), login(0x81, "CHAP_N=alice", "CHAP_R=0x00")))
	f.Add(slices.Concat(login(0x44, "InitiatorName=x"), login(0x87, "SessionType=Discovery"), wireForm(c.TextRequest(0xffffffff, "SendTargets=All"))))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, err := iscsitest.Dial(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		throw(t, srv, c, stream)
	})
}

// FuzzSendTargets sends text requests, of which it says the flags, tags and
// text, in a discovery session.
func FuzzSendTargets(f *testing.F) {
	srv, addr, _ := fuzzServer(f)
	f.Add(byte(0x80), []byte("SendTargets=All\x00"), byte(0x80), []byte{})
	f.Add(byte(0x40), []byte("SendTar"), byte(0x80), []byte("gets="+open+"\x00"))
	f.Add(byte(0x00), []byte("MaxRecvDataSegmentLength=512\x00"), byte(0xc1), []byte("SendTargets=All\x00SendTargets=\x00"))
	f.Fuzz(func(t *testing.T, flags1 byte, text1 []byte, flags2 byte, text2 []byte) {
		c, err := iscsitest.Dial(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login("InitiatorName="+alice, "SessionType=Discovery", "MaxRecvDataSegmentLength=512"); err != nil {
			t.Fatal(err)
		}
		p := c.TextRequest(0xffffffff)
		q := c.TextRequest(1)
		q.Put32(16, p.ITT())
		if flags2&1 != 0 {
			q.Put32(20, 0xffffffff)
		}
		p.BHS[1], p.Data = flags1&0xc0, text1
		q.BHS[1], q.Data = flags2&0xc0, text2
		throw(t, srv, c, slices.Concat(wireForm(p), wireForm(q), wireForm(c.Logout())))
	})
}

// FuzzDataOut sends the data of a write in any order, with any numbers and
// lengths. If the write is said to be good, it is all there.
func FuzzDataOut(f *testing.F) {
	srv, addr, disk := fuzzServer(f)
	f.Add([]byte{0, 0, 8, 0x81})
	f.Add([]byte{0, 0, 4, 1, 1, 4, 4, 0x81})
	f.Add([]byte{0, 0, 8, 0x01, 1, 8, 0, 0x81})
	f.Add([]byte{0, 0, 4, 0x81, 0, 4, 4, 0x81})
	f.Add([]byte{0, 4, 4, 1, 0, 0, 4, 0x81})
	round := uint64(0)
	f.Fuzz(func(t *testing.T, steps []byte) {
		const unit, whole = 256, 8 * 256 // four blocks, of which two may come unasked
		c, err := iscsitest.Dial(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Login(iscsitest.Names(alice, open, "ImmediateData=No", "InitialR2T=No", "FirstBurstLength=1024", "MaxBurstLength=1024")...); err != nil {
			t.Fatal(err)
		}
		for {
			r, err := c.Do(iscsitest.TestUnitReady())
			if err != nil {
				t.Fatal(err)
			}
			if r.Status == 0 {
				break
			}
		}
		round++
		data := noise(round, whole)
		p, _ := c.Request(iscsitest.Command{CDB: iscsitest.Write10(0, data, 512).CDB, Out: data})
		stream := wireForm(p)
		for ttt := uint32(0xffffffff); len(steps) >= 4; steps = steps[4:] {
			// DataSN, offset, length, and: the final bit, the way to the next R2T.
			from := min(int(steps[1])*unit, whole)
			d := c.DataOut(p.ITT(), ttt, 0, uint32(steps[0]), int(steps[1])*unit, data[from:min(from+int(steps[2])*unit, whole)])
			d.BHS[1] = steps[3] & 0x80
			stream = append(stream, wireForm(d)...)
			if steps[3]&1 != 0 {
				if ttt++; ttt == 0 {
					ttt = 1
				}
			}
		}
		stream = append(stream, wireForm(c.Manage(iscsitest.AbortTask, 0, p.ITT()))...)
		if _, err := c.Write(stream); err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		for good := false; ; {
			r, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			good = good || r.Op() == 0x21 && r.BHS[3] == 0
			if r.Op() != 0x22 {
				continue
			}
			if got := make([]byte, whole); good {
				if _, err := disk.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("a good write isn't there: %v", err)
				}
			}
			break
		}
		if n := srv.Stats().Panics; n != 0 {
			t.Fatalf("%d panics", n)
		}
	})
}
