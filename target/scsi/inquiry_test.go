package scsi

import (
	"bytes"
	"strings"
	"testing"

	"sanstick/target/block/memdev"
)

func TestStandardInquiry(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	want := `00 00 06 12 5b 18 00 02  53414e535449434b  564f4c554d4520202020202020202020  31202020
		` + strings.Repeat("00", 22) + ` 00a0 0460 04c0 0960 ` + strings.Repeat("00", 30)
	wantBytes(t, "disk", r.good(t, "12 00 00 00ff 00", nil), want)
	wantBytes(t, "36 bytes", r.good(t, "12 00 00 0024 00", nil), want[:strings.Index(want, "31202020")+8])

	r = newRig(t, memdev.Options{}, UnitOptions{Removable: true})
	if got := r.good(t, "12 00 00 0024 00", nil); got[1] != 0x80 {
		t.Errorf("removable: %x", got)
	}
	wantSense(t, r.run("12 00 80 00ff 00", nil), illegalRequest, invalidFieldInCDB) // a page without EVPD
	wantSense(t, r.run("12 02 00 00ff 00", nil), illegalRequest, invalidFieldInCDB) // CMDDT
	wantSense(t, r.run("12 01 77 00ff 00", nil), illegalRequest, invalidFieldInCDB)
}

func TestVitalPages(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512, PhysicalBlock: 4096}, UnitOptions{Thin: true})
	thick := newRig(t, memdev.Options{LogicalBlock: 4096, PhysicalBlock: 4096}, UnitOptions{})
	for _, tt := range []struct {
		name string
		r    *rig
		page string
		want string
	}{
		{"supported pages", r, "00", "00 00 000a 00 80 83 85 86 87 88 b0 b1 b2"},
		{"serial number", r, "80", "00 80 0014" + hexOf(SerialFromUUID("one"))},
		{"identification", r, "83", "00 83 008c" +
			"01 03 00 10" + hexOf(string(naaOf("one"))) +
			"02 01 00 1c" + hexOf("SANSTICK"+SerialFromUUID("one")) +
			"51 94 00 04 00000001" +
			"51 95 00 04 00000002" +
			"53 98 00 24" + hexOf(testName+",t,0x0001") + "0000 00" +
			"53 a8 00 1c" + hexOf(testName) + "00000000"},
		{"management addresses", r, "85", "00 85 0000"},
		{"extended inquiry", r, "86", "00 86 003c 00 07 01 01" + strings.Repeat("00", 56)},
		{"mode page policy", r, "87", "00 87 0004 3fff 00 00"},
		{"ports", r, "88", "00 88 0034 0000 0001 0000 0000 0000 0028 53 98 00 24" + hexOf(testName+",t,0x0001") + "0000 00"},
		{"block limits", r, "b0", "00 b0 003c 01 40 0008 00008000 00000000 00008000" +
			"00100000 00000100 00000001 80000000 0000000000008000 00000800 00000001 00000001 00000000 00000000"},
		{"block limits, thick", thick, "b0", "00 b0 003c 01 08 0001 00001000 00000000 00001000" +
			"00000000 00000000 00000000 00000000 0000000000001000 00000100 00000001 00000001 00000000 00000000"},
		{"characteristics", r, "b1", "00 b1 003c 0001 00 40" + strings.Repeat("00", 56)},
		{"characteristics, thick", thick, "b1", "00 b1 003c 0001" + strings.Repeat("00", 58)},
		{"provisioning", r, "b2", "00 b2 0004 00 e4 02 00"},
		{"provisioning, thick", thick, "b2", "00 b2 0004 00 00 00 00"},
	} {
		wantBytes(t, tt.name, tt.r.good(t, "12 01"+tt.page+"ffff 00", nil), tt.want)
		// A short allocation length cuts the page, and leaves its length field
		// as it is (SPC-4 section 4.2.5.6).
		whole := tt.r.good(t, "12 01"+tt.page+"ffff 00", nil)
		if got := tt.r.good(t, "12 01"+tt.page+"0006 00", nil); !bytes.Equal(got, whole[:min(6, len(whole))]) {
			t.Errorf("%s, cut: got %x, want %x", tt.name, got, whole[:6])
		}
	}
}

// Page 00 lists what there is, in ascending order.
func TestSupportedPagesAreTheTable(t *testing.T) {
	last := byte(0)
	for _, v := range vitalPages {
		if v.code <= last {
			t.Errorf("page %#02x is out of order", v.code)
		}
		last = v.code
	}
	for _, r := range allRigs(t) {
		for page := range 256 {
			got := r.do([]byte{0x12, 0x01, byte(page), 0xff, 0xff, 0}, nil)
			listed := bytes.IndexByte(r.good(t, "12 01 00 ffff 00", nil)[4:], byte(page)) >= 0
			if listed != (got.Status == Good) {
				t.Errorf("page %#02x: listed %t, %v", page, listed, got.Status)
			}
		}
	}
}

