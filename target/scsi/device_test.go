package scsi

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block/memdev"
)

func TestLUN(t *testing.T) {
	for _, tt := range []struct {
		lun  uint16
		want [8]byte
	}{
		{0, [8]byte{}}, {1, [8]byte{0, 1}}, {255, [8]byte{0, 255}}, {256, [8]byte{0x41, 0}}, {MaxLUN, [8]byte{0x7f, 0xff}},
	} {
		if got := encodeLUN(tt.lun); got != tt.want {
			t.Errorf("encodeLUN(%d) = %x, want %x", tt.lun, got, tt.want)
		}
		if got, err := decodeLUN(tt.want); err != nil || got != tt.lun {
			t.Errorf("decodeLUN(%x) = %d, %v, want %d", tt.want, got, err, tt.lun)
		}
	}
	if got, err := decodeLUN([8]byte{0x40, 7}); err != nil || got != 7 {
		t.Errorf("flat space LUN 7: got %d, %v", got, err)
	}
	for _, b := range [][8]byte{
		{0x01, 0},    // bus 1
		{0x80, 0},    // logical unit addressing
		{0xc1, 0x01}, // a well-known LUN
		{0, 0, 0x40}, // a second level
		{0, 0, 0, 0, 0, 0, 0, 1},
	} {
		if got, err := decodeLUN(b); err == nil {
			t.Errorf("decodeLUN(%x) = %d, want an error", b, got)
		}
	}
}

func TestAttachAndDetachErrors(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for _, lun := range []uint16{0, MaxLUN + 1} {
		if err := r.dev.Attach(lun, r.unit); err == nil {
			t.Errorf("Attach(%d) worked", lun)
		}
	}
	if err := r.dev.Detach(7); err == nil {
		t.Error("Detach(7) worked")
	}
}

func TestMissingLUN(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	if err := r.dev.Attach(5, newTestUnit(t, r.mem, "five", UnitOptions{})); err != nil {
		t.Fatal(err)
	}
	if err := r.dev.Detach(0); err != nil {
		t.Fatal(err)
	}
	for _, lun := range []uint16{0, 1, 300} {
		got := run(r.nexus, lun, "12 00 00 00 24 00", nil)
		if got.Status != Good || len(got.Data) != 36 || got.Data[0] != 0x7f {
			t.Errorf("LUN %d: INQUIRY: %v, %x", lun, got.Status, got.Data)
		}
		got = run(r.nexus, lun, "12 01 00 00 ff 00", nil)
		if got.Status != Good {
			t.Fatalf("LUN %d: INQUIRY of page 00: %v", lun, got.Status)
		}
		wantBytes(t, "page 00", got.Data, "7f 00 00 01 00")
		wantSense(t, run(r.nexus, lun, "12 01 80 00 ff 00", nil), illegalRequest, invalidFieldInCDB)
		got = run(r.nexus, lun, "03 00 00 00 ff 00", nil)
		if got.Status != Good || got.Data[2] != byte(illegalRequest) || got.Data[12] != 0x25 {
			t.Errorf("LUN %d: REQUEST SENSE: %v, %x", lun, got.Status, got.Data)
		}
		for _, command := range []string{"00", "28 00 0000 0000 00 0001 00", "ff", "a3 0c"} {
			wantSense(t, run(r.nexus, lun, command, nil), illegalRequest, lunNotSupported)
		}
	}
	// REPORT LUNS works at LUN 0 in any case, elsewhere only where a unit is.
	const reportLUNs = "a0 00 00 000000 00000100 00 00"
	want := "00000008 00000000  0005000000000000"
	wantBytes(t, "REPORT LUNS at LUN 0", run(r.nexus, 0, reportLUNs, nil).Data, want)
	wantBytes(t, "REPORT LUNS at LUN 5", run(r.nexus, 5, reportLUNs, nil).Data, want)
	wantSense(t, run(r.nexus, 1, reportLUNs, nil), illegalRequest, lunNotSupported)
}

func TestReportLUNs(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for _, lun := range []uint16{300, 7} {
		if err := r.dev.Attach(lun, r.unit); err != nil {
			t.Fatal(err)
		}
	}
	wantBytes(t, "all", r.good(t, "a0 00 00 000000 00000100 00 00", nil),
		"00000018 00000000  0000000000000000 0007000000000000 412c000000000000")
	wantBytes(t, "all and well-known ones", r.good(t, "a0 00 02 000000 00000010 00 00", nil),
		"00000020 00000000  0000000000000000")
	wantBytes(t, "well-known ones", r.good(t, "a0 00 01 000000 00000100 00 00", nil), "00000008 00000000  c101000000000000")
	wantSense(t, r.run("a0 00 03 000000 00000100 00 00", nil), illegalRequest, invalidFieldInCDB)
}

// attentionsOf returns what TEST UNIT READY reports until it is GOOD.
func attentionsOf(t *testing.T, n *Nexus, lun uint16) []code {
	t.Helper()
	var got []code
	for range 10 {
		r := run(n, lun, "00", nil)
		if r.Status == Good {
			return got
		}
		if r.Sense[2] != byte(unitAttention) {
			t.Fatalf("sense %x is no unit attention", r.Sense)
		}
		got = append(got, code(r.Sense[12])<<8|code(r.Sense[13]))
	}
	t.Fatal("unit attentions don't end")
	return nil
}

func wantAttentions(t *testing.T, who string, n *Nexus, lun uint16, want ...code) {
	t.Helper()
	if diff := cmp.Diff(want, attentionsOf(t, n, lun)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", who, diff)
	}
}

