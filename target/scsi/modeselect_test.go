package scsi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// list is a mode parameter list of hexadecimal digits.
func list(s string) []byte { return bytes.Clone(cdb(s)[:len(strings.ReplaceAll(s, " ", ""))/2]) }

// sel sends a mode parameter list with MODE SELECT (6).
func (r *rig) sel(t testing.TB, l []byte) Result {
	t.Helper()
	return r.do([]byte{0x15, 0x10, 0, 0, byte(len(l)), 0}, l)
}

const (
	header6      = "00 00 00 00"
	cachingOff   = "08 12 00" + "0000000000000000 0000000000000000 00"
	cachingOn    = "08 12 04" + "0000000000000000 0000000000000000 00"
	controlPlain = "0a 0a 00 10 00 00 00 00 ff ff 00 00"
	controlDesc  = "0a 0a 04 10 00 00 00 00 ff ff 00 00"
	controlLock  = "0a 0a 00 10 08 00 00 00 ff ff 00 00"
)

func TestModeSelectRefuses(t *testing.T) {
	const (
		noPF = "15 00 00 00 04 00"
		saVe = "15 11 00 00 04 00"
	)
	big := "00002000 00000200"
	for name, tt := range map[string]struct {
		cdb, list string
		code      code
		pointer   string // sense-key specific bytes; empty if there are none
	}{
		"PF is 0":                   {noPF, header6, invalidFieldInCDB, "cc0001"},
		"save":                      {saVe, header6, invalidFieldInCDB, "c80001"},
		"less than a header":        {"15 10 00 00 03 00", "00 00 00", parameterListLength, ""},
		"less than a header, 10":    {"55 10 00 00 00 00 00 0007 00", "00 00 00 00 00 00 00", parameterListLength, ""},
		"less than the CDB says":    {"15 10 00 00 10 00", header6 + controlPlain[:24], parameterListLength, ""},
		"medium type":               {"", "00 01 00 00", invalidFieldInParameter, "800001"},
		"medium type, 10":           {"", "T 0000 01 00 00 00 0000", invalidFieldInParameter, "800002"},
		"device-specific bits":      {"", "00 00 20 00", invalidFieldInParameter, "8d0002"},
		"half a descriptor":         {"", "00 00 00 04 00000000", invalidFieldInParameter, "800003"},
		"cut descriptor":            {"", "00 00 00 08 0000", parameterListLength, ""},
		"other block size":          {"", "00 00 00 08 00002000 00001000", invalidFieldInParameter, "800008"},
		"other capacity":            {"", "00 00 00 08 00001000 00000200", invalidFieldInParameter, "800004"},
		"long descriptor in (6)":    {"", "00 00 00 10 0000000000002000 00000000 00000200", invalidFieldInParameter, "800003"},
		"long without LONGLBA":      {"", "T 0000 00 00 00 00 0010 0000000000002000 00000000 00000200", invalidFieldInParameter, "800007"},
		"short with LONGLBA":        {"", "T 0000 00 00 01 00 0008" + big, invalidFieldInParameter, "800007"},
		"reserved bit by LONGLBA":   {"", "T 0000 00 00 03 00 0000", invalidFieldInParameter, "890004"},
		"long, other capacity":      {"", "T 0000 00 00 01 00 0010 0000000000001000 00000000 00000200", invalidFieldInParameter, "800008"},
		"unknown page":              {"", header6 + "03 02 0000", invalidFieldInParameter, "8d0004"},
		"all pages":                 {"", header6 + "3f 02 0000", invalidFieldInParameter, "8d0004"},
		"PS":                        {"", header6 + "8a" + controlPlain[2:], invalidFieldInParameter, "8f0004"},
		"SPF for a plain page":      {"", header6 + "4a 00 000a 00 10 00 00 00 00 ff ff 00 00", invalidFieldInParameter, "8e0004"},
		"unknown subpage":           {"", header6 + "4a 02 0000", invalidFieldInParameter, "8d0004"},
		"page length":               {"", header6 + "0a 0b 00 10 00 00 00 00 ff ff 00 00 00", invalidFieldInParameter, "800005"},
		"page length of a subpage":  {"", header6 + "4a 01 001b" + strings.Repeat("00", 27), invalidFieldInParameter, "800006"},
		"truncated page":            {"", header6 + "0a 0a 00 10 00 00 00 00 ff ff 00", parameterListLength, ""},
		"half a page header":        {"", header6 + "0a", parameterListLength, ""},
		"half a subpage header":     {"", header6 + "4a 01 00", parameterListLength, ""},
		"unchangeable bit":          {"", header6 + "0a 0a 00 10 10 00 00 00 ff ff 00 00", invalidFieldInParameter, "8c0008"},
		"unchangeable bit set to 0": {"", header6 + "0a 0a 00 00 00 00 00 00 ff ff 00 00", invalidFieldInParameter, "8c0007"},
		"good page, then a bad one": {"", header6 + controlDesc + "08 12 05 00" + strings.Repeat("00", 16), invalidFieldInParameter, "880012"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, memdev.Options{}, UnitOptions{})
			other := r.newNexus(t)
			s, ten := strings.CutPrefix(tt.list, "T ")
			l := list(s)
			b := []byte{0x15, 0x10, 0, 0, byte(len(l)), 0}
			switch {
			case tt.cdb != "":
				b = cdb(tt.cdb)
			case ten:
				b = []byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, byte(len(l)), 0}
			}
			got := r.do(b, l)
			wantSense(t, got, illegalRequest, tt.code)
			if tt.pointer == "" {
				tt.pointer = "000000"
			}
			wantBytes(t, "field pointer", got.Sense[15:18], tt.pointer)
			if m := r.unit.modes(); m != 0 {
				t.Errorf("modes are %b after a failure", m)
			}
			wantAttentions(t, "the other", other, 0)
		})
	}
}

