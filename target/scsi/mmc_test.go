package scsi

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/memdev"
)

func newDisc(t testing.TB, size int64) *rig {
	t.Helper()
	return newSizedRig(t, size, memdev.Options{}, UnitOptions{Disc: true})
}

func TestDiscAnswers(t *testing.T) {
	cd, dvd := newDisc(t, 1000*discBlock), newDisc(t, 1<<30)
	for _, tt := range []struct {
		name, cdb, want string
		r               *rig
	}{
		{"INQUIRY", "12 00 00 0024 00", "05 80 06 12 5b 10 00 02 53414e535449434b 43442d524f4d20202020202020202020 31202020", cd},
		{"VPD pages", "12 01 00 00ff 00", "05 00 0007 00 80 83 85 86 87 88", cd},
		{"READ CAPACITY", "25", "000003e7 00000800", cd},
		{"TOC", "43 00 00 000000 00 0324 00", "0012 01 01 00 14 01 00 00000000 00 14 aa 00 000003e8", cd},
		{"TOC, MSF", "43 02 00 000000 01 0324 00", "0012 01 01 00 14 01 00 00000200 00 14 aa 00 00000f19", cd},
		{"TOC, lead-out", "43 00 00 000000 aa 0324 00", "000a 01 01 00 14 aa 00 000003e8", cd},
		{"TOC, cut", "43 00 00 000000 00 0004 00", "0012 01 01", cd},
		{"TOC, MSF of a DVD", "43 02 00 000000 aa 0324 00", "000a 01 01 00 14 aa 00 00742026", dvd},
		{"TOC, MSF that is too high", "43 02 00 000000 aa 0324 00", "000a 01 01 00 14 aa 00 00ff3b4a", newDisc(t, 8<<30)},
		{"sessions", "43 00 01 000000 00 0324 00", "000a 01 01 00 14 01 00 00000000", cd},
		{"sessions, as SFF-8020 has it", "43 00 00 000000 00 0324 40", "000a 01 01 00 14 01 00 00000000", cd},
		{"raw TOC", "43 02 02 000000 00 0324 00", "002e 01 01" +
			"01 14 00 a0 000000 00 010000  01 14 00 a1 000000 00 010000  01 14 00 a2 000000 00 000f19  01 14 00 01 000000 00 000200", cd},
		{"configuration", "46 00 0000 000000 0100 00", "00000040 0000 0008" +
			"0000 03 08 00100000 00080100  0001 0b 08 00000001 00000000  0002 07 04 00000000  0003 03 04 39000000" +
			"0010 01 08 00000800 0001 0000  001f 04 04 00000000", cd},
		{"configuration, current", "46 01 0003 000000 0100 00", "00000020 0000 0010 0003 03 04 39000000 0010 01 08 00000800 0001 0000 001f 05 04 00000000", dvd},
		{"configuration, one", "46 02 0010 000000 0100 00", "00000010 0000 0008 0010 01 08 00000800 0001 0000", cd},
		{"configuration, none", "46 02 001e 000000 0100 00", "00000004 0000 0008", cd},
		{"events", "4a 01 0000 10 0000 0008 00", "0006 04 10 00 02 0000", cd},
		{"events of other classes", "4a 01 0000 ef 0000 0008 00", "0002 80 10", cd},
		{"disc", "51 00 00000000 00 0022 00", "0020 0e 01 01 01 01 20 00000000 00000000 ffffffff ffffffff 0000000000000000 0000", cd},
		{"track", "52 01 00000001 00 0024 00", "0022 01 01 00 04 01 00 00000000 00000000 00000000 00000000 000003e8 00000000 00000000", cd},
		{"track by LBA", "52 00 00000100 00 0004 00", "0022 01 01", cd},
		{"mechanism", "bd 00 000000000000 0008 00 00", "0000000000000000", cd},
		{"DVD, physical", "ad 00 00000000 00 00 0014 00 00", "0802 0000 01 0f 01 00 00030000 000affff 00000000", newDisc(t, 1<<30)},
		{"DVD, copyright", "ad 00 00000000 00 01 0014 00 00", "0006 0000 00000000", dvd},
		{"DVD, list", "ad 00 00000000 00 ff 0014 00 00", "000e 0000 00400804 01400008 ff400010", dvd},
		{"capabilities", "5a 00 2a 00 000000 0100 00", "001c 00 00 00 00 0000 2a 14 08 00 00 00 29 00" + strings.Repeat("00", 14), cd},
	} {
		wantBytes(t, tt.name, tt.r.good(t, tt.cdb, nil), tt.want)
	}
	for name, tt := range map[string]struct {
		cdb  string
		code code
	}{
		"write":                 {"2a 00 00000000 00 0001 00", invalidOperationCode},
		"block device's":        {"88 00 0000000000000000 00000001 00 00", invalidOperationCode},
		"SBC capacity":          {"9e 10 0000000000000000 00000020 00 00", invalidOperationCode},
		"SBC page":              {"12 01 b0 00ff 00", invalidFieldInCDB},
		"caching page":          {"5a 00 08 00 000000 0100 00", invalidFieldInCDB},
		"track 2":               {"43 00 00 000000 02 0324 00", invalidFieldInCDB},
		"session 2":             {"43 00 02 000000 02 0324 00", invalidFieldInCDB},
		"ATIP":                  {"43 00 04 000000 00 0324 00", invalidFieldInCDB},
		"asynchronous events":   {"4a 00 0000 10 0000 0008 00", invalidFieldInCDB},
		"configuration, kind 3": {"46 03 0000 000000 0100 00", invalidFieldInCDB},
		"information, track 2":  {"52 01 00000002 00 0024 00", invalidFieldInCDB},
		"information, kind 3":   {"52 03 00000001 00 0024 00", invalidFieldInCDB},
		"information, beyond":   {"52 00 000003e8 00 0024 00", lbaOutOfRange},
		"DVD structure of a CD": {"ad 00 00000000 00 00 0014 00 00", incompatibleMedium},
		"beyond the end":        {"28 00 000003e8 00 0001 00", lbaOutOfRange},
	} {
		t.Run(name, func(t *testing.T) { wantSense(t, cd.run(tt.cdb, nil), illegalRequest, tt.code) })
	}
	wantSense(t, dvd.run("ad 00 00000000 01 00 0014 00 00", nil), illegalRequest, invalidFieldInCDB)
	wantSense(t, dvd.run("ad 00 00000000 00 05 0014 00 00", nil), illegalRequest, invalidFieldInCDB)
	for _, command := range []string{"43", "46", "4a 01", "51", "52", "ad", "bd"} { // a disk has none of them
		wantSense(t, newRig(t, memdev.Options{}, UnitOptions{}).run(command, nil), illegalRequest, invalidOperationCode)
	}
}

