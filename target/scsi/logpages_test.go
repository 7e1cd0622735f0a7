package scsi

import (
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

func TestLogPages(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	other := r.newNexus(t)
	r.good(t, "2a 00 00000000 00 0003 00", make([]byte, 3*512))
	r.good(t, "28 00 00000000 00 0002 00", nil)
	r.good(t, "2f 00 00000000 00 0004 00", nil)
	r.good(t, "2f 02 00000000 00 0001 00", make([]byte, 512))
	r.run("28 00 ffffffff 00 0002 00", nil) // nothing that the medium is to blame for
	r.fault.FailAll(faultdev.Read, block.ErrMedium)
	r.run("28 00 00000000 00 0001 00", nil)
	const (
		writes   = "82 00 0018 0005 00 08 0000000000000600 0006 00 08 0000000000000000"
		reads    = "83 00 0018 0005 00 08 0000000000000400 0006 00 08 0000000000000001"
		verifies = "85 00 0018 0005 00 08 0000000000000a00 0006 00 08 0000000000000000"
	)
	for _, tt := range []struct{ name, cdb, want string }{
		{"list", "4d 00 40 00 00 0000 00ff 00", "80 00 0004 00 02 03 05"},
		{"list with subpages", "4d 00 40 ff 00 0000 00ff 00", "c0 ff 000a 0000 00ff 0200 0300 0500"},
		{"writes", "4d 00 42 00 00 0000 00ff 00", writes},
		{"reads", "4d 00 43 00 00 0000 00ff 00", reads},
		{"verifies", "4d 00 45 00 00 0000 00ff 00", verifies},
		{"from a parameter", "4d 00 43 00 00 0006 00ff 00", "83 00 000c 0006 00 08 0000000000000001"},
		{"defaults", "4d 00 c3 00 00 0006 00ff 00", "83 00 000c 0006 00 08 0000000000000000"},
		{"cut", "4d 00 43 00 00 0000 0005 00", "83 00 0018 00"},
	} {
		wantBytes(t, tt.name, r.good(t, tt.cdb, nil), tt.want)
	}
	for _, command := range []string{
		"4d 01 40 00 00 0000 00ff 00", "4d 00 40 01 00 0000 00ff 00", "4d 00 40 00 00 0001 00ff 00", "4d 00 7f 00 00 0000 00ff 00",
		"4d 00 43 01 00 0000 00ff 00", "4d 00 43 ff 00 0000 00ff 00", "4d 00 03 00 00 0000 00ff 00", "4d 00 83 00 00 0000 00ff 00",
		"4d 00 43 00 00 0007 00ff 00", "4c 01 40 00 00 00 00 0000 00", "4c 00 40 00 00 00 00 0004 00", "4c 02 4d 00 00 00 00 0000 00",
		"4c 02 42 01 00 00 00 0000 00",
	} {
		wantSense(t, r.run(command, nil), illegalRequest, invalidFieldInCDB)
	}
	r.good(t, "4c 00 40 00 00 00 00 0000 00", nil)
	wantBytes(t, "still there", r.good(t, "4d 00 42 00 00 0000 00ff 00", nil), writes)
	wantAttentions(t, "the other", other, 0)
	r.good(t, "4c 02 43 00 00 00 00 0000 00", nil)
	wantAttentions(t, "the other", other, 0, logParametersChanged)
	wantBytes(t, "reset", r.good(t, "4d 00 43 00 00 0006 00ff 00", nil), "83 00 000c 0006 00 08 0000000000000000")
	wantBytes(t, "not reset", r.good(t, "4d 00 42 00 00 0000 00ff 00", nil), writes)
	r.good(t, "4c 02 40 00 00 00 00 0000 00", nil)
	wantBytes(t, "all reset", r.good(t, "4d 00 42 00 00 0005 0010 00", nil), "82 00 0018 0005 00 08 0000000000000000")
}

func TestTimestamp(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	other := r.newNexus(t)
	const report, set = "a3 0f 00000000 000000ff 00 00", "a4 0f 00000000 0000000c 00 00"
	got := r.good(t, report, nil)
	if len(got) != 12 || [4]byte(got) != [4]byte{0, 10, fromElsewhere, 0} || got[4] == 0 && got[5] == 0 {
		t.Errorf("timestamp %x", got)
	}
	r.good(t, set, list("00000000 00ff00000000 0000"))
	got = r.good(t, report, nil)
	if [7]byte(got) != [7]byte{0, 10, fromInitiator, 0, 0x00, 0xff, 0x00} {
		t.Errorf("timestamp %x after it was set", got)
	}
	wantAttentions(t, "who sets it", r.nexus, 0)
	wantAttentions(t, "the other", other, 0, timestampChanged)
	r.good(t, "a4 0f 00000000 00000000 00 00", nil)
	wantSense(t, r.run("a4 0f 00000000 0000000b 00 00", make([]byte, 11)), illegalRequest, parameterListLength)
	wantSense(t, r.run(set, make([]byte, 11)), illegalRequest, parameterListLength)
	wantSense(t, r.run(set, list("00000001 00ff00000000 0000")), illegalRequest, invalidFieldInParameter)
	wantAttentions(t, "nothing more", other, 0)
}

func TestSupportedFunctions(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	wantBytes(t, "short", r.good(t, "a3 0d 00 000000 000000ff 00 00", nil), "da 00 00 00")
	wantBytes(t, "extended", r.good(t, "a3 0d 80 000000 000000ff 00 00", nil), "da 00 00 0c 000000000000000000000000")
}

// The REPORT LUNS well-known logical unit has four commands.
func TestWellKnownUnit(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	do := func(command string) Result { return r.nexus.NewTask(reportLUNsUnit, cdb(command)).Run(nil, nil) }
	for _, tt := range []struct{ name, cdb, want string }{
		{"INQUIRY", "12 00 00 0024 00", "1e 00 06 12 5b 10 00 02 53414e535449434b 20202020202020202020202020202020 20202020"},
		{"pages", "12 01 00 00ff 00", "1e 00 0002 00 83"},
		{"REPORT LUNS", "a0 00 00 000000 00000100 00 00", "00000008 00000000 0000000000000000"},
		{"REPORT LUNS, all", "a0 00 02 000000 00000100 00 00", "00000010 00000000 0000000000000000 c101000000000000"},
		{"REQUEST SENSE", "03 00 00 00 ff 00", "70 00 00 00000000 0a 00000000 0000 00 000000"},
		{"TEST UNIT READY", "00", ""},
		{"identification", "12 01 83 00ff 00", "1e 83 0058 51 94 00 04 00000001 51 95 00 04 00000002 53 98 00 24" +
			hexOf(testName+",t,0x0001") + "0000 00 53 a8 00 1c" + hexOf(testName) + "00000000"},
	} {
		got := do(tt.cdb)
		if got.Status != Good {
			t.Fatalf("%s: %v, sense %x", tt.name, got.Status, got.Sense)
		}
		wantBytes(t, tt.name, got.Data, tt.want)
	}
	for _, command := range []string{"28 00 00000000 00 0001 00", "25", "1a 00 3f 00 ff 00", "a3 0c 00 00 0000 00010000 00 00", "1b 00 00 00 00 00", "ff"} {
		wantSense(t, do(command), illegalRequest, invalidOperationCode)
	}
	wantSense(t, do("12 01 80 00ff 00"), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.nexus.NewTask([8]byte{0xc1, 0x02}, cdb("00")).Run(nil, nil), illegalRequest, lunNotSupported)
	wantSense(t, r.nexus.NewTask([8]byte{0xc1, 0x01, 1}, cdb("00")).Run(nil, nil), illegalRequest, lunNotSupported)
}