func TestModeSelect(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	other := r.newNexus(t)
	check := func(r Result) {
		t.Helper()
		if r.Status != Good {
			t.Fatalf("%v, sense %x", r.Status, r.Sense)
		}
	}
	check(r.sel(t, nil))
	check(r.sel(t, list(header6)))
	check(r.sel(t, list("00 00 90 08 00002000 00000200")))
	check(r.sel(t, list("00 00 00 08 ffffffff 00000200")))
	check(r.sel(t, list("00 00 00 08 00000000 00000200")))
	check(r.sel(t, list(header6+controlPlain+cachingOn)))
	check(r.do([]byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, 24, 0}, list("0000 00 00 01 00 0010 0000000000002000 00000000 00000200")))
	check(r.do([]byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, 24, 0}, list("0000 00 00 01 00 0010 ffffffffffffffff 00000000 00000200")))
	wantAttentions(t, "nothing has changed", other, 0)

	// What is sensed can be sent back.
	for _, command := range []string{"1a 00 3f ff ff 00", "1a 08 3f 00 ff 00", "1a 08 0a 01 ff 00"} {
		check(r.sel(t, r.good(t, command, nil)))
	}
	for _, command := range []string{"5a 00 3f ff 000000 ffff 00", "5a 10 3f ff 000000 ffff 00"} {
		l := r.good(t, command, nil)
		check(r.do([]byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, byte(len(l)), 0}, l))
	}

	check(r.do([]byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0}, list("0000 00 00 00 00 0000"+controlDesc)))
	wantAttentions(t, "who changed it", r.nexus, 0)
	got := run(other, 0, "00", nil)
	if got.Status != CheckCondition || [4]byte(got.Sense) != [4]byte{0x72, 0x06, 0x2a, 0x01} {
		t.Errorf("the other: %v, sense %x", got.Status, got.Sense)
	}
	wantBytes(t, "current", r.good(t, "1a 08 0a 00 ff 00", nil), "0f 00 10 00"+controlDesc)
	wantBytes(t, "default", r.good(t, "1a 08 8a 00 ff 00", nil), "0f 00 10 00"+controlPlain)
	check(r.sel(t, list(header6+controlPlain)))
	wantAttentions(t, "changed back", other, 0, modeParametersChanged)
}

func TestDescriptorSense(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	r.sel(t, list(header6+controlDesc))
	wantBytes(t, "bad LBA", r.run("28 00 ffffffff 00 0001 00", nil).Sense, "72 05 21 00 00000000")
	wantBytes(t, "bad bit", r.run("28 01 00000000 00 0001 00", nil).Sense, "72 05 24 00 00000008 02 06 0000 c8 0001 00")
	r.run("2a 00 00000000 00 0001 00", make([]byte, 512))
	want := make([]byte, 512)
	want[5] = 1
	wantBytes(t, "miscompare", r.run("2f 02 00000000 00 0001 00", want).Sense, "72 0e 1d 00 0000000c 00 0a 80 00 0000000000000005")
	wantBytes(t, "of the transport", r.nexus.NewTask([8]byte{}, cdb("00")).Refuse(byte(abortedCommand), 0x47, 0x05).Sense, "72 0b 47 05 00000000")
	wantBytes(t, "where there is no unit", run(r.nexus, 7, "00", nil).Sense, "70 00 05 00000000 0a 00000000 2500 00 000000")
	// REQUEST SENSE goes by its own bit.
	wantBytes(t, "REQUEST SENSE, fixed", r.good(t, "03 00 00 00 ff 00", nil), "70 00 00 00000000 0a 00000000 0000 00 000000")
	wantBytes(t, "REQUEST SENSE, descriptor", r.good(t, "03 01 00 00 ff 00", nil), "72 00 00 00 00000000")

	r.dev.ResetUnit([8]byte{}, r.nexus)
	wantSense(t, r.run("28 00 ffffffff 00 0001 00", nil), illegalRequest, lbaOutOfRange)
}

