package iscsi_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// Who doesn't log in in time, says nonsense, or comes when it is full, is cut
// off, and the others don't notice.
func TestUnwelcome(t *testing.T) {
	b := start(t, iscsi.Options{LoginTimeout: 300 * time.Millisecond, MaxConnections: 8})
	good := b.session()
	silent := b.dial()
	half := b.dial()
	if _, err := half.Write(make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	long := b.dial()
	p := iscsitest.PDU{Data: make([]byte, 8193)}
	p.BHS[0], p.BHS[1] = 0x43, 0x87
	if err := long.Send(p); err == nil {
		b.closed(long)
	}
	early := b.dial()
	b.send(early, iscsitest.PDU{})
	b.closed(early)
	b.closed(silent)
	b.closed(half)

	// What is longer than was declared ends a session.
	c := b.dial()
	c.ISID[5] = 50
	b.login(c, alice)
	big, _ := c.Request(iscsitest.Write10(0, make([]byte, 512), 512))
	big.Data = make([]byte, 256<<10+4)
	if err := c.Send(big); err == nil {
		b.closed(c)
	}
	if r := b.do(good, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	for range 12 { // the one that is logged in and seven more
		b.dial()
	}
	last := b.dial()
	b.closed(last)
}

// An initiator that doesn't read its answers costs a bounded amount, and holds
// nobody else up.
func TestDeafInitiator(t *testing.T) {
	b := start(t, iscsi.Options{ReadBudget: 16 << 20})
	good := b.session()
	deaf := b.dial()
	b.login(deaf, bob)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	deaf.SetWriteDeadline(time.Now().Add(time.Second))
	ping := iscsitest.PDU{Data: make([]byte, 200<<10)}
	ping.BHS[0], ping.BHS[1] = 0x40, 0x80
	ping.Put32(20, 0xffffffff)
	for range 64 {
		if _, err := deaf.Start(iscsitest.Read10(0, 2048, 512)); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	for deaf.Send(ping) == nil {
		sent++
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("%d bytes of memory after %d pings", grown, sent)
	}
	if r := b.do(good, iscsitest.Read10(0, 2048, 512)); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	deaf.Close()
}

// Serve ends with its context, however many are connected, and waits for the
// writes that are running.
func TestServeEnds(t *testing.T) {
	srv := iscsi.NewServer(iscsi.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	c, err := iscsitest.Dial(ctx, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve goes on")
	}
}
