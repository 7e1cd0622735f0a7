package iscsi_test

import (
	"context"
	"net"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// broken is a disk with a programming error in it.
type broken struct{ block.Device }

func (broken) ReadAt([]byte, int64) (int, error) { panic("on purpose") }

// A panic ends the session it is in, is counted, and nobody else notices.
func TestPanicEndsOneSession(t *testing.T) {
	mem, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	device := scsi.NewDevice(open)
	for lun, d := range []block.Device{mem, broken{mem}} {
		serial := "P" + string(rune('A'+lun))
		u, err := scsi.NewUnit(d, scsi.UnitOptions{Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := device.Attach(uint16(lun), u); err != nil {
			t.Fatal(err)
		}
	}
	srv := iscsi.NewServer(iscsi.Options{})
	if err := srv.Add(iscsi.Target{Name: open, Device: device, Initiators: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	b := &bench{t: t, srv: srv, addr: l.Addr().String()}
	good := b.session()
	bad := b.dial()
	bad.ISID[5] = 77
	b.login(bad, alice)
	cmd := iscsitest.Read10(0, 1, 512)
	cmd.LUN = 1
	for range 3 { // and those beside it
		if _, err := bad.Start(cmd); err != nil {
			break
		}
	}
	b.closed(bad)
	if r := b.do(good, iscsitest.Read10(0, 1, 512)); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if n := srv.Stats().Panics; n < 1 || n > 3 {
		t.Errorf("%d panics", n)
	}
	good.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, workers := srv.Held(); n != 0 || workers != 0 {
		t.Errorf("%d bytes of memory and %d workers are still in use", n, workers)
	}
}

// Nor does one during login, with the server's lock held.
func TestPanicInLogin(t *testing.T) {
	b := start(t, iscsi.Options{})
	nowhere := "iqn.2026-01.test:nowhere"
	if err := b.srv.Add(iscsi.Target{Name: nowhere, Initiators: []string{"*"}}); err != nil { // no device
		t.Fatal(err)
	}
	c := b.dial()
	if _, err := c.Login(iscsitest.Names(alice, nowhere)...); err == nil {
		t.Error("a session with a target without a device")
	}
	good := b.session()
	if r := b.do(good, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if got := b.srv.Stats(); got.Panics != 1 || got.Sessions != 1 {
		t.Errorf("%+v", got)
	}
}
