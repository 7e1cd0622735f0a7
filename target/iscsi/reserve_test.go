package iscsi_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// Service actions of PERSISTENT RESERVE OUT, and statuses.
const (
	prRegister     = 0
	prReserve      = 1
	prPreempt      = 4
	prPreemptAbort = 5
	prIgnore       = 6

	conflict = 0x18
)

func prOut(action, kind byte, key, newKey uint64) iscsitest.Command {
	list := binary.BigEndian.AppendUint64(nil, key)
	list = append(binary.BigEndian.AppendUint64(list, newKey), 0, 0, 0, 0, 0, 0, 0, 0)
	return iscsitest.Command{CDB: []byte{0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0}, Out: list}
}

func (b *bench) good(c *iscsitest.Conn, cmd iscsitest.Command) {
	b.t.Helper()
	if r := b.do(c, cmd); r.Status != 0 {
		b.t.Fatalf("%x: status %#x, sense %06x", cmd.CDB, r.Status, r.SenseCode())
	}
}

// sharedSession logs in to the other target, which has the same units.
func (b *bench) sharedSession() *iscsitest.Conn {
	b.t.Helper()
	c := b.dial()
	if _, err := c.LoginCHAP(iscsitest.CHAP{Algorithm: 5, User: "alice", Secret: "alice-secret-123"}, iscsitest.Names(alice, locked)); err != nil {
		b.t.Fatal(err)
	}
	b.do(c, iscsitest.TestUnitReady())
	return c
}

// PREEMPT AND ABORT is answered when the write of the preempted nexus that is
// running has come back. What waits for a worker or for data never starts, and
// nothing of it is answered. Same target or another, that is all one.
func TestPreemptAndAbort(t *testing.T) {
	data := noise(1, 4096)
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("other target ", shared), func(t *testing.T) {
			b := start(t, iscsi.Options{Workers: 2})
			victim, by := b.session("ImmediateData=No", "InitialR2T=Yes"), b.dial()
			if shared {
				by = b.sharedSession()
			} else {
				b.login(by, bob)
			}
			b.good(victim, prOut(prRegister, 0, 0, 0xa))
			b.good(by, prOut(prRegister, 0, 0, 0xb))
			b.good(victim, prOut(prReserve, 1, 0xa, 0))
			arrived, release := b.disks[0].Hold(faultdev.Write)
			for i := range uint32(3) { // two run, one waits for a worker
				itt, err := victim.Start(iscsitest.Write10(8*i, data, 512))
				if err != nil {
					t.Fatal(err)
				}
				r2t := b.want(victim, 0x31)
				b.send(victim, victim.DataOut(itt, r2t.U32(20), 0, 0, 0, data))
			}
			<-arrived
			<-arrived
			gathering, err := victim.Start(iscsitest.Write10(8*3, data, 512))
			if err != nil {
				t.Fatal(err)
			}
			r2t := b.want(victim, 0x31)
			writes := b.disks[0].Calls(faultdev.Write)
			itt, err := by.Start(prOut(prPreemptAbort, 1, 0xb, 0xa))
			if err != nil {
				t.Fatal(err)
			}
			b.quiet(by)
			release()
			if r, err := by.Finish(itt, prOut(0, 0, 0xb, 0xa)); err != nil || r.Status != 0 {
				t.Fatalf("PREEMPT AND ABORT: %+v, %v", r, err)
			}
			b.send(victim, victim.DataOut(gathering, r2t.U32(20), 0, 0, 0, data))
			b.quiet(victim)
			if n := b.disks[0].Calls(faultdev.Write) - writes; n != 0 {
				t.Errorf("%d writes began after the preemption", n)
			}
			same(t, "write that waited for a worker", make([]byte, 4096), b.onDisk(0, 8*512*2, 4096))
			if r := b.do(victim, iscsitest.TestUnitReady()); r.SenseCode() != 0x062a05 {
				t.Errorf("the preempted initiator is told %06x", r.SenseCode())
			}
			if r := b.do(victim, iscsitest.Write10(0, data, 512)); r.Status != conflict {
				t.Errorf("its write: status %#x", r.Status)
			}
			b.good(by, iscsitest.Write10(0, data, 512))
		})
	}
}

// A write whose data is still coming in when its nexus loses the reservation
// isn't done.
func TestPreemptBeforeData(t *testing.T) {
	b := start(t, iscsi.Options{})
	victim, by := b.session("ImmediateData=No", "InitialR2T=Yes"), b.dial()
	b.login(by, bob)
	b.good(victim, prOut(prRegister, 0, 0, 0xa))
	b.good(by, prOut(prRegister, 0, 0, 0xb))
	b.good(victim, prOut(prReserve, 3, 0xa, 0))
	cmd := iscsitest.Write10(0, noise(1, 4096), 512)
	itt, err := victim.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	r2t := b.want(victim, 0x31)
	b.good(by, prOut(prPreempt, 3, 0xb, 0xa))
	b.send(victim, victim.DataOut(itt, r2t.U32(20), 0, 0, 0, cmd.Out))
	if r, err := victim.Finish(itt, cmd); err != nil || r.Status != conflict {
		t.Errorf("%+v, %v", r, err)
	}
	if n := b.disks[0].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes reached the disk", n)
	}
}