func TestReadCapacity(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512, PhysicalBlock: 4096}, UnitOptions{Thin: true})
	wantBytes(t, "(10)", r.good(t, "25", nil), "00001fff 00000200")
	wantBytes(t, "(16)", r.good(t, "9e10 0000000000000000 000000ff 00 00", nil),
		"0000000000001fff 00000200 00 03 c000"+strings.Repeat("00", 16))
	wantBytes(t, "(16), cut", r.good(t, "9e10 0000000000000000 0000000c 00 00", nil), "0000000000001fff 00000200")

	r = newRig(t, memdev.Options{LogicalBlock: 4096}, UnitOptions{})
	wantBytes(t, "(16), 4096 and thick", r.good(t, "9e10 0000000000000000 00000020 00 00", nil),
		"00000000000003ff 00001000 00 00 0000"+strings.Repeat("00", 16))

	r = newSizedRig(t, 16<<40, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	wantBytes(t, "(10), 16 TiB", r.good(t, "25", nil), "ffffffff 00000200")
	wantBytes(t, "(16), 16 TiB", r.good(t, "9e10 0000000000000000 00000008 00 00", nil), "00000007ffffffff")
	// LBA and PMI are obsolete; other values would ask for something else.
	wantSense(t, r.run("25 00 00000001 0000 00 00", nil), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.run("25 00 00000000 0000 01 00", nil), illegalRequest, invalidFieldInCDB)
}

func TestModeSense(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	ro := newRig(t, memdev.Options{}, UnitOptions{ReadOnly: true})
	const (
		recovery   = "01 0a 00 00 00 00 00 00 00 00 00 00"
		caching    = "08 12 04 00 0000000000000000 0000000000000000"
		control    = "0a 0a 00 10 00 00 00 00 ff ff 00 00"
		exceptions = "1c 0a 08 00 00 00 00 00 00 00 00 00"
		descriptor = "00002000 00000200"
		disconnect = "02 0e 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
		extension  = "4a 01 00 1c 06 000000 0000000000000000 0000000000000000 0000000000000000"
	)
	for _, tt := range []struct {
		name, cdb, want string
		r               *rig
	}{
		{"(6), caching", "1a 00 08 00 ff 00", "1f 00 10 08" + descriptor + caching, r},
		{"(6), caching, no descriptor", "1a 08 08 00 ff 00", "17 00 10 00" + caching, r},
		{"(6), all", "1a 08 3f 00 ff 00", "4b 00 10 00" + recovery + disconnect + caching + control + exceptions, r},
		{"(6), all with subpages", "1a 08 3f ff ff 00", "6b 00 10 00" + recovery + disconnect + caching + control + extension + exceptions, r},
		{"(6), control with subpages", "1a 08 0a ff ff 00", "2f 00 10 00" + control + extension, r},
		{"(6), a subpage", "1a 08 0a 01 ff 00", "23 00 10 00" + extension, r},
		{"(6), changeable control", "1a 08 4a 00 ff 00", "0f 00 10 00 0a 0a 04 00 08" + strings.Repeat("00", 7), r},
		{"(6), defaults", "1a 08 88 00 ff 00", "17 00 10 00" + caching, r},
		{"(6), changeable", "1a 08 48 00 ff 00", "17 00 10 00 08 12 04" + strings.Repeat("00", 17), r},
		{"(6), read-only", "1a 08 0a 00 ff 00", "0f 00 90 00" + control, ro},
		{"(6), cut", "1a 00 3f 00 04 00", "53 00 10 08", r},
		{"(10), control", "5a 00 0a 00 000000 00ff 00", "001a 00 10 00 00 0008" + descriptor + control, r},
		{"(10), long LBA", "5a 10 0a 00 000000 00ff 00", "0022 00 10 01 00 0010 0000000000002000 00000000 00000200" + control, r},
		{"(10), long LBA, no descriptor", "5a 18 0a 00 000000 00ff 00", "0012 00 10 01 00 0000" + control, r},
	} {
		wantBytes(t, tt.name, tt.r.good(t, tt.cdb, nil), tt.want)
	}
	for name, tt := range map[string]struct {
		cdb  string
		code code
	}{
		"saved":            {"1a 00 c8 00 ff 00", savingNotSupported},
		"unknown page":     {"1a 00 03 00 ff 00", invalidFieldInCDB},
		"unknown subpage":  {"1a 00 0a 02 ff 00", invalidFieldInCDB},
		"no such subpage":  {"1a 00 08 01 ff 00", invalidFieldInCDB},
		"all of a subpage": {"1a 00 3f 01 ff 00", invalidFieldInCDB},
		"unknown, all":     {"1a 00 03 ff ff 00", invalidFieldInCDB},
	} {
		t.Run(name, func(t *testing.T) { wantSense(t, r.run(tt.cdb, nil), illegalRequest, tt.code) })
	}
}

// WCE says what the device does.
func TestCachingIsTrue(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cached := range []bool{false, true} {
		u := newTestUnit(t, durable{mem, cached}, "x", UnitOptions{})
		d := NewDevice(testName)
		if err := d.Attach(0, u); err != nil {
			t.Fatal(err)
		}
		n := (&rig{dev: d}).newNexus(t)
		got := run(n, 0, "1a 08 08 00 ff 00", nil).Data
		if wce := got[6]&0x04 != 0; wce != cached {
			t.Errorf("WriteCache %t: WCE is %t", cached, wce)
		}
	}
}