func TestUnitAttentions(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	other := r.newNexus(t)
	wantAttentions(t, "none", r.nexus, 0)

	if _, ok := r.dev.ResetUnit([8]byte{}, r.nexus); !ok {
		t.Error("ResetUnit doesn't know LUN 0")
	}
	if _, ok := r.dev.ResetUnit([8]byte{0, 9}, r.nexus); ok {
		t.Error("ResetUnit doesn't know which LUNs there are")
	}
	wantAttentions(t, "the one that resets a unit", r.nexus, 0)
	wantAttentions(t, "the others", other, 0, deviceReset)

	r.dev.Reset(other)
	r.dev.Reset(other)
	wantAttentions(t, "a target reset, twice", r.nexus, 0, scsiBusReset)
	wantAttentions(t, "the one that resets", other, 0)

	r.dev.Reset(nil)
	r.dev.ResetUnit([8]byte{}, nil)
	wantAttentions(t, "the more sweeping reset", r.nexus, 0, scsiBusReset)
	wantAttentions(t, "the other too", other, 0, scsiBusReset)

	if err := r.mem.Grow(testSize + 4096); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "grown", r.nexus, 0, capacityChanged)
	wantAttentions(t, "grown, the other", other, 0, capacityChanged)

	if err := r.dev.Attach(3, newTestUnit(t, r.mem, "three", UnitOptions{})); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "attached", r.nexus, 0, reportedLUNsChanged)
	wantAttentions(t, "attached: the new one", r.nexus, 3, powerOnReset)
	if err := r.dev.Detach(3); err != nil {
		t.Fatal(err)
	}
	r.dev.Reset(nil)
	wantAttentions(t, "detached, then a reset", r.nexus, 0, scsiBusReset, reportedLUNsChanged)

	// Whoever asks for the list knows that it has changed.
	run(other, 0, "a0 00 00 000000 00000100 00 00", nil)
	wantAttentions(t, "after REPORT LUNS", other, 0, scsiBusReset)

	other.Close()
	r.dev.Reset(nil)
	wantAttentions(t, "one nexus closed", r.nexus, 0, scsiBusReset)
	wantSense(t, run(other, 0, "00", nil), illegalRequest, lunNotSupported)
}

// Which commands report a unit attention, and which don't.
func TestUnitAttentionRules(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	r.dev.Reset(nil)
	r.good(t, "12 00 00 00 24 00", nil)
	r.good(t, "a0 00 00 000000 00000100 00 00", nil)
	// Even a command that doesn't exist reports it.
	wantSense(t, r.run("ff", nil), unitAttention, scsiBusReset)
	wantSense(t, r.run("ff", nil), illegalRequest, invalidOperationCode)

	r.dev.Reset(nil)
	if got := r.good(t, "03 00 00 00 ff 00", nil); got[2] != byte(unitAttention) || got[12] != 0x29 || got[13] != 0x02 {
		t.Errorf("REQUEST SENSE: %x", got)
	}
	wantBytes(t, "REQUEST SENSE, nothing left", r.good(t, "03 01 00 00 ff 00", nil), "72 00 0000 000000 00")

	// A write that reports one must not write, nor ask for data.
	r.dev.Reset(nil)
	task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000000 00 0001 00"))
	if got := task.DataOutLength(); got != 0 {
		t.Errorf("wants %d bytes", got)
	}
	wantSense(t, task.Run(make([]byte, 512), nil), unitAttention, scsiBusReset)

	// A task that is aborted before it has reported one gives it back.
	r.dev.Reset(nil)
	r.nexus.NewTask([8]byte{}, cdb("00")).Discard()
	wantAttentions(t, "discarded", r.nexus, 0, scsiBusReset)
}

func TestNexusesAreSeparate(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	other := r.dev.NewNexus("other", testPort, nil)
	wantAttentions(t, "old", r.nexus, 0)
	wantAttentions(t, "new", other, 0, powerOnReset)
}

func TestNewUnitRefuses(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := testIdentity("x")
	for name, change := range map[string]func(*UnitOptions){
		"no serial":         func(o *UnitOptions) { o.Identity.Serial = "" },
		"long serial":       func(o *UnitOptions) { o.Identity.Serial = "123456789012345678901234567890123" },
		"no NAA":            func(o *UnitOptions) { o.Identity.NAA = [16]byte{} },
		"long vendor":       func(o *UnitOptions) { o.Identity.Vendor = "123456789" },
		"product not ASCII": func(o *UnitOptions) { o.Identity.Product = "bär" },
	} {
		o := UnitOptions{Identity: good}
		change(&o)
		if _, err := NewUnit(mem, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestUnitClose(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	arrived, release := r.fault.Hold(0)
	read := make(chan Result)
	go func() { read <- r.run("28 00 00000000 00 0001 00", nil) }()
	<-arrived
	late := r.nexus.NewTask([8]byte{}, cdb("28 00 00000000 00 0001 00"))
	closed := make(chan error)
	go func() { closed <- r.unit.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for a command")
	case <-afterMoment():
	}
	release()
	if got := <-read; got.Status != Good {
		t.Errorf("running command: %v", got.Status)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	wantSense(t, late.Run(nil, nil), illegalRequest, lunNotSupported)
	wantSense(t, r.run("00", nil), illegalRequest, lunNotSupported)
	if err := r.unit.Close(); err == nil {
		t.Error("closed twice without an error")
	}
}
