package iscsi_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// drain receives until everything that was sent before is answered, or never
// will be, and calls see with the answers.
func drain(c *iscsitest.Conn, see func(p *iscsitest.PDU)) error {
	last, err := c.Start(iscsitest.Command{CDB: make([]byte, 6), Attr: 2}) // ORDERED
	if err != nil {
		return err
	}
	for {
		p, err := c.Receive()
		switch {
		case err != nil:
			return err
		case p.ITT() == last:
			return nil
		}
		see(&p)
	}
}

// Fencing: once PREEMPT AND ABORT is answered, nothing of the preempted one
// changes the disk any more, whatever it had on its way, on a disk that is slow
// at times. Run with -race.
func TestNoLateWriteAfterPreempt(t *testing.T) {
	b := start(t, iscsi.Options{Workers: 4})
	victim, by := b.session(), b.dial()
	b.login(by, bob)
	b.good(by, prOut(prIgnore, 0, 0, 0xb))
	r := rand.New(rand.NewPCG(3, 1))
	const blocks = 8
	conflicts, aborted := 0, 0
	for round := range 120 {
		b.good(victim, prOut(prIgnore, 0, 0, 0xa))
		kind := []byte{1, 5}[r.IntN(2)]
		if round%2 == 0 { // the reservation is taken away, too
			b.good(victim, prOut(prReserve, kind, 0xa, 0))
		} else {
			b.good(by, prOut(prReserve, 5, 0xb, 0))
			kind = 5
		}
		release := func() {}
		if r.IntN(2) == 0 {
			_, release = b.disks[0].Hold(faultdev.Write)
		}
		sent := 12
		for i := range sent {
			data := bytes.Repeat([]byte{byte(round), byte(i)}, 256)
			if _, err := victim.Start(iscsitest.Write10(uint32(r.IntN(blocks)), data, 512)); err != nil {
				t.Fatal(err)
			}
		}
		go func(d time.Duration) {
			time.Sleep(d)
			release()
		}(time.Duration(r.IntN(3000)) * time.Microsecond)
		b.good(by, prOut(prPreemptAbort, kind, 0xb, 0xa))
		before, writes := b.onDisk(0, 0, blocks*512), b.disks[0].Calls(faultdev.Write)
		time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond)
		answers := 0
		err := drain(victim, func(p *iscsitest.PDU) {
			if answers++; p.BHS[3] == conflict {
				conflicts++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		aborted += sent - answers
		if n := b.disks[0].Calls(faultdev.Write); n != writes || !bytes.Equal(before, b.onDisk(0, 0, blocks*512)) {
			t.Fatalf("round %d: %d writes of the preempted initiator began later, or one landed later", round, n-writes)
		}
		for b.do(victim, iscsitest.TestUnitReady()).Status != 0 {
		}
		b.good(by, iscsitest.Command{CDB: []byte{0x5f, 2, kind, 0, 0, 0, 0, 0, 24, 0}, Out: prOut(0, 0, 0xb, 0).Out})
		for b.do(victim, iscsitest.TestUnitReady()).Status != 0 {
		}
	}
	t.Logf("%d writes aborted, %d conflicts", aborted, conflicts)
	if aborted == 0 || conflicts == 0 {
		t.Error("the test doesn't test what it should")
	}
}

// Who preempts himself ends his own commands, but for the one that does it.
func TestPreemptOneself(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	b.good(c, prOut(prRegister, 0, 0, 0xa))
	b.good(c, prOut(prReserve, 1, 0xa, 0))
	arrived, release := b.disks[0].Hold(faultdev.Write)
	if _, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	itt, err := c.Start(prOut(prPreemptAbort, 3, 0xa, 0xa))
	if err != nil {
		t.Fatal(err)
	}
	b.quiet(c)
	release()
	if p := b.want(c, 0x21); p.ITT() != itt || p.BHS[3] != 0 {
		t.Errorf("%v", &p)
	}
	b.quiet(c)
	b.good(c, iscsitest.TestUnitReady()) // no unit attention for oneself
}

// A PREEMPT AND ABORT that is itself aborted, or whose session ends, doesn't
// wait on.
func TestAbortOfPreempt(t *testing.T) {
	for _, logout := range []bool{false, true} {
		b := start(t, iscsi.Options{})
		victim, by := b.session(), b.dial()
		b.login(by, bob)
		b.good(victim, prOut(prRegister, 0, 0, 0xa))
		b.good(by, prOut(prRegister, 0, 0, 0xb))
		arrived, release := b.disks[0].Hold(faultdev.Write)
		if _, err := victim.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
			t.Fatal(err)
		}
		<-arrived
		itt, err := by.Start(prOut(prPreemptAbort, 1, 0xb, 0xa))
		if err != nil {
			t.Fatal(err)
		}
		b.quiet(by)
		req, op := by.Manage(iscsitest.AbortTask, 0, itt), byte(0x22)
		if logout {
			req, op = by.Logout(), 0x26
		}
		b.send(by, req)
		if p := b.want(by, op); p.BHS[2] != 0 {
			t.Errorf("%v", &p)
		}
		release()
	}
}
