package iscsi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice    = "iqn.2026-01.test:alice"
	bob      = "iqn.2026-01.test:bob"
	open     = "iqn.2026-01.test:open"   // for anyone, two LUNs
	locked   = "iqn.2026-01.test:locked" // for alice, by CHAP
	diskSize = 64 << 20
)

// bench is a server on loopback and the disks behind it.
type bench struct {
	t     *testing.T
	srv   *iscsi.Server
	addr  string
	disks []*faultdev.Device // LUN 0 and 1 of both targets
}

func start(t *testing.T, o iscsi.Options) *bench {
	t.Helper()
	return startWith(t, o, func(*iscsi.Server) {})
}

// startWith is start, with something done to the server before it serves.
func startWith(t *testing.T, o iscsi.Options, prepare func(*iscsi.Server)) *bench {
	t.Helper()
	return serve(t, o, prepare, func(d *faultdev.Device) block.Device { return d })
}

// startStarters is start, with disks for which no worker has to wait.
func startStarters(t *testing.T, o iscsi.Options) *bench {
	t.Helper()
	return serve(t, o, func(*iscsi.Server) {}, func(d *faultdev.Device) block.Device { return faultdev.Starter{Device: d} })
}

func serve(t *testing.T, o iscsi.Options, prepare func(*iscsi.Server), present func(*faultdev.Device) block.Device) *bench {
	t.Helper()
	if o.LogoutGrace == 0 {
		o.LogoutGrace = 50 * time.Millisecond // most tests leave without a word
	}
	b := &bench{t: t, srv: iscsi.NewServer(o)}
	prepare(b.srv)
	var units []*scsi.Unit
	for i := range 2 {
		mem, err := memdev.New(diskSize, memdev.Options{})
		if err != nil {
			t.Fatal(err)
		}
		disk := faultdev.New(mem)
		serial := fmt.Sprint("TEST-", i)
		u, err := scsi.NewUnit(present(disk), scsi.UnitOptions{Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}})
		if err != nil {
			t.Fatal(err)
		}
		b.disks, units = append(b.disks, disk), append(units, u)
	}
	for _, tt := range []iscsi.Target{
		{Name: open, Initiators: []string{"*"}},
		{Name: locked, Initiators: []string{alice}, CHAP: &iscsi.Credentials{User: "alice", Secret: "alice-secret-123"},
			Mutual: &iscsi.Credentials{User: "target", Secret: "target-secret-123"}},
	} {
		tt.Device = scsi.NewDevice(tt.Name)
		for i, u := range units {
			if err := tt.Device.Attach(uint16(i), u); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.srv.Add(tt); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := len(b.srv.Sessions()); n != 0 {
			t.Errorf("%d sessions left after Serve", n)
		}
		if n, workers := b.srv.Held(); n != 0 || workers != 0 {
			t.Errorf("%d bytes of memory and %d workers are still in use after Serve", n, workers)
		}
		for _, u := range units {
			if err := u.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return b
}

func (b *bench) dial() *iscsitest.Conn {
	b.t.Helper()
	c, err := iscsitest.Dial(context.Background(), b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// session logs in as alice, and clears the unit attentions.
func (b *bench) session(keys ...string) *iscsitest.Conn {
	b.t.Helper()
	c := b.dial()
	b.login(c, alice, keys...)
	return c
}

func (b *bench) login(c *iscsitest.Conn, initiator string, keys ...string) {
	b.t.Helper()
	if _, err := c.Login(iscsitest.Names(initiator, open, keys...)...); err != nil {
		b.t.Fatal(err)
	}
	for lun := range uint16(2) {
		for range 5 {
			if b.do(c, iscsitest.Command{LUN: lun, CDB: make([]byte, 6)}).Status == 0 {
				break
			}
		}
	}
}

func (b *bench) do(c *iscsitest.Conn, cmd iscsitest.Command) iscsitest.Result {
	b.t.Helper()
	r, err := c.Do(cmd)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) send(c *iscsitest.Conn, p iscsitest.PDU) {
	b.t.Helper()
	if err := c.Send(p); err != nil {
		b.t.Fatal(err)
	}
}

// want receives a PDU with this operation code.
func (b *bench) want(c *iscsitest.Conn, op byte) iscsitest.PDU {
	b.t.Helper()
	p, err := c.Receive()
	if err != nil {
		b.t.Fatal(err)
	}
	if p.Op() != op {
		b.t.Fatalf("want operation code %#02x, got %v", op, &p)
	}
	return p
}

// closed checks that the target has closed the connection.
func (b *bench) closed(c *iscsitest.Conn) {
	b.t.Helper()
	for {
		_, err := c.Receive()
		var timeout net.Error
		switch {
		case err == nil:
			continue
		case errors.As(err, &timeout) && timeout.Timeout():
			b.t.Fatal("the connection is still open")
		}
		return
	}
}

// onDisk reads what is on a disk.
func (b *bench) onDisk(lun int, off int64, n int) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.disks[lun].ReadAt(p, off); err != nil {
		b.t.Fatal(err)
	}
	return p
}

// patience is how long something may take that should take no time at all, on
// a machine with other things to do.
const patience = 5 * time.Second

func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	p := make([]byte, n)
	r.Read(p)
	return p
}

func same(t *testing.T, what string, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Errorf("%s: %d bytes differ from the %d that were expected", what, len(got), len(want))
	}
}

// quiet checks that nothing comes for a while.
func (b *bench) quiet(c *iscsitest.Conn) {
	b.t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	p, err := c.Receive()
	if err == nil {
		b.t.Fatalf("unexpected %v", &p)
	}
	if !strings.Contains(err.Error(), "timeout") {
		b.t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
}
