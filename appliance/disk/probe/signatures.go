package probe

import "encoding/binary"

// A prober looks for one kind of content.
type prober func(*device) (Finding, bool)

// probers holds what is known, from the outside in: RAID sets and volume
// managers hold partition tables, which hold filesystems. Where several
// signatures are left of different times, the first one found names the disk;
// it isn't blank in any case.
var probers = []prober{
	raidAtEnd,
	mdRAID,
	lvm,
	zfs,
	magics,
	ext,
	gpt,
	mbr,
}

// A magic is a signature at a fixed place.
type magic struct {
	offset int64
	bytes  string
	what   string
}

// magicTable is in the order of offsets within each family. Sources: the
// kernel's headers, libblkid's superblock probers, and each format's own
// documentation.
var magicTable = []magic{
	{0, "LUKS\xba\xbe", "LUKS encrypted volume"},
	{0x4000, "SKUL\xba\xbe", "LUKS encrypted volume (second header)"},
	{3, "-FVE-FS-", "BitLocker encrypted volume"},

	{0, "XFSB", "xfs filesystem"},
	{0x10040, "_BHRfS_M", "btrfs filesystem"},
	{64<<20 + 0x40, "_BHRfS_M", "btrfs filesystem (second superblock)"},
	{3, "NTFS    ", "NTFS filesystem"},
	{3, "EXFAT   ", "exFAT filesystem"},
	{82, "FAT32   ", "FAT filesystem"},
	{54, "FAT16   ", "FAT filesystem"},
	{54, "FAT12   ", "FAT filesystem"},
	{54, "FAT     ", "FAT filesystem"},
	{3, "ReFS\x00\x00\x00\x00", "ReFS filesystem"},
	{0x100000, "\x0d\xd0\x01\xc0", "VMFS volume (VMware)"},
	{0x200000, "\x5e\xf1\xab\x2f", "VMFS filesystem (VMware)"},
	{0x1300000, "\x0d\xd0\x01\xc0", "VMFS volume (VMware)"},
	{32769, "CD001", "ISO 9660 filesystem"},
	{32769, "NSR02", "UDF filesystem"},
	{32769, "NSR03", "UDF filesystem"},
	{32769, "BEA01", "UDF filesystem"},
	{1024, "H+\x00\x04", "HFS+ filesystem"},
	{1024, "HX\x00\x05", "HFS+ filesystem"},
	{32, "NXSB", "APFS container"},
	{1024, "\x10\x20\xf5\xf2", "f2fs filesystem"},
	{0x10034, "ReIsErFs", "reiserfs filesystem"},
	{0x10034, "ReIsEr2Fs", "reiserfs filesystem"},
	{0x10034, "ReIsEr3Fs", "reiserfs filesystem"},
	{0x10034, "ReIsEr4", "reiser4 filesystem"},
	{0x8000, "JFS1", "JFS filesystem"},
	{0x10000, "\x01\x16\x19\x70", "GFS2 filesystem"},
	{8192 + 1372, "\x19\x54\x01\x19", "UFS filesystem"},
	{65536 + 1372, "\x19\x54\x01\x19", "UFS filesystem"},
	{0, "hsqs", "squashfs filesystem"},
	{1024, "\xe2\xe1\xf5\xe0", "erofs filesystem"},
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache or bcachefs"},

	{4096 - 10, "SWAPSPACE2", "swap space"},
	{4096 - 10, "SWAP-SPACE", "swap space"},
	{8192 - 10, "SWAPSPACE2", "swap space"},
	{16384 - 10, "SWAPSPACE2", "swap space"},
	{65536 - 10, "SWAPSPACE2", "swap space"},

	{0, "bluestore block device", "Ceph BlueStore"},
	{0, "dmvdo001", "VDO volume"},
	{32, "ORCLDISK", "Oracle ASM disk"},
	{4096, "SPACEDB ", "Windows Storage Spaces disk"},
	{0, "dm-integrity", "dm-integrity volume"},
	{0, "integrt\x00", "dm-integrity volume"},
	{0, "verity\x00\x00", "dm-verity volume"},
}

func magics(d *device) (Finding, bool) {
	for _, m := range magicTable {
		if d.has(m.offset, m.bytes) {
			return Finding{What: m.what, Offset: m.offset}, true
		}
	}
	return Finding{}, false
}

// lvm finds a physical volume of LVM2: its label is in one of the first four
// sectors. A metadata area without a label counts too, and so does LVM1.
func lvm(d *device) (Finding, bool) {
	for s := range int64(4) {
		if d.has(s*512, "LABELONE") {
			return Finding{What: "LVM physical volume", Offset: s * 512}, true
		}
	}
	if d.has(4096+4, " LVM2 x[5A%r0N*>") {
		return Finding{What: "LVM metadata without a label", Offset: 4096}, true
	}
	if d.has(0, "HM\x01\x00") || d.has(0, "HM\x02\x00") {
		return Finding{What: "LVM1 physical volume", Offset: 0}, true
	}
	return Finding{}, false
}

// ext finds ext2, ext3 and ext4, told apart by their features: a journal is
// not in ext2, extents are in ext4 only (fs/ext4/ext4.h).
func ext(d *device) (Finding, bool) {
	if !d.has(1024+56, "\x53\xef") {
		return Finding{}, false
	}
	compat := binary.LittleEndian.Uint32(d.read(1024+92, 4))
	incompat := binary.LittleEndian.Uint32(d.read(1024+96, 4))
	f := Finding{What: "ext2 filesystem", Offset: 1024}
	switch {
	case incompat&^0x16 != 0: // beyond filetype, recover and meta_bg
		f.What = "ext4 filesystem"
	case compat&4 != 0:
		f.What = "ext3 filesystem"
	}
	return f, true
}

// zfs looks into the four labels of 256 KiB, two at each end of the disk,
// for a configuration (an XDR nvlist that starts with the pool's version) or
// an uberblock.
func zfs(d *device) (Finding, bool) {
	const label = 256 << 10
	end := d.size &^ (label - 1)
	for _, at := range []int64{0, label, end - 2*label, end - label} {
		if at < 0 || at+label > d.size {
			continue
		}
		b := d.read(at, label)
		for ub := 128 << 10; ub+8 <= len(b); ub += 1 << 10 {
			if binary.LittleEndian.Uint64(b[ub:]) == 0x00bab10c || binary.BigEndian.Uint64(b[ub:]) == 0x00bab10c {
				return Finding{What: "ZFS pool member", Offset: at + int64(ub)}, true
			}
		}
	}
	return Finding{}, false
}

// gpt finds a GUID partition table by its header at the start or its copy in
// the last block, for blocks of 512 and of 4096 bytes (UEFI 2.10 5.3.2).
func gpt(d *device) (Finding, bool) {
	for _, at := range []int64{512, 4096, d.size - 512, d.size - 4096} {
		if d.has(at, "EFI PART") {
			return Finding{What: "GPT partition table", Offset: at}, true
		}
	}
	return Finding{}, false
}

// mbr finds an MBR partition table, or a boot sector with code in it.
func mbr(d *device) (Finding, bool) {
	if !d.has(510, "\x55\xaa") {
		return Finding{}, false
	}
	table := d.read(446, 64)
	for i := 0; i < 64; i += 16 {
		if table[i+4] != 0 { // the partition's type
			return Finding{What: "MBR partition table", Offset: 446 + int64(i)}, true
		}
	}
	return Finding{What: "boot sector", Offset: 510}, true
}
