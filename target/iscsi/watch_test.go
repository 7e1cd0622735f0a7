package iscsi_test

import (
	"context"
	"net"
	"testing"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// async receives an asynchronous message and checks that it is the next thing
// the target says.
func (b *bench) async(c *iscsitest.Conn, event byte) iscsitest.PDU {
	b.t.Helper()
	stat := c.ExpStatSN
	p := b.want(c, 0x32)
	if p.BHS[36] != event || p.ITT() != 0xffffffff || p.U32(24) != stat || c.ExpStatSN != stat+1 {
		b.t.Errorf("want event %d: %v", event, &p)
	}
	return p
}

// within runs f and checks how long it takes.
func within(t *testing.T, what string, least, most time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if d := time.Since(begin); d < least || d > most {
		t.Errorf("%s took %v, want %v to %v", what, d, least, most)
	}
}

// When a target goes, its initiators are asked to log out, and can go on until
// they have. Who stays is told that the session is dropped.
func TestLogoutRequest(t *testing.T) {
	b := start(t, iscsi.Options{LogoutGrace: 700 * time.Millisecond})
	heeds, stays := b.session(), b.dial()
	stays.ISID[5] = 9
	b.login(stays, alice)
	discovery := b.dial()
	if _, err := discovery.Login("InitiatorName="+alice, "SessionType=Discovery"); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	within(t, "removal", 700*time.Millisecond, patience, func() {
		go func() { removed <- b.srv.Remove(open) }()
		if p := b.async(heeds, 1); p.U16(42) != 1 {
			t.Errorf("%v", &p)
		}
		b.async(stays, 1)
		data := noise(1, 512)
		if r := b.do(heeds, iscsitest.Write10(0, data, 512)); r.Status != 0 {
			t.Errorf("%+v", r)
		}
		same(t, "written after the request", data, b.onDisk(0, 0, 512))
		b.send(heeds, heeds.Logout())
		if p := b.want(heeds, 0x26); p.BHS[2] != 0 {
			t.Errorf("%v", &p)
		}
		b.closed(heeds)
		if r := b.do(stays, iscsitest.TestUnitReady()); r.Status != 0 {
			t.Errorf("%+v", r)
		}
		if p := b.async(stays, 3); p.U32(40) != 0 {
			t.Errorf("%v", &p)
		}
		b.closed(stays)
		if err := <-removed; err != nil {
			t.Error(err)
		}
	})
	b.send(discovery, discovery.TextRequest(0xffffffff, "SendTargets=All"))
	b.want(discovery, 0x24)
}

// When all have logged out there is nothing to wait for; and who doesn't even
// read doesn't hold anything up.
func TestLogoutInTime(t *testing.T) {
	b := start(t, iscsi.Options{LogoutGrace: 2 * time.Second, ReadBudget: 16 << 20})
	addr := ""
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	{
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = l.Addr().String()
		go func() { done <- b.srv.ServePortal(ctx, l, iscsi.Portal{Group: 2}) }()
	}
	other, c := b.session(), b.dialTo(addr)
	b.login(c, alice)
	within(t, "the end of a portal", 0, 1900*time.Millisecond, func() {
		cancel()
		b.async(c, 1)
		b.send(c, c.Logout())
		b.want(c, 0x26)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if r := b.do(other, iscsitest.TestUnitReady()); r.Status != 0 { // it came by another
		t.Errorf("%+v", r)
	}
	unread := b.dial()
	unread.ISID[5] = 8
	b.login(unread, alice)
	deaf(t, unread)
	for range 16 {
		if _, err := unread.Start(iscsitest.Read10(0, 16384, 512)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "removal with one that doesn't read", 2*time.Second, 2*time.Second+patience, func() {
		if err := b.srv.Remove(open); err != nil {
			t.Error(err)
		}
	})
}

// Silent initiators are pinged if they have shown that they know what that is.
func TestPing(t *testing.T) {
	b := start(t, iscsi.Options{PingInterval: 200 * time.Millisecond, PingTimeout: 1500 * time.Millisecond})
	all := b.many(3)
	simple, answers, dies := all[0], all[1], all[2]
	nop := func(c *iscsitest.Conn, itt, ttt uint32) iscsitest.PDU {
		var p iscsitest.PDU
		p.BHS[0], p.BHS[1] = 0x40, 0x80
		p.Put32(16, itt)
		p.Put32(20, ttt)
		p.Put32(24, c.CmdSN)
		p.Put32(28, c.ExpStatSN)
		return p
	}
	for _, c := range all[1:] {
		b.send(c, nop(c, c.NextITT(), 0xffffffff))
		b.want(c, 0x20)
	}
	tags := map[uint32]bool{}
	for begin := time.Now(); time.Since(begin) < 1500*time.Millisecond; {
		stat := answers.ExpStatSN
		p := b.want(answers, 0x20)
		if p.ITT() != 0xffffffff || p.U32(20) == 0xffffffff || tags[p.U32(20)] || p.U32(24) != stat || len(p.Data) != 0 {
			t.Errorf("%v, StatSN %d", &p, stat)
		}
		answers.ExpStatSN = stat // a ping uses none up
		tags[p.U32(20)] = true
		b.send(answers, nop(answers, 0xffffffff, p.U32(20)))
	}
	if n := len(tags); n < 2 || n > 8 {
		t.Errorf("%d pings in 1.5 s", n)
	}
	b.closed(dies)
	itt, err := answers.Start(iscsitest.TestUnitReady())
	if err != nil {
		t.Fatal(err)
	}
	p, err := answers.Receive()
	for err == nil && p.Op() == 0x20 { // another ping may come first
		p, err = answers.Receive()
	}
	if err != nil || p.Op() != 0x21 || p.ITT() != itt || p.BHS[3] != 0 {
		t.Errorf("%v, error %v", &p, err)
	}
	// Whoever has never sent a NOP is left alone, and sees no ping.
	if r := b.do(simple, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if got := b.srv.Stats().PingTimeouts; got != 1 {
		t.Errorf("%d ping timeouts", got)
	}
}

// A request must come in reasonable time once it has begun: memory is kept for
// it.
func TestSlowRequest(t *testing.T) {
	b := start(t, iscsi.Options{DataTimeout: 400 * time.Millisecond})
	all := b.many(3)
	idle, stops, trickles := all[0], all[1], all[2]
	begin := time.Now()
	for _, c := range all[1:] {
		p := iscsitest.PDU{Data: make([]byte, 4096)}
		p.BHS[0], p.BHS[1] = 0x40, 0x80
		p.BHS[6] = 0x10
		p.Put32(20, 0xffffffff)
		if _, err := c.Write(p.BHS[:]); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		if _, err := trickles.Write([]byte{0}); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.closed(stops)
	b.closed(trickles)
	if d := time.Since(begin); d > patience {
		t.Errorf("cut off after %v", d)
	}
	if r := b.do(idle, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}
