package scsi

import (
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

const (
	tur     = "00"
	stop    = "1b 00 00 00 00 00"
	start   = "1b 00 00 00 01 00"
	eject   = "1b 00 00 00 02 00"
	load    = "1b 00 00 00 03 00"
	prevent = "1e 00 00 00 01 00"
	allow   = "1e 00 00 00 00 00"
)

var mediumAccess = []string{
	tur, "08 00 00 00 01 00", "28 00 00000000 00 0001 00", "88 00 0000000000000000 00000001 00 00",
	"2a 00 00000000 00 0001 00", "2f 00 00000000 00 0001 00", "35 00 00000000 00 0000 00",
	"41 00 00000000 00 0001 00", "42 00 00 00 00 00 00 0000 00", "25", "9e 10 0000000000000000 00000020 00 00",
	"1d 04 00 0000 00",
}

var withoutMedium = []string{
	"12 00 00 00 24 00", "03 00 00 00 12 00", "1a 00 3f 00 ff 00", "a0 00 00 000000 00000100 00 00",
	"a3 0c 00 00 0000 00010000 00 00", "4d 00 40 00 00 0000 00ff 00",
}

func TestStopAndStart(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	other := r.newNexus(t)
	r.good(t, stop, nil)
	if n := r.fault.Calls(faultdev.Flush); n != 1 {
		t.Errorf("%d flushes, want 1", n)
	}
	for _, command := range mediumAccess {
		wantSense(t, r.run(command, make([]byte, 512)), notReady, initializingRequired)
	}
	for _, command := range withoutMedium {
		r.good(t, command, nil)
	}
	wantBytes(t, "REQUEST SENSE", r.good(t, "03 00 00 00 ff 00", nil), "70 00 02 00000000 0a 00000000 0402 00 000000")
	r.good(t, stop, nil)
	r.good(t, "1b 01 00 00 01 00", nil) // IMMED
	r.good(t, tur, nil)
	wantAttentions(t, "the other", other, 0)
	r.good(t, stop, nil)
	r.dev.ResetUnit([8]byte{}, r.nexus)
	r.good(t, tur, nil)
	r.good(t, "1b 00 00 00 30 00", nil) // standby
	r.good(t, tur, nil)
	wantSense(t, r.run(prevent, nil), illegalRequest, invalidOperationCode)

	for _, command := range []string{eject, load, "1b 00 00 01 01 00"} {
		if got := r.run(command, nil); got.Status != CheckCondition || senseKey(got.Sense[2]) != illegalRequest {
			t.Errorf("%s: %v, sense %x", command, got.Status, got.Sense)
		}
	}
	r.fault.FailAll(faultdev.Flush, block.ErrMedium)
	wantSense(t, r.run(stop, nil), mediumError, writeError)
	r.good(t, tur, nil)
}

func TestEjectAndLoad(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Removable: true, Thin: true})
	other := r.newNexus(t)
	r.good(t, stop, nil)
	r.good(t, tur, nil)
	r.good(t, "1b 00 00 00 12 00", nil) // a power condition
	r.good(t, tur, nil)
	r.good(t, eject, nil)
	r.good(t, eject, nil)
	r.good(t, stop, nil)
	for _, command := range mediumAccess {
		wantSense(t, r.run(command, make([]byte, 512)), notReady, mediumNotPresent)
	}
	for _, command := range withoutMedium {
		r.good(t, command, nil)
	}
	wantSense(t, r.run(start, nil), notReady, mediumNotPresent)
	r.dev.ResetUnit([8]byte{}, r.nexus)
	if got := run(other, 0, tur, nil); code(got.Sense[12])<<8 != 0x2900 {
		t.Errorf("after a reset: sense %x", got.Sense)
	}
	wantSense(t, r.run(tur, nil), notReady, mediumNotPresent)
	r.good(t, load, nil)
	wantAttentions(t, "who loads", r.nexus, 0)
	wantAttentions(t, "the other", other, 0, mediumMayHaveChanged)

	r.unit.Load()
	wantAttentions(t, "nothing to load", r.nexus, 0)
	r.good(t, eject, nil)
	r.unit.Load()
	wantAttentions(t, "loaded by hand", r.nexus, 0, mediumMayHaveChanged)
}

func TestPreventRemoval(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Removable: true})
	other := r.newNexus(t)
	good := func(n *Nexus, command string) {
		t.Helper()
		if got := run(n, 0, command, nil); got.Status != Good {
			t.Fatalf("%s: %v, sense %x", command, got.Status, got.Sense)
		}
	}
	good(r.nexus, prevent)
	good(r.nexus, prevent)
	good(other, prevent)
	wantSense(t, run(other, 0, eject, nil), illegalRequest, mediumRemovalPrevented)
	good(other, stop)
	good(other, start)
	good(r.nexus, allow)
	wantSense(t, run(r.nexus, 0, eject, nil), illegalRequest, mediumRemovalPrevented)
	other.Close()
	good(r.nexus, eject)
	good(r.nexus, prevent)
	wantSense(t, run(r.nexus, 0, load, nil), illegalRequest, mediumRemovalPrevented)
	good(r.nexus, allow)
	good(r.nexus, load)
	good(r.nexus, prevent)
	r.dev.ResetUnit([8]byte{}, r.nexus)
	good(r.nexus, eject)
	good(r.nexus, load)
	good(r.nexus, prevent)
	r.dev.Reset(nil)
	wantAttentions(t, "reset", r.nexus, 0, scsiBusReset)
	good(r.nexus, eject)
	wantSense(t, r.run("1e 00 00 00 02 00", nil), illegalRequest, invalidFieldInCDB)
}

func TestSelfTest(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	r.good(t, "1d 00 00 0000 00", nil)
	r.good(t, "1d 10 00 0000 00", nil)
	if n := r.fault.Calls(faultdev.Read); n != 0 {
		t.Errorf("%d reads, want 0", n)
	}
	r.good(t, "1d 04 00 0000 00", nil)
	r.good(t, "1d 17 00 0000 00", nil)
	if n := r.fault.Calls(faultdev.Read); n != 6 {
		t.Errorf("%d reads, want 6", n)
	}
	wantSense(t, r.run("1d 20 00 0000 00", nil), illegalRequest, invalidFieldInCDB) // background short self-test
	wantSense(t, r.run("1d 10 00 0004 00", make([]byte, 4)), illegalRequest, invalidFieldInCDB)
	r.fault.FailAll(faultdev.Read, block.ErrMedium)
	wantSense(t, r.run("1d 04 00 0000 00", nil), hardwareError, selfTestFailed)

	wantBytes(t, "pages", r.good(t, "1c 01 00 00ff 00", nil), "00 00 0001 00")
	wantSense(t, r.run("1c 01 01 00ff 00", nil), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.run("1c 00 00 00ff 00", nil), illegalRequest, invalidFieldInCDB)
}