func TestSoftwareWriteProtect(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	data := make([]byte, 512)
	pending := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000000 00 0001 00")) // its data is still on the way
	r.sel(t, list(header6+controlLock))
	wantSense(t, pending.Run(data, nil), dataProtect, softwareWriteProtected)
	wantSense(t, r.run("2a 00 00000000 00 0001 00", data), dataProtect, softwareWriteProtected)
	if wp := r.good(t, "1a 08 08 00 ff 00", nil)[2]; wp != 0x90 {
		t.Errorf("device-specific parameter %#02x", wp)
	}
	if r.fault.Calls(faultdev.Write) != 0 {
		t.Error("something was written")
	}
	r.sel(t, list(header6+controlPlain))
	r.good(t, "2a 00 00000000 00 0001 00", data)

	r.sel(t, list(header6+controlLock))
	r.dev.Reset(r.nexus)
	r.good(t, "2a 00 00000000 00 0001 00", data)
}

func TestWriteThrough(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	data := make([]byte, 512)
	flushes := func(want int) {
		t.Helper()
		if got := r.fault.Calls(faultdev.Flush); got != want {
			t.Errorf("%d flushes, want %d", got, want)
		}
	}
	r.good(t, "2a 00 00000000 00 0001 00", data)
	flushes(0)
	if got := r.sel(t, list(header6+cachingOff)); got.Status != Good {
		t.Fatal(got)
	}
	flushes(1) // for what was written before
	wantBytes(t, "WCE", r.good(t, "1a 08 08 00 ff 00", nil)[:8], "17 00 10 00 08 12 00 00")
	r.good(t, "2a 00 00000000 00 0001 00", data)
	flushes(2)
	r.good(t, "93 01 0000000000000000 00000001 00 00", nil)
	flushes(3)
	r.good(t, "28 00 00000000 00 0001 00", nil)
	flushes(3)
	r.fault.FailAll(faultdev.Flush, block.ErrMedium)
	wantSense(t, r.run("2a 00 00000000 00 0001 00", data), mediumError, writeError)
}

// A cache that can't be flushed isn't said to be off.
func TestWriteThroughFails(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	r.fault.FailAll(faultdev.Flush, errors.New("broken"))
	wantSense(t, r.sel(t, list(header6+cachingOff)), mediumError, writeError)
	if wce := r.good(t, "1a 08 08 00 ff 00", nil)[6]; wce != 0x04 {
		t.Errorf("caching page begins with %#02x", wce)
	}
}

// A device without a cache can't be given one.
func TestWriteCacheStaysOff(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dev: NewDevice(testName), unit: newTestUnit(t, durable{mem, false}, "x", UnitOptions{})}
	if err := r.dev.Attach(0, r.unit); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.newNexus(t)
	wantSense(t, r.sel(t, list(header6+cachingOn)), illegalRequest, invalidFieldInParameter)
	if got := r.sel(t, list(header6+cachingOff)); got.Status != Good || r.unit.modes() != 0 {
		t.Errorf("%v, modes %b", got.Status, r.unit.modes())
	}
	wantBytes(t, "mask", r.good(t, "1a 08 48 00 ff 00", nil)[4:], "08 12"+strings.Repeat("00", 18))
}

// A list of any bytes is refused or in force as a whole, and what is in force
// can be sensed.
func FuzzModeSelect(f *testing.F) {
	for _, s := range []string{header6, header6 + controlDesc + cachingOff, "00 00 90 08 00002000 00000200" + controlLock, header6 + "4a 01 001c"} {
		f.Add(list(s), false)
		f.Add(append([]byte{0, 0}, list(s)...), true)
	}
	f.Add(list("0000 00 00 01 00 0010 0000000000002000 00000000 00000200"+controlDesc), true)
	f.Fuzz(func(t *testing.T, l []byte, ten bool) {
		if len(l) > 0xffff || (!ten && len(l) > 0xff) {
			return
		}
		r := newRig(t, memdev.Options{}, UnitOptions{})
		b := []byte{0x15, 0x10, 0, 0, byte(len(l)), 0}
		if ten {
			b = []byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}
			binary.BigEndian.PutUint16(b[7:], uint16(len(l)))
		}
		got := r.do(b, l)
		m := r.unit.modes()
		if got.Status != Good && m != 0 {
			t.Fatalf("modes %b after %v", m, got.Status)
		}
		sensed := r.good(t, "1a 08 3f 00 ff 00", nil)[4:]
		if (m&writeThrough == 0) != (sensed[28+2]&0x04 != 0) || (m&descriptorSense != 0) != (sensed[48+2]&0x04 != 0) {
			t.Fatalf("modes %b are sensed as %x", m, sensed)
		}
	})
}
