package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"sanstick/target/block/memdev"
)

// unmapList builds an UNMAP parameter list.
func unmapList(ranges ...blockRange) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, uint16(6+16*len(ranges)))
	binary.BigEndian.PutUint16(b[2:], uint16(16*len(ranges)))
	for _, r := range ranges {
		b = binary.BigEndian.AppendUint64(b, r.lba)
		b = binary.BigEndian.AppendUint32(b, uint32(r.blocks))
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func TestUnmap(t *testing.T) {
	const n = testSize / 512
	full := bytes.Repeat([]byte{0x11}, testSize)
	long := unmapList(make([]blockRange, maxUnmapDescriptors+1)...)
	lies := unmapList(blockRange{1, 1})
	binary.BigEndian.PutUint16(lies[2:], 32)
	odd := append(unmapList(blockRange{1, 1}), make([]byte, 8)...)
	binary.BigEndian.PutUint16(odd[2:], 24)
	for _, tt := range []struct {
		name  string
		list  []byte
		sent  int // bytes of the list; -1: all
		zeros []blockRange
		code  code // 0: GOOD
	}{
		{"one", unmapList(blockRange{3, 4}), -1, []blockRange{{3, 4}}, 0},
		{"several", unmapList(blockRange{0, 1}, blockRange{7, 0}, blockRange{n - 1, 1}), -1, []blockRange{{0, 1}, {n - 1, 1}}, 0},
		{"all", unmapList(blockRange{0, n}), -1, []blockRange{{0, n}}, 0},
		{"none, at the end", unmapList(blockRange{n, 0}, blockRange{1, 1}), -1, []blockRange{{1, 1}}, 0},
		{"none, beyond the end", unmapList(blockRange{n + 1, 0}), -1, nil, lbaOutOfRange},
		{"no descriptors", unmapList(), -1, nil, 0},
		{"no list", nil, -1, nil, 0},
		{"half a descriptor more", odd, -1, []blockRange{{1, 1}}, 0},
		{"header cut", unmapList()[:7], -1, nil, parameterListLength},
		{"says more than it has", lies, -1, nil, parameterListLength},
		{"initiator sends less", unmapList(blockRange{3, 4}), 8, nil, parameterListLength},
		{"beyond the end", unmapList(blockRange{3, 4}, blockRange{n, 1}), -1, nil, lbaOutOfRange},
		{"over the end", unmapList(blockRange{n - 1, 2}), -1, nil, lbaOutOfRange},
		{"LBA wraps", unmapList(blockRange{1<<64 - 1, 2}), -1, nil, lbaOutOfRange},
		{"too many descriptors", long, -1, nil, invalidFieldInParameter},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
			want := bytes.Clone(full)
			if _, err := r.mem.WriteAt(want, 0); err != nil {
				t.Fatal(err)
			}
			sent := tt.list
			if tt.sent >= 0 {
				sent = sent[:tt.sent]
			}
			got := r.run(fmt.Sprintf("42 00 00000000 00 %04x 00", len(tt.list)), sent)
			if tt.code != 0 {
				wantSense(t, got, illegalRequest, tt.code)
			} else if got.Status != Good {
				t.Fatalf("%v, sense %x", got.Status, got.Sense)
			}
			for _, z := range tt.zeros {
				clear(want[z.lba*512 : (z.lba+z.blocks)*512])
			}
			is := make([]byte, testSize)
			if _, err := r.mem.ReadAt(is, 0); err != nil || !bytes.Equal(is, want) {
				t.Error("other blocks are zero than wanted")
			}
		})
	}
	thick := newRig(t, memdev.Options{}, UnitOptions{})
	wantSense(t, thick.run("42 00 00000000 00 0018 00", unmapList(blockRange{0, 1})), illegalRequest, invalidOperationCode)
	large := newSizedRig(t, 1<<40, memdev.Options{}, UnitOptions{Thin: true})
	wantSense(t, large.run("42 00 00000000 00 0018 00", unmapList(blockRange{0, maxUnmap/512 + 1})), illegalRequest, invalidFieldInParameter)
}
