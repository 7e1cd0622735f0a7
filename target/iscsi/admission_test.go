package iscsi_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

func (b *bench) dialFrom(ip string) *iscsitest.Conn {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	nc, err := d.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := iscsitest.NewConn(context.Background(), nc)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// turnedAway checks that the target closes a connection at once.
func (b *bench) turnedAway(c *iscsitest.Conn) {
	b.t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b.closed(c)
}

// One host can't keep the others from logging in, neither by connections that
// say nothing nor by discovery sessions, and not by real sessions either.
func TestOneHostFloods(t *testing.T) {
	t.Run("logins", func(t *testing.T) {
		b := start(t, iscsi.Options{MaxHostLogins: 4, MaxLogins: 6})
		b.session() // not counted: it is logged in
		for range 3 {
			b.dialFrom("127.0.0.1")
		}
		if _, err := b.dialFrom("127.0.0.1").Login("InitiatorName="+bob, "SessionType=Discovery"); err != nil {
			t.Fatal(err)
		}
		b.turnedAway(b.dialFrom("127.0.0.1"))
		b.login(b.dialFrom("127.0.0.2"), alice)
		b.dialFrom("127.0.0.3")
		b.dialFrom("127.0.0.3")
		b.turnedAway(b.dialFrom("127.0.0.4"))
	})
	t.Run("sessions", func(t *testing.T) {
		b := start(t, iscsi.Options{MaxConnections: 4})
		for i := range 3 {
			c := b.dial()
			c.ISID[5] = byte(i)
			b.login(c, alice)
		}
		b.turnedAway(b.dial())
		b.login(b.dialFrom("127.0.0.2"), bob)
	})
}

// A discovery session, which anybody can have, doesn't last.
func TestDiscoveryEnds(t *testing.T) {
	b := start(t, iscsi.Options{LoginTimeout: 100 * time.Millisecond})
	c := b.dial()
	if _, err := c.Login("InitiatorName="+bob, "SessionType=Discovery"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(3 * time.Second))
	b.closed(c)
}

// A target that asks for CHAP can't be had by a login that began before it
// did.
func TestCHAPTurnedOnDuringLogin(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.dial()
	if _, _, err := c.LoginStep(0, 1, iscsitest.Names(alice, open)...); err != nil {
		t.Fatal(err)
	}
	if err := b.srv.Remove(open); err != nil {
		t.Fatal(err)
	}
	if err := b.srv.Add(iscsi.Target{Name: open, Initiators: []string{"*"}, Device: scsi.NewDevice(open),
		CHAP: &iscsi.Credentials{User: "alice", Secret: "alice-secret-123"}}); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.LoginStep(1, 3)
	var refused *iscsitest.LoginError
	if !errors.As(err, &refused) || refused.Status != 0x0201 {
		t.Errorf("want status 0201, got %v", err)
	}
}