// An initiator that reads no more doesn't hold up who preempts it: its reads
// wait for memory, and have no effects.
func TestPreemptOneThatStalls(t *testing.T) {
	b := start(t, iscsi.Options{ReadBudget: 16 << 20})
	victim, by := b.session(), b.dial()
	b.login(by, bob)
	b.good(victim, prOut(prRegister, 0, 0, 0xa))
	b.good(by, prOut(prRegister, 0, 0, 0xb))
	for range 8 {
		if _, err := victim.Start(iscsitest.Read10(0, 16<<20/512, 512)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond) // socket buffers fill up
	begin := time.Now()
	b.good(by, prOut(prPreemptAbort, 1, 0xb, 0xa))
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("preempting took %v", d)
	}
}

// Registrations outlive the session; what RESERVE took doesn't, however the
// session ends.
func TestReservationAndSession(t *testing.T) {
	for _, logout := range []bool{true, false} {
		b := start(t, iscsi.Options{})
		owner, other := b.session(), b.dial()
		b.login(other, bob)
		b.good(owner, prOut(prRegister, 0, 0, 0xa))
		b.good(owner, prOut(prReserve, 1, 0xa, 0))
		b.good(owner, iscsitest.Command{LUN: 1, CDB: []byte{0x16, 0, 0, 0, 0, 0}})
		tur := iscsitest.Command{LUN: 1, CDB: make([]byte, 6)}
		if r := b.do(other, tur); r.Status != conflict {
			t.Errorf("reserved by another: status %#x", r.Status)
		}
		if logout {
			b.send(owner, owner.Logout())
			b.want(owner, 0x26)
		}
		owner.Close()
		for i := 0; b.do(other, tur).Status == conflict; i++ {
			if i > 200 {
				t.Fatal("still reserved by a session that has ended")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if r := b.do(other, iscsitest.Write10(0, noise(1, 512), 512)); r.Status != conflict {
			t.Errorf("persistent reservation of one that is away: status %#x", r.Status)
		}
		again := b.session()
		b.good(again, iscsitest.Write10(0, noise(1, 512), 512))
		if r := b.do(other, iscsitest.Command{LUN: 0, CDB: []byte{0x5e, 0, 0, 0, 0, 0, 0, 0, 255, 0}, In: 255}); len(r.Data) != 16 || r.Data[15] != 0xa {
			t.Errorf("keys %x", r.Data)
		}
	}
}

// A reset through one target reaches the commands and the RESERVE of a session
// with another target that has the same unit.
func TestResetReachesOtherTargets(t *testing.T) {
	for name, function := range map[string]byte{
		"LUN RESET": iscsitest.LUNReset, "CLEAR TASK SET": iscsitest.ClearTaskSet, "WARM RESET": iscsitest.WarmReset,
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, iscsi.Options{})
			far, by := b.sharedSession(), b.session()
			if function != iscsitest.ClearTaskSet {
				b.good(far, iscsitest.Command{CDB: []byte{0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0}})
			}
			arrived, release := b.disks[0].Hold(faultdev.Write)
			if _, err := far.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
				t.Fatal(err)
			}
			<-arrived
			b.send(by, by.Manage(function, 0, 0xffffffff))
			b.quiet(by)
			release()
			if p := b.want(by, 0x22); p.BHS[2] != 0 {
				t.Errorf("%v", &p)
			}
			b.quiet(far) // no answer
			if r := b.do(far, iscsitest.TestUnitReady()); r.Status != 2 {
				t.Errorf("the far initiator is told nothing: %+v", r)
			}
			for range 3 {
				if r := b.do(by, iscsitest.TestUnitReady()); r.Status == 0 {
					return
				}
			}
			t.Error("the unit is still reserved")
		})
	}
}

// Initiators that preempt and abort each other at full load, and leave in the
// middle of it, never block each other for good. Run with -race.
func TestPreemptStorm(t *testing.T) {
	b := start(t, iscsi.Options{})
	const nodes = 4
	errs := make(chan error, nodes)
	for i := range nodes {
		go func() { errs <- b.preemptStorm(uint64(i + 1)) }()
	}
	for range nodes {
		select {
		case err := <-errs:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("initiators block each other")
		}
	}
}

func (b *bench) preemptStorm(me uint64) error {
	r := rand.New(rand.NewPCG(me, 7))
	data := noise(me, 64<<10)
	for range 10 {
		c, err := iscsitest.Dial(b.t.Context(), b.addr)
		if err != nil {
			return err
		}
		c.ISID[5] = byte(me)
		if _, err := c.Login(iscsitest.Names(fmt.Sprint(alice, me), open)...); err != nil {
			return err
		}
		for range 15 {
			// The others' victims don't get answers, so nothing is waited for but
			// NOPs; the order of what happens is up to the target.
			cmds := []iscsitest.Command{
				prOut(prIgnore, 0, 0, me),
				iscsitest.Write10(uint32(me)*128, data, 512),
				prOut(prReserve, 5, me, 0),
				prOut(prPreemptAbort, 5, me, r.Uint64N(4)+1),
				prOut(prPreemptAbort, 8, me, r.Uint64N(5)),
				iscsitest.Write10(uint32(me)*128, data, 512),
			}
			for _, i := range r.Perm(len(cmds)) {
				if _, err := c.Start(cmds[i]); err != nil {
					return err
				}
			}
			ping := c.NOPOut(true, nil)
			if err := c.Send(ping); err != nil {
				return err
			}
			for {
				p, err := c.Receive()
				if err != nil {
					return err
				}
				if p.Op() == 0x20 {
					break
				}
			}
		}
		if r.IntN(2) == 0 {
			if err := c.Send(c.Logout()); err != nil {
				return err
			}
			for {
				p, err := c.Receive()
				if err != nil {
					return errors.Join(errors.New("no answer to logout"), err)
				}
				if p.Op() == 0x26 {
					break
				}
			}
		}
		c.Close()
	}
	return nil
}
