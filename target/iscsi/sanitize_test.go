package iscsi_test

import (
	"testing"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// A sanitize operation goes on without the command that began it, so neither a
// reset nor the end of the session waits for it.
func TestSanitizeOutlivesItsCommand(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Write)
	defer release()
	overwrite := iscsitest.Command{
		CDB: []byte{0x48, 0x01, 0, 0, 0, 0, 0, 0, 5, 0}, // without IMMED
		Out: []byte{1, 0, 0, 1, 7},
	}
	itt, err := c.Start(overwrite)
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.send(c, c.Manage(iscsitest.AbortTask, 0, itt))
	if p := b.want(c, 0x22); p.BHS[2] != 0 {
		t.Errorf("ABORT TASK: %v", &p)
	}
	const inProgress = 0x02041b
	if r := b.do(c, iscsitest.TestUnitReady()); r.SenseCode() != inProgress {
		t.Errorf("after ABORT TASK: %+v", r)
	}
	b.send(c, c.Manage(iscsitest.LUNReset, 0, 0xffffffff))
	if p := b.want(c, 0x22); p.BHS[2] != 0 {
		t.Errorf("LUN RESET: %v", &p)
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.SenseCode() != 0x062903 {
		t.Errorf("after LUN RESET: %+v", r)
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.SenseCode() != inProgress {
		t.Errorf("after LUN RESET, again: %+v", r)
	}
	// The other disk is another matter.
	data := noise(1, 512)
	write := iscsitest.Write10(0, data, 512)
	write.LUN = 1
	if r := b.do(c, write); r.Status != 0 {
		t.Errorf("LUN 1: %+v", r)
	}
	c.Close()
	again := b.session() // the same initiator: the old session has ended
	if r := b.do(again, iscsitest.TestUnitReady()); r.SenseCode() != inProgress {
		t.Errorf("in a new session: %+v", r)
	}
}

// A session that ends while its SANITIZE is waited for doesn't hold up the
// target's end.
func TestSanitizeDoesNotHoldTheSession(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Write)
	if _, err := c.Start(iscsitest.Command{CDB: []byte{0x48, 0x01, 0, 0, 0, 0, 0, 0, 5, 0}, Out: []byte{1, 0, 0, 1, 7}}); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := b.srv.Remove(open); err != nil {
		t.Error(err)
	}
	release()
}
