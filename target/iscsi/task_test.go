package iscsi_test

import (
	"testing"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// A function that aborts is answered only when the write that is running has
// come back; a write that was waiting never starts; neither is answered.
func TestAborts(t *testing.T) {
	data := noise(1, 512)
	tests := []struct {
		name     string
		function byte
		all      bool // both writes are aborted, not only the first
		others   uint32
	}{
		{"ABORT TASK", iscsitest.AbortTask, false, 0},
		{"ABORT TASK SET", iscsitest.AbortTaskSet, true, 0},
		{"CLEAR TASK SET", iscsitest.ClearTaskSet, true, 0x062f00},
		{"LUN RESET", iscsitest.LUNReset, true, 0x062903},
		{"WARM RESET", iscsitest.WarmReset, true, 0x062902},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, iscsi.Options{Workers: 1})
			c, other := b.session(), b.dial()
			b.login(other, bob)
			arrived, release := b.disks[0].Hold(faultdev.Write)
			first, err := c.Start(iscsitest.Write10(0, data, 512))
			if err != nil {
				t.Fatal(err)
			}
			<-arrived
			second, err := c.Start(iscsitest.Write10(8, data, 512)) // no worker left for it
			if err != nil {
				t.Fatal(err)
			}
			req := c.Manage(tt.function, 0, first)
			b.send(c, req)
			b.quiet(c)
			writes := b.disks[0].Calls(faultdev.Write)
			release()
			if !tt.all {
				// The second write goes on: its answer may come first.
				got := map[byte]bool{}
				for range 2 {
					p, err := c.Receive()
					if err != nil {
						t.Fatal(err)
					}
					if p.Op() == 0x21 && p.ITT() != second || p.Op() == 0x22 && p.BHS[2] != 0 {
						t.Errorf("%v", &p)
					}
					got[p.Op()] = true
				}
				if !got[0x21] || !got[0x22] {
					t.Errorf("got %v", got)
				}
			} else {
				if p := b.want(c, 0x22); p.BHS[2] != 0 || p.ITT() != req.ITT() {
					t.Errorf("%v", &p)
				}
				if n := b.disks[0].Calls(faultdev.Write) - writes; n != 0 {
					t.Errorf("%d writes began after the abort", n)
				}
				same(t, "aborted write", make([]byte, 512), b.onDisk(0, 8*512, 512))
			}
			b.quiet(c) // no answer of an aborted command
			if tt.others != 0 {
				if r := b.do(other, iscsitest.TestUnitReady()); r.SenseCode() != tt.others {
					t.Errorf("the other initiator is told %06x, want %06x", r.SenseCode(), tt.others)
				}
			}
			for range 3 {
				if b.do(c, iscsitest.TestUnitReady()).Status == 0 {
					break
				}
			}
			if r := b.do(c, iscsitest.Write10(8, data, 512)); r.Status != 0 {
				t.Errorf("a write afterwards: %+v", r)
			}
		})
	}
}

// A write that waits for data when it is aborted: the data that still comes
// goes nowhere.
func TestAbortWhileGathering(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("ImmediateData=No", "InitialR2T=Yes")
	data := noise(1, 4096)
	itt, err := c.Start(iscsitest.Write10(0, data, 512))
	if err != nil {
		t.Fatal(err)
	}
	r2t := b.want(c, 0x31)
	b.send(c, c.Manage(iscsitest.AbortTask, 0, itt))
	if p := b.want(c, 0x22); p.BHS[2] != 0 {
		t.Errorf("%v", &p)
	}
	b.send(c, c.DataOut(itt, r2t.U32(20), 0, 0, 0, data))
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if n := b.disks[0].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes reached the disk", n)
	}
}

// An initiator resets a LUN on which another has a write running.
func TestResetWaitsForOthers(t *testing.T) {
	b := start(t, iscsi.Options{})
	c, other := b.session(), b.dial()
	b.login(other, bob)
	arrived, release := b.disks[0].Hold(faultdev.Write)
	if _, err := other.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.send(c, c.Manage(iscsitest.LUNReset, 0, 0xffffffff))
	b.quiet(c)
	release()
	if p := b.want(c, 0x22); p.BHS[2] != 0 {
		t.Errorf("%v", &p)
	}
	b.quiet(other)
	if r := b.do(other, iscsitest.TestUnitReady()); r.SenseCode() != 0x062903 {
		t.Errorf("%+v", r)
	}
}

