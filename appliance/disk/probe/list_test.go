package probe_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/probe"
)

// TestRanges: what Ranges names is enough to make a disk blank, whatever was on
// it, and is a small part of a large one.
func TestRanges(t *testing.T) {
	for _, size := range []int64{512, 4096, 1 << 20, 64 << 20, 64<<20 + 512, gib + 512, 100 * gib, 20 << 40} {
		ranges := probe.Ranges(size, nil)
		total := int64(0)
		last := int64(-1)
		for _, r := range ranges {
			if r[0] <= last || r[1] <= r[0] || r[1] > size || r[0]%4096 != 0 || r[1]%4096 != 0 && r[1] != size {
				t.Fatalf("size %d: range %v after %d", size, r, last)
			}
			last = r[1]
			total += r[1] - r[0]
		}
		if total > 80<<20 {
			t.Errorf("size %d: %d bytes are to be overwritten", size, total)
		}
		f, err := probe.Probe(allButRanges(ranges), size)
		if err != nil || !f.Blank {
			t.Errorf("size %d: after a wipe it holds %v, %v", size, f, err)
		}
	}
}

// allButRanges is a disk full of data but for ranges that were wiped.
type allButRanges [][2]int64

func (a allButRanges) ReadAt(p []byte, off int64) (int, error) {
	dirty(p)
	for _, r := range a {
		if from, to := max(r[0], off), min(r[1], off+int64(len(p))); from < to {
			clear(p[from-off : to-off])
		}
	}
	return len(p), nil
}

// TestRangesOfPartitions: signatures in partitions are among the ranges.
func TestRangesOfPartitions(t *testing.T) {
	const size, start, length = 100 * gib, 7*gib + 512, 64 * gib
	ranges := probe.Ranges(size, []probe.Finding{{What: "Linux partition", Partition: 3, Offset: start, Size: length}})
	for _, at := range []int64{start, start + 1080, start + 128<<20, start + length - 512, start + length - 65536} {
		if !slices.ContainsFunc(ranges, func(r [2]int64) bool { return r[0] <= at && at < r[1] }) {
			t.Errorf("byte %d isn't in the ranges", at)
		}
	}
}

// FuzzList: hostile content can do nothing but be found; the work is bounded by
// the disk's size. Seeds are what makes probers look further.
func FuzzList(f *testing.F) {
	const size = 4 << 20
	for i := range uint64(8) {
		r := rand.New(rand.NewPCG(i, 1))
		b := make([]byte, 2048)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		f.Add(b, uint32(0), byte(i))
	}
	magics := []struct {
		at    int64
		bytes string
	}{
		{512, "EFI PART"}, {510, "\x55\xaa"}, {0, "ER\x02\x00"}, {512, "LABELONE"}, {4100, " LVM2 x[5A%r0N*>"}, {4096, le32(0xa92b4efc)},
		{3, "NTFS    "}, {3, "EXFAT   "}, {54, "FAT16   "}, {82, "FAT32   "}, {0, "XFSB"}, {0x10040, "_BHRfS_M"}, {128 << 10, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
		{1080, "\x53\xef"}, {1024, "\x10\x20\xf5\xf2"}, {4086, "SWAPSPACE2"}, {0, "LUKS\xba\xbe\x00\x02"}, {size - 65536, le32(0xa92b4efc)},
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint32, which byte) {
		off := int64(at) % size
		data = data[:min(int64(len(data)), size-off)]
		m := magics[int(which)%len(magics)]
		d := sparse{}
		if len(data) > 0 {
			d[off] = string(data)
		}
		both := over{d, sparse{m.at: m.bytes}}
		found, err := probe.List(both, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Error("nothing was found")
		}
		if len(found) > 2000 {
			t.Errorf("%d findings", len(found))
		}
		for _, x := range found {
			if x.Offset < 0 || x.Offset >= size || len(x.String()) > 1000 {
				t.Errorf("finding %+v", x)
			}
		}
		got, err := probe.Probe(both, size)
		if err != nil || got.Blank {
			t.Errorf("probe: %+v, %v", got, err)
		}
		if r := probe.Ranges(size, found); len(r) == 0 {
			t.Error("no ranges")
		}
	})
}

// over is one disk's data over another's.
type over struct{ below, above sparse }

func (o over) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.below.ReadAt(p, off)
	for at, data := range o.above {
		for i := range len(data) {
			if x := at + int64(i) - off; x >= 0 && x < int64(len(p)) {
				p[x] = data[i]
			}
		}
	}
	return n, err
}

func TestFindingText(t *testing.T) {
	tests := []struct {
		f    probe.Finding
		want string
	}{
		{probe.Finding{Blank: true}, "nothing"},
		{probe.Finding{What: "NTFS filesystem", Label: "Windows", Size: 50 * gib, Offset: 3}, `NTFS filesystem "Windows" of 50 GiB (at byte 3)`},
		{probe.Finding{What: "md RAID member (1.2)", Offset: 4096, Set: probe.Set{Kind: "md array", Name: "nas:0", Level: "raid1", Member: "1", Members: 2}},
			"md RAID member (1.2), member 1 of the 2 of md array nas:0 (raid1) (at byte 4096)"},
		{probe.Finding{What: "LVM physical volume", Set: probe.Set{Kind: "LVM volume group", Name: "pve", Owner: "host1"}, UUID: "u"},
			"LVM physical volume, part of LVM volume group pve of system host1, UUID u (at byte 0)"},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.f.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if s := fmt.Sprint(probe.Finding{What: probe.Unknown}); s != "unknown data (at byte 0)" {
		t.Errorf("%q", s)
	}
}
