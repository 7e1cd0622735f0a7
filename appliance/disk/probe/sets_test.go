package probe_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/probe"
)

// Content for which there is no tool that works without a kernel of its own is
// made by hand, after the formats' own documentation.

// put writes numbers and text into a block.
type block []byte

func (b block) le(at int, size int, v uint64) block {
	switch size {
	case 2:
		binary.LittleEndian.PutUint16(b[at:], uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b[at:], uint32(v))
	case 8:
		binary.LittleEndian.PutUint64(b[at:], v)
	}
	return b
}

func (b block) be(at int, v uint32) block {
	binary.BigEndian.PutUint32(b[at:], v)
	return b
}

func (b block) text(at int, s string) block {
	copy(b[at:], s)
	return b
}

func md1(at int64, role uint64) string {
	return string(make(block, 512).le(0, 4, 0xa92b4efc).le(4, 4, 1).text(16, "0123456789abcdef").text(32, "nas:data").
		le(72, 4, 5).le(80, 8, 1<<20).le(92, 4, 3).le(144, 8, uint64(at/512)).le(160, 4, 1).text(168, "fedcba9876543210").
		le(200, 8, 77).le(220, 4, 4).le(256, 2, 0).le(258, 2, role))
}

func md0() string {
	b := make(block, 4096)
	for i, v := range map[int]uint64{0: 0xa92b4efc, 2: 90, 5: 1, 13: 2, 14: 3, 15: 4, 7: 1, 8: 1 << 20, 10: 2, 38: 0xc08a859d, 39: 9, 992 + 3: 1} {
		b.le(4*i, 4, v)
	}
	return string(b)
}

// lvmLabel is what pvcreate and vgcreate write, less the checksums.
func lvmLabel() sparse { return lvmLabelAt(2048) }

// lvmLabelAt has the metadata begin elsewhere in its area, behind whose end it goes on
// after the header.
func lvmLabelAt(offset int) sparse {
	label := make(block, 512).text(0, "LABELONE").le(8, 8, 1).le(20, 4, 32).text(24, "LVM2 001").
		text(32, "RkXM7dzCfNXPCpBCh6D7fdNuZHUtdrRD").le(64, 8, 50<<30).le(72, 8, 1<<20).le(104, 8, 4096).le(112, 8, 1020<<10)
	meta := "pve {\nid = \"aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg\"\nseqno = 4\nformat = \"lvm2\"\nsystem_id = \"host1\"\n\nphysical_volumes {\n\npv0 {\nid = \"other\"\n"
	area := make(block, 512).text(4, " LVM2 x[5A%r0N*>").le(20, 4, 1).le(24, 8, 4096).le(32, 8, 1020<<10).le(40, 8, uint64(offset)).le(48, 8, uint64(len(meta)))
	all := sparse{512: string(label), 4096: string(area)}
	begin := min(len(meta), 1020<<10-offset)
	all[4096+int64(offset)], all[4096+512] = meta[:begin], meta[begin:]
	return all
}

// zfsLabel is a label of a pool: configuration and an uberblock.
func zfsLabel() string {
	pair := func(name string, value []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
		b = append(b, name+strings.Repeat("\x00", -len(name)&3)...)
		b = append(b, value...)
		head := binary.BigEndian.AppendUint32(nil, uint32(len(b)+8))
		return append(binary.BigEndian.AppendUint32(head, 0), b...)
	}
	be := func(words ...uint32) (b []byte) {
		for _, w := range words {
			b = binary.BigEndian.AppendUint32(b, w)
		}
		return b
	}
	list := be(0x01010000, 0, 1)
	list = append(list, pair("version", be(8, 1, 0, 5000))...)
	list = append(list, pair("name", append(be(9, 1, 6), "backup\x00\x00"...))...)
	list = append(list, pair("pool_guid", be(8, 1, 0, 4711))...)
	b := make(block, 256<<10).text(16<<10, string(list)).le(132<<10, 8, 0x00bab10c)
	return string(b)
}

func mergeSparse(all ...sparse) sparse {
	m := sparse{}
	for _, s := range all {
		for at, data := range s {
			m[at] = data
		}
	}
	return m
}

