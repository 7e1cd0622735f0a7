package target_test

import (
	"bytes"
	"testing"

	"sanstick/target"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// EXTENDED COPY doesn't get around the access lists: a disk of a target that
// the initiator is not logged in to can't be read or written by it, although
// the same server has it (CVE-2020-28374).
func TestCopyStaysInTarget(t *testing.T) {
	l := newLive(t)
	mine, secrets := newMem(t), newMem(t)
	hers := newUnit(t, secrets, "hers")
	l.must(l.Add(target.Config{IQN: openIQN, Initiators: []string{alice, bob}, LUNs: []target.LUN{{Number: 0, Unit: newUnit(t, mine, "mine")}}}))
	l.must(l.Add(target.Config{IQN: lockedIQN, Initiators: []string{alice}, LUNs: []target.LUN{{Number: 0, Unit: hers}}}))
	if _, err := secrets.WriteAt(bytes.Repeat([]byte{0x5e}, 4096), 0); err != nil {
		t.Fatal(err)
	}
	l.session(alice, lockedIQN, 0) // there is somebody who does reach it
	c := l.session(bob, openIQN, 0)
	list := func(source, destination byte) iscsitest.Command {
		b := []byte{0: 1, 3: 64, 11: 28, 15: 0}
		for _, serial := range []string{"mine", "hers"} {
			d := []byte{0: 0xe4, 4: 1, 5: 3, 7: 16, 30: 2, 31: 0}
			naa := scsi.NAAFromUUID(serial)
			copy(d[8:], naa[:])
			b = append(b, d...)
		}
		b = append(b, []byte{0: 2, 3: 24, 5: source, 7: destination, 11: 8, 27: 0}...)
		return iscsitest.Command{CDB: []byte{0: 0x83, 13: byte(len(b)), 15: 0}, Out: b}
	}
	for _, ends := range [][2]byte{{0, 1}, {1, 0}, {1, 1}} {
		if r, err := c.Do(list(ends[0], ends[1])); err != nil || r.SenseCode() != 0x0a0d02 {
			t.Errorf("copy %v: %v, %+v", ends, err, r)
		}
	}
	if r, err := c.Do(list(0, 0)); err != nil || r.Status != 0 {
		t.Errorf("within the target: %v, %+v", err, r)
	}
	got := make([]byte, 8192)
	if _, err := mine.ReadAt(got, 0); err != nil || bytes.Contains(got, []byte{0x5e}) {
		t.Errorf("read across targets: %v", err)
	}
	// The same unit in both targets is reached, as it is bob's too.
	l.must(l.AddLUN(openIQN, target.LUN{Number: 7, Unit: hers}))
	l.sense(c, 7, 0x062900)
	l.sense(c, 0, 0x063f0e)
	if r, err := c.Do(list(1, 0)); err != nil || r.Status != 0 {
		t.Errorf("shared with this target: %v, %+v", err, r)
	}
	if _, err := mine.ReadAt(got, 0); err != nil || bytes.Count(got, []byte{0x5e}) != 4096 {
		t.Errorf("after a copy that is allowed: %v", err)
	}
}