// The tray goes out and in.
func TestDiscTray(t *testing.T) {
	r := newDisc(t, 1000*discBlock)
	other := r.newNexus(t)
	const events = "4a 01 0000 10 0000 0008 00"
	r.good(t, prevent, nil)
	if got := r.good(t, "5a 00 2a 00 000000 0100 00", nil); got[14] != 0x2b {
		t.Errorf("locked: capabilities %x", got)
	}
	r.good(t, allow, nil)
	r.good(t, eject, nil)
	wantSense(t, r.run(tur, nil), notReady, trayOpen)
	wantSense(t, r.run("43 00 00 000000 00 0324 00", nil), notReady, trayOpen)
	wantSense(t, r.run(start, nil), notReady, trayOpen)
	for _, n := range []*Nexus{r.nexus, other} {
		wantBytes(t, "event", run(n, 0, events, nil).Data, "0006 04 10 03 01 0000")
		wantBytes(t, "no more events", run(n, 0, events, nil).Data, "0006 04 10 00 01 0000")
	}
	wantBytes(t, "mechanism", r.good(t, "bd 00 000000000000 0008 00 00", nil), "0010000000000000")
	wantBytes(t, "profile", r.good(t, "46 02 0010 000000 0100 00", nil), "00000010 0000 0000 0010 00 08 00000800 0001 0000")
	r.good(t, load, nil)
	wantBytes(t, "event", run(other, 0, events, nil).Data, "0006 04 10 02 02 0000")
	wantAttentions(t, "the other", other, 0, mediumMayHaveChanged)
}

// What is read is what the device has, whatever its blocks, filled up with
// zeroes.
func TestDiscReads(t *testing.T) {
	data := make([]byte, 7*4096)
	rand.NewChaCha8([32]byte{1}).Read(data)
	for _, size := range []int64{7 * 4096, 5 * 512} {
		for _, logical := range []int{512, 4096} {
			if size%int64(logical) != 0 {
				continue
			}
			r := newSizedRig(t, size, memdev.Options{LogicalBlock: logical}, UnitOptions{Disc: true})
			if _, err := r.mem.WriteAt(data[:size], 0); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, (size+discBlock-1)/discBlock*discBlock)
			copy(want, data[:size])
			blocks := len(want) / discBlock
			for from := range blocks {
				for n := 1; n <= blocks-from; n++ {
					got := r.do([]byte{0x28, 0, 0, 0, 0, byte(from), 0, 0, byte(n), 0}, nil)
					if got.Status != Good || !bytes.Equal(got.Data, want[from*discBlock:(from+n)*discBlock]) {
						t.Fatalf("%d bytes in blocks of %d, %d blocks from %d: %v, or other bytes", size, logical, n, from, got.Status)
					}
				}
			}
		}
	}
}

func TestDiscIsReadOnly(t *testing.T) {
	r := newDisc(t, 1<<20)
	if err := r.unit.SetReadOnly(false); err == nil {
		t.Error("a disc could be made writable")
	}
	d := r.unit.dev
	_, write := d.WriteAt(make([]byte, discBlock), 0)
	for _, err := range []error{write, d.Unmap(0, discBlock), d.WriteZeroes(0, discBlock)} {
		if !errors.Is(err, block.ErrReadOnly) {
			t.Errorf("got %v", err)
		}
	}
	if err := d.Flush(); err != nil {
		t.Error(err)
	}
	if _, err := NewUnit(d, UnitOptions{Disc: true, Thin: true, Identity: testIdentity("x")}); err == nil {
		t.Error("a thin disc was made")
	}
}

// Any CDB to a disc: no panic, and bounded.
func FuzzDisc(f *testing.F) {
	for _, c := range rows() {
		f.Add(c.usage)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newDisc(t, 100*discBlock)
		task := r.nexus.NewTask([8]byte{}, b)
		got := task.Run(make([]byte, task.DataOutLength()), nil)
		if len(got.Data) > MaxTransfer || (got.Status == CheckCondition) != (len(got.Sense) > 0) {
			t.Fatalf("%v with %d bytes and sense %x", got.Status, len(got.Data), got.Sense)
		}
	})
}