func TestSets(t *testing.T) {
	const size = 100 * gib
	set := probe.Set{Kind: "md array", ID: "30313233:34353637:38396162:63646566", Name: "nas:data", Level: "raid5", Member: "2", Members: 3, Events: 77}
	spare := set
	spare.Member = "spare"
	lvmSet := probe.Set{Kind: "LVM volume group", ID: "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg", Name: "pve", Owner: "host1", Events: 4}
	pool := probe.Set{Kind: "ZFS pool", ID: "4711", Name: "backup"}
	const mdUUID = "66656463-6261-3938-3736-353433323130"
	tests := []struct {
		name string
		data sparse
		want []probe.Finding
	}{
		{"md 1.2", sparse{4096: md1(4096, 2)}, []probe.Finding{{What: "md RAID member (1.2)", Offset: 4096, UUID: mdUUID, Size: 512 << 20, Set: set}}},
		{"md 1.1, a spare", sparse{0: md1(0, 0xffff)}, []probe.Finding{{What: "md RAID member (1.1)", UUID: mdUUID, Size: 512 << 20, Set: spare}}},
		{"md 1.0", sparse{size - 8192: md1(size-8192, 2)}, []probe.Finding{{What: "md RAID member (1.0)", Offset: size - 8192, UUID: mdUUID, Size: 512 << 20, Set: set}}},
		{"md 0.90", sparse{size - 65536: md0()}, []probe.Finding{{What: "md RAID member (0.90)", Offset: size - 65536, Size: gib,
			Set: probe.Set{Kind: "md array", ID: "00000001:00000002:00000003:00000004", Level: "raid1", Member: "1", Members: 2, Events: 9}}}},
		{"LVM", lvmLabel(), []probe.Finding{{What: "LVM physical volume", Offset: 512, UUID: "RkXM7d-zCfN-XPCp-BCh6-D7fd-NuZH-UtdrRD", Size: 50 * gib, Set: lvmSet}}},
		{"LVM, metadata that goes on at the beginning", lvmLabelAt(1020<<10 - 70), []probe.Finding{{What: "LVM physical volume", Offset: 512, UUID: "RkXM7d-zCfN-XPCp-BCh6-D7fd-NuZH-UtdrRD", Size: 50 * gib, Set: lvmSet}}},
		{"LVM, label wiped", sparse{4096: lvmLabel()[4096], 6144: lvmLabel()[6144]}, []probe.Finding{{What: "LVM metadata without a label", Offset: 4096, Set: lvmSet}}},
		{"ZFS, all labels", sparse{0: zfsLabel(), 256 << 10: zfsLabel(), size - 512<<10: zfsLabel(), size - 256<<10: zfsLabel()},
			[]probe.Finding{{What: "ZFS pool member", Offset: 132 << 10, Set: pool}}},
		{"ZFS, what mkfs on top of it leaves", mergeSparse(sparse{size - 512<<10: zfsLabel()}, sparse{0: "XFSB"}),
			[]probe.Finding{{What: "ZFS pool member", Offset: size - 512<<10 + 132<<10, Set: pool}, {What: "xfs filesystem"}}},
		{"DRBD", sparse{size - 4096: string(make(block, 64).be(4, 1<<20).be(60, 0x8374026d))}, []probe.Finding{{What: "DRBD volume", Offset: size - 4096 + 60, Size: 512 << 20}}},
		{"Stratis", sparse{512 + 4: "!Stra0tis\x86\xff\x02^\x41rh"}, []probe.Finding{{What: "Stratis pool member", Offset: 516, Set: probe.Set{Kind: "Stratis pool"}}}},
		{"Silicon Image, second copy", sparse{size - 513*512 + 0x60: "\x00\x00\x00\x2f"}, []probe.Finding{{What: "Silicon Image RAID member", Offset: size - 513*512}}},
		{"Windows dynamic disk", sparse{size - 512: "PRIVHEAD"}, []probe.Finding{{What: "Windows dynamic disk", Offset: size - 512}}},
		{"VMFS 6", sparse{0x100000: string(make(block, 64).text(0, "\x0d\xd0\x01\xc0").text(18, "naa.5000")), 0x1300000: string(make(block, 160).text(0, "\x5e\xf1\xab\x2f").text(29, "datastore1"))},
			[]probe.Finding{{What: "VMFS volume (VMware)", Offset: 0x100000, Label: "naa.5000"}, {What: "VMFS filesystem (VMware)", Offset: 0x1300000, Label: "datastore1"}}},
		{"HFS+, only the copy", sparse{size - 1024: "H+\x00\x04"}, []probe.Finding{{What: "HFS+ filesystem (copy of the header)", Offset: size - 1024}}},
		{"ext in a lost partition", sparse{1<<20 + 1080: "\x53\xef"}, []probe.Finding{{What: "ext2 filesystem, in a partition without a partition table", Offset: 1<<20 + 1024, Size: 0}}},
		{"no more than data", sparse{40 << 10: "x"}, []probe.Finding{{What: probe.Unknown, Offset: 40 << 10}}},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := probe.List(tt.data, size)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			first, err := probe.Probe(tt.data, size)
			if err != nil || first.Blank != (len(tt.want) == 0) {
				t.Errorf("probe: %+v, %v", first, err)
			}
			if f, err := probe.Probe(wipedRanges{tt.data, probe.Ranges(size, got)}, size); err != nil || !f.Blank {
				t.Errorf("after a wipe: %+v, %v", f, err)
			}
		})
	}
}

// TestWindowsDisk lists a disk as Windows partitions it, made by the real tools.
func TestWindowsDisk(t *testing.T) {
	const size, start = 300 << 20, 17 << 20
	m := maker{tool: "sgdisk", pkg: "gdisk"}
	f := made(t, m, []string{"-n", "1:2048:+16M", "-t", "1:0c01", "-n", "2:0:0", "-t", "2:0700", "-c", "2:Basic data partition"}, size)
	defer f.Close()
	ntfs := made(t, maker{tool: "mkfs.ntfs", pkg: "ntfs-3g"}, []string{"-F", "-Q", "-q", "-L", "Windows"}, size-start-1<<20)
	defer ntfs.Close()
	for off := int64(0); ; {
		// The filesystem's data, at its place on the disk.
		at := dataBeyond(t, ntfs, off)
		if at < 0 {
			break
		}
		b := make([]byte, 64<<10)
		n, _ := ntfs.ReadAt(b, at&^4095)
		if _, err := f.WriteAt(b[:n], start+at&^4095); err != nil {
			t.Fatal(err)
		}
		off = at&^4095 + int64(n)
	}
	list, err := probe.List(f, size)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range list {
		x.UUID = ""
		got = append(got, x.Text())
	}
	want := []string{
		"GPT partition table",
		"Microsoft reserved partition of 16 MiB",
		`Microsoft data partition "Basic data partition" of 283 MiB`,
		`NTFS filesystem "Windows" of 282 MiB`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := probe.Probe(wipedRanges{f, probe.Ranges(size, list)}, size); err != nil || !got.Blank {
		t.Errorf("after a wipe: %+v, %v", got, err)
	}
}