func TestTaskManagementAnswers(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	tests := []struct {
		name          string
		function      byte
		lun           uint16
		ref, refCmdSN uint32
		want          byte
	}{
		{"no such task", iscsitest.AbortTask, 0, 999, 0, 1},
		{"no such LUN, abort", iscsitest.AbortTaskSet, 9, 0, 0, 2},
		{"no such LUN, clear", iscsitest.ClearTaskSet, 9, 0, 0, 2},
		{"no such LUN, reset", iscsitest.LUNReset, 9, 0, 0, 2},
		{"CLEAR ACA", 3, 0, 0, 0, 5},
		{"TASK REASSIGN", 8, 0, 0, 0, 4},
		{"unknown", 99, 0, 0, 0, 5},
		{"empty set", iscsitest.AbortTaskSet, 0, 0, 0, 0},
	}
	for _, tt := range tests {
		p := c.Manage(tt.function, tt.lun, tt.ref)
		p.Put32(32, tt.refCmdSN)
		b.send(c, p)
		if r := b.want(c, 0x22); r.BHS[2] != tt.want || r.ITT() != p.ITT() {
			t.Errorf("%s: response %d, want %d", tt.name, r.BHS[2], tt.want)
		}
	}
}

// ABORT TASK for a command that hasn't come: its CmdSN counts as used.
func TestAbortBeforeArrival(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	missing := c.CmdSN
	c.CmdSN++
	p := c.Manage(iscsitest.AbortTask, 0, 12345)
	p.Put32(32, missing)
	b.send(c, p)
	if r := b.want(c, 0x22); r.BHS[2] != 0 {
		t.Fatalf("%v", &r)
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

func TestColdReset(t *testing.T) {
	b := start(t, iscsi.Options{})
	c, other := b.session(), b.dial()
	b.login(other, bob)
	b.send(c, c.Manage(iscsitest.ColdReset, 0, 0xffffffff))
	b.want(c, 0x22)
	b.closed(c)
	b.closed(other)
}

// Commands out of order wait; those outside the window, and those that came
// before, are dropped in silence (section 4.2.2.1).
func TestCmdSN(t *testing.T) {
	b := start(t, iscsi.Options{Window: 8})
	c := b.session()
	sn, max := c.CmdSN, c.MaxCmdSN
	if max != sn+7 {
		t.Fatalf("MaxCmdSN %d after CmdSN %d, want a window of 8", max, sn-1)
	}
	at := func(sn uint32) iscsitest.PDU {
		p, _ := c.Request(iscsitest.TestUnitReady())
		p.Put32(24, sn)
		return p
	}
	late, early, before, beyond := at(sn), at(sn+1), at(sn-1), at(sn+8)
	b.send(c, beyond)
	b.send(c, before)
	b.send(c, early)
	b.quiet(c)
	b.send(c, late)
	got := map[uint32]bool{}
	for range 2 {
		p := b.want(c, 0x21)
		got[p.ITT()] = true
	}
	if !got[late.ITT()] || !got[early.ITT()] {
		t.Errorf("answered %v", got)
	}
	again := at(sn + 1)
	b.send(c, again)
	b.quiet(c)
	c.CmdSN = sn + 2
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Error("session is of no use any more")
	}
}

// Command and status numbers go on after 2^32-1.
func TestNumbersWrap(t *testing.T) {
	b := startWith(t, iscsi.Options{}, func(s *iscsi.Server) { s.SetFirstStatSN(0xffffff10) })
	c := b.dial()
	c.CmdSN = 0xffffff00
	b.login(c, alice)
	for range 512 {
		want := c.ExpStatSN
		if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
			t.Fatalf("%+v", r)
		}
		if c.ExpStatSN != want+1 {
			t.Fatalf("StatSN %#x after %#x", c.ExpStatSN-1, want)
		}
	}
	if c.CmdSN > 1024 || c.ExpStatSN > 1024 {
		t.Errorf("CmdSN %#x, StatSN %#x", c.CmdSN, c.ExpStatSN)
	}
}

