package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// copyRig is a target with two units of 512-byte blocks (LUN 0, LUN 1) and one
// of 4096 (LUN 2), all of testSize bytes and with noise on them.
type copyRig struct {
	*rig
	faults [3]*faultdev.Device
	units  [3]*Unit
}

func newCopyRig(t testing.TB) *copyRig {
	t.Helper()
	r := &copyRig{rig: newRig(t, memdev.Options{}, UnitOptions{})}
	r.faults[0], r.units[0] = r.fault, r.unit
	for i, block := range []int{512, 512, 4096} {
		if i > 0 {
			mem, err := memdev.New(testSize, memdev.Options{LogicalBlock: block})
			if err != nil {
				t.Fatal(err)
			}
			r.faults[i] = faultdev.New(mem)
			r.units[i] = newTestUnit(t, r.faults[i], fmt.Sprint("copy", i), UnitOptions{})
			if err := r.dev.Attach(uint16(i), r.units[i]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.faults[i].WriteAt(noise()[i*4096:][:testSize], 0); err != nil {
			t.Fatal(err)
		}
	}
	r.nexus = r.newNexus(t)
	return r
}

// noise is more than testSize bytes of it, not the same at any two blocks.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, testSize+3*4096)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
})

func content(t testing.TB, d block.Device) []byte {
	t.Helper()
	b := make([]byte, d.Info().Size)
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// copySpec is a parameter list to be.
type copySpec struct {
	id, flags byte
	targets   [][]byte
	segments  [][]byte
}

// target makes an identification descriptor of a unit.
func (r *copyRig) target(i int) []byte {
	return copyTargetOf(r.units[i], []int{512, 512, 4096}[i])
}

func copyTargetOf(u *Unit, block int) []byte {
	b := make([]byte, copyTargetSize)
	b[0], b[4], b[5], b[7] = identification, binarySet, naa, 16
	copy(b[8:], u.o.Identity.NAA[:])
	binary.BigEndian.PutUint32(b[28:], uint32(block))
	return b
}

// copySegmentOf makes a block to block descriptor.
func copySegmentOf(flags byte, source, destination, blocks uint16, from, to uint64) []byte {
	b := make([]byte, copySegmentSize)
	b[0], b[1], b[3] = blockToBlock, flags, copySegmentSize-4
	binary.BigEndian.PutUint16(b[4:], source)
	binary.BigEndian.PutUint16(b[6:], destination)
	binary.BigEndian.PutUint16(b[10:], blocks)
	binary.BigEndian.PutUint64(b[12:], from)
	binary.BigEndian.PutUint64(b[20:], to)
	return b
}

func (s copySpec) encode() []byte {
	targets, segments := bytes.Join(s.targets, nil), bytes.Join(s.segments, nil)
	b := make([]byte, copyHeaderSize)
	b[0], b[1] = s.id, s.flags
	binary.BigEndian.PutUint16(b[2:], uint16(len(targets)))
	binary.BigEndian.PutUint32(b[8:], uint32(len(segments)))
	return append(append(b, targets...), segments...)
}

func copyCDB(n int) string { return fmt.Sprintf("83 00 0000000000000000 %08x 00 00", n) }

func (r *copyRig) copy(list []byte) Result { return r.run(copyCDB(len(list)), list) }

// spec is a list with all three units as targets.
func (r *copyRig) spec(segments ...[]byte) copySpec {
	return copySpec{id: 1, targets: [][]byte{r.target(0), r.target(1), r.target(2)}, segments: segments}
}

func TestExtendedCopy(t *testing.T) {
	r := newCopyRig(t)
	var want [3][]byte
	for i := range want {
		want[i] = content(t, r.faults[i])
	}
	got := make([]byte, testSize)
	for _, tt := range []struct {
		name     string
		segments [][]byte
	}{
		{"nothing", nil},
		{"no blocks", [][]byte{copySegmentOf(0, 0, 1, 0, 8192, 8192)}},
		{"one block", [][]byte{copySegmentOf(0, 0, 1, 1, 7, 8191)}},
		{"all of it", [][]byte{copySegmentOf(0, 0, 1, 8192, 0, 0)}},
		{"odd", [][]byte{copySegmentOf(0, 1, 0, 4097, 3, 99)}},
		{"counted at the destination", [][]byte{copySegmentOf(2, 0, 1, 4097, 3, 99)}},
		{"to larger blocks", [][]byte{copySegmentOf(0, 0, 2, 4096, 5, 1)}},
		{"to larger blocks, counted there", [][]byte{copySegmentOf(2, 0, 2, 512, 5, 1)}},
		{"from larger blocks", [][]byte{copySegmentOf(0, 2, 1, 300, 1, 7)}},
		{"from larger blocks, counted there", [][]byte{copySegmentOf(2, 2, 1, 3008, 1, 7)}},
		{"onto itself", [][]byte{copySegmentOf(0, 0, 0, 5000, 10, 10)}},
		{"overlap upwards", [][]byte{copySegmentOf(0, 0, 0, 8000, 0, 100)}},
		{"overlap upwards by a lot", [][]byte{copySegmentOf(0, 0, 0, 5000, 0, 3000)}},
		{"overlap downwards", [][]byte{copySegmentOf(0, 0, 0, 8000, 100, 0)}},
		{"overlap by one block", [][]byte{copySegmentOf(0, 0, 0, 2, 0, 1)}},
		{"each after the other", [][]byte{
			copySegmentOf(0, 0, 1, 100, 0, 50), copySegmentOf(0, 1, 0, 100, 60, 4000), copySegmentOf(2, 0, 2, 3, 4000, 9), copySegmentOf(1, 1, 1, 40, 50, 60),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sizes := []int{512, 512, 4096}
			total := 0
			for _, s := range tt.segments {
				src, dst := s[5], s[7]
				unit := sizes[src]
				if s[1]&2 != 0 {
					unit = sizes[dst]
				}
				n := int(binary.BigEndian.Uint16(s[10:])) * unit
				from, to := int(binary.BigEndian.Uint64(s[12:]))*sizes[src], int(binary.BigEndian.Uint64(s[20:]))*sizes[dst]
				copy(want[dst][to:], bytes.Clone(want[src][from:from+n]))
				total += n
			}
			list := r.spec(tt.segments...).encode()
			if res := r.copy(list); res.Status != Good {
				t.Fatalf("%v, sense %x", res.Status, res.Sense)
			}
			for i := range want {
				if _, err := r.faults[i].ReadAt(got, 0); err != nil || !bytes.Equal(want[i], got) {
					t.Errorf("unit %d has other bytes: %v", i, err)
				}
			}
			wantBytes(t, "status", r.good(t, "84 00 01 00000000000000 000000ff 00 00", nil),
				fmt.Sprintf("00000008 01 %04x 00 %08x", len(tt.segments), total))
			wantBytes(t, "failure details", r.good(t, "84 04 01 00000000000000 000000ff 00 00", nil), "00000000")
		})
	}
}

// A copy that is empty, or whose list is not there, does nothing and is fine.
func TestExtendedCopyOfNothing(t *testing.T) {
	r := newCopyRig(t)
	r.good(t, copyCDB(0), nil)
	r.good(t, copyCDB(copyHeaderSize), make([]byte, copyHeaderSize))
}

func TestCopyListErrors(t *testing.T) {
	r := newCopyRig(t)
	before := content(t, r.faults[1])
	for _, tt := range []struct {
		name    string
		change  func(s *copySpec, b []byte) []byte // b is the list, made before
		code    code
		pointer int // in the list; -1 for none
	}{
		{"header cut", func(_ *copySpec, b []byte) []byte { return b[:15] }, parameterListLength, -1},
		{"targets cut", func(_ *copySpec, b []byte) []byte { return b[:16+95] }, parameterListLength, -1},
		{"segment cut", func(_ *copySpec, b []byte) []byte { return b[:len(b)-1] }, parameterListLength, -1},
		{"segment cut by its length", func(_ *copySpec, b []byte) []byte { b[11]--; return b }, parameterListLength, -1},
		{"segment header cut", func(_ *copySpec, b []byte) []byte { b[11] = 3; return b }, parameterListLength, -1},
		{"more segments than bytes", func(_ *copySpec, b []byte) []byte { b[8] = 0xff; return b }, parameterListLength, -1},
		{"half a target", func(_ *copySpec, b []byte) []byte { b[3] -= 16; return b }, invalidFieldInParameter, 2},
		{"reserved in flags", func(_ *copySpec, b []byte) []byte { b[1] = 0x40; return b }, invalidFieldInParameter, 1},
		{"reserved list ID usage", func(_ *copySpec, b []byte) []byte { b[1] = 0x08; return b }, invalidFieldInParameter, 1},
		{"no list ID but one", func(_ *copySpec, b []byte) []byte { b[1] = 0x18; return b }, invalidFieldInParameter, 0},
		{"reserved in header", func(_ *copySpec, b []byte) []byte { b[7] = 1; return b }, invalidFieldInParameter, 4},
		{"inline data", func(_ *copySpec, b []byte) []byte { b[15] = 4; return append(b, 0, 0, 0, 0) }, inlineDataTooLong, 12},
		{"type of target", func(_ *copySpec, b []byte) []byte { b[48] = 0xe0; return b }, targetTypeUnknown, 48},
		{"initiator port", func(_ *copySpec, b []byte) []byte { b[19] = 1; return b }, invalidFieldInParameter, 18},
		{"code set", func(_ *copySpec, b []byte) []byte { b[20] |= 0x50; return b }, invalidFieldInParameter, 20},
		{"association", func(_ *copySpec, b []byte) []byte { b[21] |= 0x80; return b }, invalidFieldInParameter, 21},
		{"reserved in designator", func(_ *copySpec, b []byte) []byte { b[22] = 1; return b }, invalidFieldInParameter, 22},
		{"long designator", func(_ *copySpec, b []byte) []byte { b[23] = 21; return b }, invalidFieldInParameter, 23},
		{"reserved at block length", func(_ *copySpec, b []byte) []byte { b[44] = 1; return b }, invalidFieldInParameter, 44},
		{"type of segment", func(_ *copySpec, b []byte) []byte { b[112] = 0; return b }, segmentTypeUnknown, 112},
		{"length of segment", func(_ *copySpec, b []byte) []byte { b[115]++; return b }, invalidFieldInParameter, 114},
		{"reserved in segment", func(_ *copySpec, b []byte) []byte { b[113] = 4; return b }, invalidFieldInParameter, 113},
		{"more reserved in segment", func(_ *copySpec, b []byte) []byte { b[121] = 1; return b }, invalidFieldInParameter, 120},
		{"17 targets", func(s *copySpec, _ []byte) []byte {
			for len(s.targets) < maxCopyTargets+1 {
				s.targets = append(s.targets, s.targets[0])
			}
			return s.encode()
		}, tooManyTargets, 2},
		{"65 segments", func(s *copySpec, _ []byte) []byte {
			for len(s.segments) < maxCopySegments+1 {
				s.segments = append(s.segments, s.segments[0])
			}
			return s.encode()
		}, tooManySegments, 112 + 64*28},
		{"too long a list", func(s *copySpec, _ []byte) []byte {
			for len(s.targets) < maxCopyTargets+1 {
				s.targets = append(s.targets, s.targets[0])
			}
			for len(s.segments) < maxCopySegments {
				s.segments = append(s.segments, s.segments[0])
			}
			return s.encode()
		}, parameterListLength, -1},
	} {
		s := r.spec(copySegmentOf(0, 0, 1, 8, 0, 0))
		res := r.copy(tt.change(&s, s.encode()))
		if res.Status != CheckCondition || senseKey(res.Sense[2]&15) != illegalRequest || code(binary.BigEndian.Uint16(res.Sense[12:])) != tt.code {
			t.Errorf("%s: %v, sense %x, want %04x", tt.name, res.Status, res.Sense, uint16(tt.code))
			continue
		}
		pointer := -1
		if res.Sense[15]&0xc0 == 0x80 {
			pointer = int(binary.BigEndian.Uint16(res.Sense[16:]))
		}
		if pointer != tt.pointer {
			t.Errorf("%s: points at byte %d, want %d", tt.name, pointer, tt.pointer)
		}
	}
	if !bytes.Equal(before, content(t, r.faults[1])) {
		t.Error("something was written")
	}
	// The limits themselves are fine.
	s := r.spec()
	for len(s.targets) < maxCopyTargets {
		s.targets = append(s.targets, s.targets[0])
	}
	for i := range uint64(maxCopySegments) {
		s.segments = append(s.segments, copySegmentOf(0, uint16(i%2), 15, 1, i, i))
	}
	s.flags = 0x27 // STR and a priority are advice
	if res := r.copy(s.encode()); res.Status != Good {
		t.Errorf("as much as there may be: %x", res.Sense)
	}
}

func TestCopyOperatingParameters(t *testing.T) {
	r := newCopyRig(t)
	wantBytes(t, "operating parameters", r.good(t, "84 03 00 00000000000000 000000ff 00 00", nil), `
		0000002a 01000000 0010 0040 00000900 10000000 00000000 00000000
		00000000 0000 0020 20 09 00 00 000000 02 02 e4`)
	if got := r.good(t, "84 03 07 00000000000000 00000005 00 00", nil); len(got) != 5 {
		t.Errorf("allocation length 5: %d bytes", len(got))
	}
	for _, cdb := range []string{"84 00 09 00000000000000 000000ff 00 00", "84 04 09 00000000000000 000000ff 00 00"} {
		wantSense(t, r.run(cdb, nil), illegalRequest, invalidFieldInCDB)
	}
}

// A unit that this initiator doesn't reach by this nexus can't be copied to or
// from, even if it is in another target of the same server (CVE-2020-28374).
func TestCopyReachesOnlyUnitsOfTheNexus(t *testing.T) {
	r := newCopyRig(t)
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	secret := newTestUnit(t, mem, "secret", UnitOptions{})
	other := NewDevice(testName + ".other")
	if err := other.Attach(0, secret); err != nil {
		t.Fatal(err)
	}
	n := other.NewNexus("iqn.2006-12.example:host,i,0x1", testPort, nil)
	defer n.Close()
	run(n, 0, "00", nil)
	if _, err := mem.WriteAt(bytes.Repeat([]byte{0x5e}, 4096), 0); err != nil {
		t.Fatal(err)
	}
	before, secrets := content(t, r.faults[0]), content(t, mem)
	gone := r.units[1]
	if err := r.dev.Detach(1); err != nil {
		t.Fatal(err)
	}
	r.run("00", nil) // the unit attention
	byVendor := r.target(0)
	byVendor[4], byVendor[5] = asciiSet, t10Vendor
	byPort := r.target(0)
	byPort[5] |= ofPort
	short := r.target(0)
	short[7] = 8
	for name, target := range map[string][]byte{
		"in another target": copyTargetOf(secret, 512), "detached": copyTargetOf(gone, 512), "nobody's": make([]byte, 32),
		"by vendor": byVendor, "by port": byPort, "by half a name": short,
	} {
		target[0] = identification
		for i, s := range [][]byte{copySegmentOf(0, 0, 1, 8, 0, 100), copySegmentOf(0, 1, 0, 8, 0, 100)} {
			res := r.copy(copySpec{id: 1, targets: [][]byte{r.target(0), target}, segments: [][]byte{s}}.encode())
			wantSense(t, res, copyAborted, targetNotReachable)
			if at := binary.BigEndian.Uint16(res.Sense[16:]); res.Sense[15] != 0x80 || at != 16+32+8 {
				t.Errorf("%s, %d: points at %x", name, i, res.Sense[15:18])
			}
		}
	}
	if !bytes.Equal(before, content(t, r.faults[0])) || !bytes.Equal(secrets, content(t, mem)) {
		t.Error("something was copied")
	}
}

// wantCopySense checks what the sense data of a failed copy says: the segment,
// and at which end there was which status.
func wantCopySense(t *testing.T, sense []byte, segment uint16, end byte, status Status, key senseKey, c code) {
	t.Helper()
	want := []byte{0, 0, byte(segment >> 8), byte(segment)}
	if end != 0 {
		want[end-1] = 18
	}
	if diff := cmp.Diff(want, sense[8:12]); diff != "" {
		t.Errorf("command-specific information (-want +got):\n%s", diff)
	}
	if end == 0 {
		return
	}
	inner := sense[18:]
	if Status(inner[0]) != status {
		t.Errorf("forwarded status %v, want %v", Status(inner[0]), status)
	}
	if status == CheckCondition && (senseKey(inner[3]&15) != key || code(binary.BigEndian.Uint16(inner[13:])) != c) {
		t.Errorf("forwarded sense %x, want %x/%04x", inner[1:], key, c)
	}
	if int(sense[7]) != len(sense)-8 {
		t.Errorf("additional sense length %d of %d", sense[7], len(sense))
	}
}

// The first segment that can't be done ends the copy; those before it are
// done, those after it not.
func TestCopyFailures(t *testing.T) {
	first, last := copySegmentOf(0, 0, 1, 8, 0, 0), copySegmentOf(0, 0, 1, 8, 0, 4000)
	for _, tt := range []struct {
		name    string
		prepare func(r *copyRig)
		segment []byte
		code    code
		end     byte
		status  Status
		key     senseKey
		inner   code
	}{
		{"source index", nil, copySegmentOf(0, 3, 1, 8, 0, 0), targetNotReachable, 0, 0, 0, 0},
		{"destination index", nil, copySegmentOf(0, 0, 0xffff, 8, 0, 0), targetNotReachable, 0, 0, 0, 0},
		{"beyond the source", nil, copySegmentOf(0, 0, 1, 8, 8185, 0), 0, ofSource, CheckCondition, illegalRequest, lbaOutOfRange},
		{"beyond the destination", nil, copySegmentOf(0, 0, 1, 8, 0, 8185), 0, ofDestination, CheckCondition, illegalRequest, lbaOutOfRange},
		{"far beyond the source", nil, copySegmentOf(0, 0, 1, 8, 1<<63, 0), 0, ofSource, CheckCondition, illegalRequest, lbaOutOfRange},
		{"far beyond the destination", nil, copySegmentOf(0, 0, 1, 8, 0, 1<<64-1), 0, ofDestination, CheckCondition, illegalRequest, lbaOutOfRange},
		{"part of a larger block", nil, copySegmentOf(0, 0, 2, 7, 0, 0), inexactSegment, 0, 0, 0, 0},
		{"part of a larger block, and CAT", nil, copySegmentOf(1, 0, 2, 7, 0, 0), inexactSegment, 0, 0, 0, 0},
		{"medium error", func(r *copyRig) {
			r.faults[0].FailRange(faultdev.Read, 2<<20, 512, block.ErrMedium)
		}, copySegmentOf(0, 0, 1, 6000, 0, 20), 0, ofSource, CheckCondition, mediumError, unrecoveredReadError},
		{"no space", func(r *copyRig) {
			r.faults[1].FailRange(faultdev.Write, 2<<20, 512, block.ErrNoSpace)
		}, copySegmentOf(0, 0, 1, 6000, 0, 20), 0, ofDestination, CheckCondition, dataProtect, spaceAllocationFailed},
		{"read-only destination", func(r *copyRig) {
			if err := r.units[2].SetReadOnly(true); err != nil {
				panic(err)
			}
		}, copySegmentOf(0, 0, 2, 8, 0, 20), 0, ofDestination, CheckCondition, dataProtect, writeProtected},
		{"full destination", func(r *copyRig) { r.units[2].SetFull(true) },
			copySegmentOf(0, 0, 2, 8, 0, 20), 0, ofDestination, CheckCondition, dataProtect, spaceAllocationFailed},
		{"full source", func(r *copyRig) {
			r.units[2].SetFull(true)
			r.faults[1].FailRange(faultdev.Write, 2<<20, 512, block.ErrMedium)
		}, copySegmentOf(0, 2, 1, 8, 0, 4096), 0, ofDestination, CheckCondition, mediumError, writeError},
		{"reserved destination", func(r *copyRig) { r.reserve(2, writeExclusive) },
			copySegmentOf(0, 0, 2, 8, 0, 20), 0, ofDestination, ReservationConflict, 0, 0},
		{"reserved source", func(r *copyRig) { r.reserve(2, exclusiveAccess) },
			copySegmentOf(0, 2, 0, 8, 0, 20), 0, ofSource, ReservationConflict, 0, 0},
		{"stopped source", func(r *copyRig) { run(r.nexus, 2, "1b 00 00 00 00 00", nil) },
			copySegmentOf(0, 2, 0, 8, 0, 20), 0, ofSource, CheckCondition, notReady, initializingRequired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newCopyRig(t)
			source, destination := content(t, r.faults[0]), content(t, r.faults[1])
			if tt.prepare != nil {
				tt.prepare(r)
			}
			for run(r.nexus, 2, "00", nil).Status == CheckCondition && r.units[2].mediumStatus() == 0 {
			}
			res := r.copy(r.spec(first, tt.segment, last).encode())
			wantSense(t, res, copyAborted, tt.code)
			wantCopySense(t, res.Sense, 1, tt.end, tt.status, tt.key, tt.inner)
			got := content(t, r.faults[1])
			if !bytes.Equal(got[:4096], source[:4096]) {
				t.Error("the segment before isn't done")
			}
			if !bytes.Equal(got[4000*512:4008*512], destination[4000*512:4008*512]) && tt.segment[10] == 0 {
				t.Error("the segment after is done")
			}
			st := r.good(t, "84 00 01 00000000000000 000000ff 00 00", nil)
			if st[4] != 2 || st[6] != 1 {
				t.Errorf("status %x", st)
			}
			details := r.good(t, "84 04 01 00000000000000 000000ff 00 00", nil)
			if diff := cmp.Diff(res.Sense, details[60:]); diff != "" || details[56] != byte(CheckCondition) {
				t.Errorf("failure details %x (-want +got):\n%s", details, diff)
			}
		})
	}
}

