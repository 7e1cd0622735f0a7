package probe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/probe"
)

// sparse is a disk of any size that holds a few pieces of data.
type sparse map[int64]string

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, data := range s {
		if at < off+int64(len(p)) && at+int64(len(data)) > off {
			if at >= off {
				copy(p[at-off:], data)
			} else {
				copy(p, data[off-at:])
			}
		}
	}
	return len(p), nil
}

func le32(v uint32) string { return string(binary.LittleEndian.AppendUint32(nil, v)) }

const gib = int64(1) << 30

func TestProbe(t *testing.T) {
	const size = 100*gib + 512 // no multiple of anything large
	tests := []struct {
		name string
		size int64
		data sparse
		want probe.Finding
	}{
		{name: "blank", want: probe.Finding{Blank: true}},
		{name: "blank and tiny", size: 4096, want: probe.Finding{Blank: true}},
		{name: "blank, ends overlap", size: 3 << 19, want: probe.Finding{Blank: true}},
		{name: "blank, gap smaller than a sample", size: 2<<20 + 512, want: probe.Finding{Blank: true}},
		{name: "no size", size: -1, want: probe.Finding{What: "no known size"}},

		{name: "GPT", data: sparse{512: "EFI PART"}, want: probe.Finding{What: "GPT partition table", Offset: 512}},
		{name: "GPT of 4 KiB blocks", data: sparse{4096: "EFI PART"}, want: probe.Finding{What: "GPT partition table", Offset: 4096}},
		{name: "GPT's copy", data: sparse{size - 512: "EFI PART"}, want: probe.Finding{What: "GPT partition table", Offset: size - 512}},
		{name: "MBR", data: sparse{510: "\x55\xaa", 446 + 16 + 4: "\x83"}, want: probe.Finding{What: "MBR partition table", Offset: 462}},
		{name: "boot code", data: sparse{0: "\xeb\x63", 510: "\x55\xaa"}, want: probe.Finding{What: "boot sector", Offset: 510}},
		{name: "LVM", data: sparse{512: "LABELONE"}, want: probe.Finding{What: "LVM physical volume", Offset: 512}},
		{name: "LVM in the fourth sector", data: sparse{1536: "LABELONE"}, want: probe.Finding{What: "LVM physical volume", Offset: 1536}},
		{name: "LVM without a label", data: sparse{4100: " LVM2 x[5A%r0N*>"}, want: probe.Finding{What: "LVM metadata without a label", Offset: 4096}},
		{name: "md 1.1", data: sparse{0: le32(0xa92b4efc)}, want: probe.Finding{What: "md RAID member (1.1)"}},
		{name: "md 1.2", data: sparse{4096: le32(0xa92b4efc)}, want: probe.Finding{What: "md RAID member (1.2)", Offset: 4096}},
		{name: "md 1.0", data: sparse{100*gib - 8192: le32(0xa92b4efc)}, want: probe.Finding{What: "md RAID member (1.0)", Offset: 100*gib - 8192}},
		{name: "md 0.90", data: sparse{100*gib - 65536: le32(0xa92b4efc)}, want: probe.Finding{What: "md RAID member (0.90)", Offset: 100*gib - 65536}},
		{name: "md 0.90 of a big-endian machine", data: sparse{100*gib - 65536: "\xa9\x2b\x4e\xfc"}, want: probe.Finding{What: "md RAID member (0.90)", Offset: 100*gib - 65536}},
		{name: "LUKS", data: sparse{0: "LUKS\xba\xbe\x00\x02"}, want: probe.Finding{What: "LUKS encrypted volume"}},
		{name: "xfs", data: sparse{0: "XFSB"}, want: probe.Finding{What: "xfs filesystem"}},
		{name: "btrfs", data: sparse{0x10040: "_BHRfS_M"}, want: probe.Finding{What: "btrfs filesystem", Offset: 0x10040}},
		{name: "btrfs, first superblock gone", data: sparse{64<<20 + 0x40: "_BHRfS_M"}, want: probe.Finding{What: "btrfs filesystem (second superblock)", Offset: 64<<20 + 0x40}},
		{name: "NTFS", data: sparse{0: "\xeb\x52\x90NTFS    ", 510: "\x55\xaa"}, want: probe.Finding{What: "NTFS filesystem", Offset: 3}},
		{name: "exFAT", data: sparse{0: "\xeb\x76\x90EXFAT   ", 510: "\x55\xaa"}, want: probe.Finding{What: "exFAT filesystem", Offset: 3}},
		{name: "ReFS", data: sparse{3: "ReFS\x00\x00\x00\x00"}, want: probe.Finding{What: "ReFS filesystem", Offset: 3}},
		{name: "BitLocker", data: sparse{3: "-FVE-FS-"}, want: probe.Finding{What: "BitLocker encrypted volume", Offset: 3}},
		{name: "VMFS", data: sparse{0x200000: "\x5e\xf1\xab\x2f"}, want: probe.Finding{What: "VMFS filesystem (VMware)", Offset: 0x200000}},
		{name: "ISO 9660", data: sparse{32769: "CD001"}, want: probe.Finding{What: "ISO 9660 filesystem", Offset: 32769}},
		{name: "ZFS, first label", data: sparse{128<<10 + 5<<10: "\x0c\xb1\xba\x00\x00\x00\x00\x00"}, want: probe.Finding{What: "ZFS pool member", Offset: 133 << 10}},
		{name: "ZFS, last label", data: sparse{100*gib - 128<<10: "\x00\x00\x00\x00\x00\xba\xb1\x0c"}, want: probe.Finding{What: "ZFS pool member", Offset: 100*gib - 128<<10}},
		{name: "DDF", data: sparse{size - 512: "\xde\x11\xde\x11"}, want: probe.Finding{What: "DDF RAID member", Offset: size - 512}},
		{name: "Intel", data: sparse{size - 1024: "Intel Raid ISM Cfg Sig. 1.3.00"}, want: probe.Finding{What: "Intel RAID member", Offset: size - 1024}},
		{name: "Promise, before the last MiB", data: sparse{size - 3087*512: "Promise Technology, Inc."}, want: probe.Finding{What: "Promise RAID member", Offset: size - 3087*512}},
		{name: "RAID set with a partition table", data: sparse{512: "EFI PART", size - 1024: "Intel Raid ISM Cfg Sig. 1.3.00"}, want: probe.Finding{What: "Intel RAID member", Offset: size - 1024}},

		{name: "first byte", data: sparse{0: "\x01"}, want: probe.Finding{What: "unknown data"}},
		{name: "in the first 32 MiB", data: sparse{32<<20 - 1: "x"}, want: probe.Finding{What: "unknown data", Offset: 32<<20 - 1}},
		{name: "in the last 4 MiB", data: sparse{size - 4<<20: "x"}, want: probe.Finding{What: "unknown data", Offset: size - 4<<20}},
		{name: "in the first MiB", data: sparse{1<<20 - 1: "\xff"}, want: probe.Finding{What: "unknown data", Offset: 1<<20 - 1}},
		{name: "last byte", data: sparse{size - 1: "\x01"}, want: probe.Finding{What: "unknown data", Offset: size - 1}},
		{name: "at a power of two", data: sparse{1 << 30: "x"}, want: probe.Finding{What: "unknown data", Offset: 1 << 30}},
		{name: "small disk is read completely", size: 64 << 20, data: sparse{50<<20 + 12345: "x"}, want: probe.Finding{What: "unknown data", Offset: 50<<20 + 12345}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.size
			if n == 0 {
				n = size
			}
			got, err := probe.Probe(tt.data, n)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWideAreas: an area of more than two of the 128 stretches between the
// ends can't be missed, wherever it is.
func TestWideAreas(t *testing.T) {
	for _, size := range []int64{gib, 37*gib + 4096, 16 << 40} {
		wide := size / 60
		for i := int64(0); i < 58; i += 5 {
			from := 32<<20 + i*wide
			f, err := probe.Probe(area{from, from + wide}, size)
			if err != nil || f.Blank {
				t.Errorf("size %d: area from %d to %d wasn't seen: %v, %v", size, from, from+wide, f, err)
			}
		}
	}
}

// area is a disk that holds data from one offset to another.
type area struct{ from, to int64 }

func (a area) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if from, to := max(a.from-off, 0), min(int64(len(p)), a.to-off); from < to {
		dirty(p[from:to])
	}
	return len(p), nil
}

// dirty fills b with something, some KiB at a time: the race detector looks at
// each access.
func dirty(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, filling):]
	}
}