// The window never shrinks, and closes with the commands in flight.
func TestWindowCloses(t *testing.T) {
	b := start(t, iscsi.Options{Window: 4})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	for range 4 {
		if _, err := c.Start(iscsitest.Read10(0, 1, 512)); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	ping := iscsitest.PDU{}
	ping.BHS[0], ping.BHS[1] = 0x40, 0x80
	ping.Put32(20, 0xffffffff)
	b.send(c, ping)
	if p := b.want(c, 0x20); p.U32(28) != c.CmdSN || p.U32(32) != c.CmdSN-1 {
		t.Errorf("ExpCmdSN %d, MaxCmdSN %d, want %d and one less", p.U32(28), p.U32(32), c.CmdSN)
	}
	release()
	last := c.CmdSN - 1
	for range 4 {
		p := b.want(c, 0x25)
		if max := p.U32(32); max != last+1 {
			t.Errorf("MaxCmdSN %d after %d", max, last)
		}
		last = p.U32(32)
	}
}

// Task tags in use are refused, and too many immediate commands.
func TestRejects(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	itt, err := c.Start(iscsitest.Read10(0, 1, 512))
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	c.ITT = itt
	again, _ := c.Request(iscsitest.TestUnitReady())
	bidi, _ := c.Request(iscsitest.TestUnitReady())
	bidi.BHS[1] |= 0x60
	ahs, _ := c.Request(iscsitest.TestUnitReady())
	ahs.AHS = []byte{0, 0, 1, 0}
	itt0, _ := c.Request(iscsitest.TestUnitReady())
	itt0.Put32(16, 0xffffffff)
	unknown, snack, login := iscsitest.PDU{}, iscsitest.PDU{}, iscsitest.PDU{Data: []byte("x=y\x00")}
	unknown.BHS[0], snack.BHS[0], login.BHS[0] = 0x1c, 0x10, 0x43
	for _, tt := range []struct {
		name   string
		p      iscsitest.PDU
		reason byte
	}{
		{"tag in use", again, 7}, {"bidirectional", bidi, 5}, {"malformed AHS", ahs, 9}, {"reserved tag", itt0, 9},
		{"unknown", unknown, 5}, {"SNACK", snack, 3}, {"login", login, 4},
	} {
		b.send(c, tt.p)
		if p := b.want(c, 0x3f); p.BHS[2] != tt.reason {
			t.Errorf("%s: reason %d, want %d", tt.name, p.BHS[2], tt.reason)
		}
	}
	for i := range 17 {
		cmd := iscsitest.Read10(0, 1, 512)
		cmd.Immediate = true
		if _, err := c.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if i == 16 {
			if p := b.want(c, 0x3f); p.BHS[2] != 6 {
				t.Errorf("immediate command %d: %v", i, &p)
			}
		}
	}
	release()
	for range 17 {
		b.want(c, 0x25)
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

// An ORDERED command waits for those before it, and those after it for it.
func TestOrdered(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	if _, err := c.Start(iscsitest.Read10(0, 1, 512)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	ordered := iscsitest.Write10(0, noise(1, 512), 512)
	ordered.Attr = 2
	if _, err := c.Start(ordered); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(iscsitest.Write10(8, noise(2, 512), 512)); err != nil {
		t.Fatal(err)
	}
	other, err := c.Start(iscsitest.Command{LUN: 1, CDB: make([]byte, 6)}) // another LUN doesn't wait
	if err != nil {
		t.Fatal(err)
	}
	if p := b.want(c, 0x21); p.ITT() != other {
		t.Errorf("%v", &p)
	}
	b.quiet(c)
	if n := b.disks[0].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes overtook", n)
	}
	release()
	b.want(c, 0x25)
	for range 2 {
		if p := b.want(c, 0x21); p.ITT() > other {
			t.Errorf("%v", &p)
		}
	}
}

// A LUN whose disk hangs takes no more than its share of the workers: the
// others are served.
func TestOneDiskHangs(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Write)
	defer release()
	for range 40 {
		if _, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
			t.Fatal(err)
		}
	}
	for range 16 {
		<-arrived
	}
	write := iscsitest.Write10(0, noise(2, 512), 512)
	write.LUN = 1
	if r := b.do(c, write); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}
