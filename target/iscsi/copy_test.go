package iscsi_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// xcopy makes an EXTENDED COPY from LUN 0 to LUN 1, as many times as segments,
// of blocks each.
func xcopy(segments int, blocks uint16) iscsitest.Command {
	list := make([]byte, 16)
	list[0], list[3] = 1, 64
	binary.BigEndian.PutUint32(list[8:], uint32(segments*28))
	for _, serial := range []string{"TEST-0", "TEST-1"} {
		d := make([]byte, 32)
		d[0], d[4], d[5], d[7], d[30] = 0xe4, 1, 3, 16, 2
		naa := scsi.NAAFromUUID(serial)
		copy(d[8:], naa[:])
		list = append(list, d...)
	}
	for range segments {
		d := make([]byte, 28)
		d[0], d[3], d[7] = 2, 24, 1
		binary.BigEndian.PutUint16(d[10:], blocks)
		list = append(list, d...)
	}
	cdb := []byte{0x83, 15: 0}
	binary.BigEndian.PutUint32(cdb[10:], uint32(len(list)))
	return iscsitest.Command{CDB: cdb, Out: list}
}

// A copy moves the data, and a long one ends soon after it is aborted, or its
// session ends.
func TestCopyIsAborted(t *testing.T) {
	b := start(t, iscsi.Options{})
	data := noise(1, 2<<20)
	if _, err := b.disks[0].WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	c := b.session()
	if r := b.do(c, xcopy(1, 4096)); r.Status != 0 {
		t.Fatalf("copy: %+v", r)
	}
	same(t, "the copy", data, b.onDisk(1, 0, len(data)))

	arrived, release := b.disks[1].Hold(faultdev.Write)
	itt, err := c.Start(xcopy(60, 65535))
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.send(c, c.Manage(iscsitest.AbortTask, 0, itt))
	b.quiet(c) // the answer waits for the write
	before := b.disks[1].Calls(faultdev.Write)
	release()
	if p := b.want(c, 0x22); p.BHS[2] != 0 {
		t.Errorf("ABORT TASK: %v", &p)
	}
	if n := b.disks[1].Calls(faultdev.Write); n > before {
		t.Errorf("%d more writes after the abort", n-before)
	}

	arrived, release = b.disks[1].Hold(faultdev.Write)
	if _, err = c.Start(xcopy(60, 65535)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	before = b.disks[1].Calls(faultdev.Write)
	c.Close()
	// Nothing tells when the server has seen it: the session is in its list
	// until the copy has come back.
	time.Sleep(100 * time.Millisecond)
	release()
	for deadline := time.Now().Add(10 * time.Second); len(b.srv.Sessions()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session doesn't end")
		}
	}
	if n := b.disks[1].Calls(faultdev.Write); n > before+1 {
		t.Errorf("%d more writes after the end of the session", n-before)
	}
	if !bytes.Equal(b.onDisk(0, 0, len(data)), data) {
		t.Error("the source has changed")
	}
}