var filling = bytes.Repeat([]byte{0xa5}, 64<<10)

func TestBeyond(t *testing.T) {
	tests := []struct {
		name string
		data sparse
		want probe.Finding
	}{
		{name: "only in the first MiB", data: sparse{0: "XFSB", 512: "LABELONE", 1<<20 - 1: "x"}, want: probe.Finding{Blank: true}},
		{name: "right behind it", data: sparse{512: "LABELONE", 1 << 20: "x"}, want: probe.Finding{What: "unknown data", Offset: 1 << 20}},
		{name: "at the end", data: sparse{512: "LABELONE", gib - 512: "EFI PART"}, want: probe.Finding{What: "GPT partition table", Offset: gib - 512}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := probe.Beyond(tt.data, 16<<20)
			if tt.name == "at the end" {
				got, err = probe.Beyond(tt.data, gib)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}

// faulty is a blank disk that can't be read from an offset on.
type faulty int64

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if good := int64(f) - off; good < int64(len(p)) {
		return int(max(good, 0)), errors.New("input/output error")
	}
	return len(p), nil
}

func TestUnreadable(t *testing.T) {
	for _, at := range []int64{0, 4096, 50 * gib, 100*gib - 512} {
		f, err := probe.Probe(faulty(at), 100*gib)
		if err == nil || f.Blank || f.What != probe.Unreadable {
			t.Errorf("unreadable from %d: finding %+v, error %v", at, f, err)
		}
	}
	// Shorter than it says.
	f, err := probe.Probe(bytes.NewReader(make([]byte, 1<<20)), 2<<20)
	if !errors.Is(err, io.EOF) || f.Blank {
		t.Errorf("short disk: finding %+v, error %v", f, err)
	}
}

// FuzzProbe: whatever isn't zero at the start of a disk, it isn't blank.
func FuzzProbe(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte("LABELONE"), uint32(512))
	f.Add([]byte{0, 0, 1}, uint32(1<<20-2))
	f.Fuzz(func(t *testing.T, data []byte, at uint32) {
		const size = 4 << 20 // read completely
		off := int64(at) % size
		data = data[:min(int64(len(data)), size-off)]
		got, err := probe.Probe(sparse{off: string(data)}, size)
		if err != nil {
			t.Fatal(err)
		}
		if blank := len(bytes.Trim(data, "\x00")) == 0; got.Blank != blank {
			t.Errorf("blank = %v, want %v (%+v)", got.Blank, blank, got)
		}
	})
}
