package iscsi_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"sanstick/target/block/memdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// FuzzStream throws a whole byte stream at a session that is logged in. The
// server must come through, and end. Run it with -fuzzminimizetime 10x: which
// code a stream reaches depends on timing, and minimising would never end.
func FuzzStream(f *testing.F) {
	mem, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		f.Fatal(err)
	}
	unit, err := scsi.NewUnit(mem, scsi.UnitOptions{Identity: scsi.Identity{Serial: "F", NAA: scsi.NAAFromUUID("F")}})
	if err != nil {
		f.Fatal(err)
	}
	device := scsi.NewDevice(open)
	if err := device.Attach(0, unit); err != nil {
		f.Fatal(err)
	}
	srv := iscsi.NewServer(iscsi.Options{})
	if err := srv.Add(iscsi.Target{Name: open, Device: device, Initiators: []string{"*"}}); err != nil {
		f.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	f.Cleanup(func() { cancel(); <-done; unit.Close() })

	c := &iscsitest.Conn{CmdSN: 1, ITT: 1, ImmediateData: true, FirstBurst: 65536, TargetRecvLimit: 8192}
	seed := func(ps ...iscsitest.PDU) {
		var b []byte
		for _, p := range ps {
			p.BHS[4] = byte(len(p.AHS) / 4)
			p.Put32(4, p.U32(4)&0xff000000|uint32(len(p.Data)))
			b = append(append(append(append(b, p.BHS[:]...), p.AHS...), p.Data...), make([]byte, -len(p.Data)&3)...)
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
		c, err := iscsitest.Dial(context.Background(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Login(iscsitest.Names(alice, open, "InitialR2T=No")...); err != nil {
			t.Fatal(err)
		}
		go func() {
			c.Write(stream)
			c.Conn.(*net.TCPConn).CloseWrite()
		}()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c.Conn); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatal("the session doesn't end")
			}
		}
	})
}