// reserve has another initiator reserve a unit.
func (r *copyRig) reserve(lun uint16, kind prType) {
	n := r.dev.NewNexus("iqn.2006-12.example:other,i,0x1", testPort, nil)
	run(n, lun, "00", nil)
	list := make([]byte, 24)
	list[15] = 9
	run(n, lun, "5f 00 00 0000 00000018 00", list)
	list[7] = 9
	if res := run(n, lun, fmt.Sprintf("5f 01 %02x 0000 00000018 00", kind), list); res.Status != Good {
		panic(fmt.Sprintf("cannot reserve: %x", res.Sense))
	}
}

// A reservation holds off the copy manager too, and null devices, wrong types
// and wrong block lengths are refused.
func TestCopyTargetErrors(t *testing.T) {
	r := newCopyRig(t)
	for _, tt := range []struct {
		name    string
		at      int
		value   byte
		code    code
		pointer uint16
	}{
		{"null", 1, 0x20, unreachableTarget, 49},
		{"tape", 1, 0x01, targetTypeIncorrect, 49},
		{"block length", 30, 0x10, invalidFieldInParameter, 77},
		{"no block length", 30, 0x00, invalidFieldInParameter, 77},
	} {
		s := r.spec(copySegmentOf(0, 0, 1, 8, 0, 0))
		s.targets[1][tt.at] = tt.value
		res := r.copy(s.encode())
		wantSense(t, res, copyAborted, tt.code)
		if got := binary.BigEndian.Uint16(res.Sense[16:]); res.Sense[15] != 0x80 || got != tt.pointer {
			t.Errorf("%s: points at %x", tt.name, res.Sense[15:])
		}
	}
	res := r.copy(r.spec(copySegmentOf(0, 0, 7, 8, 0, 0)).encode())
	if res.Sense[15] != 0xa0 || res.Sense[17] != 6 {
		t.Errorf("a wrong index: points at %x", res.Sense[15:])
	}
	r.reserve(0, writeExclusive)
	list := r.spec().encode()
	if res := r.copy(list); res.Status != ReservationConflict {
		t.Errorf("EXTENDED COPY to a reserved unit: %v", res.Status)
	}
}
