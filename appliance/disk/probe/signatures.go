package probe

// A prober looks for one family of content, and returns every place where it
// was found. It reads through the device only, and on a blank one always the
// same places: that is what Ranges builds on.
type prober func(*device) []Finding

// probers holds what is known, from the outside in: RAID sets and volume
// managers hold partition tables, which hold filesystems. Where several
// signatures are left of different times, the first one found names the disk;
// it isn't blank in any case.
var probers = []prober{
	raidAtEnd,
	mdRAID,
	lvm,
	zfs,
	stratis,
	drbd,
	luks,
	btrfs,
	ntfs,
	exfat,
	fat,
	xfs,
	swap,
	vmfs,
	cacheSets,
	f2fs,
	ext,
	nilfs,
	udf,
	magics,
	gpt,
	ldm,
	mbr,
	apm,
}

// contents are the probers for what lies in a partition.
var contents = probers[:len(probers)-4]

// A magic is a signature at a fixed place, with the places of label and UUID.
type magic struct {
	offset int64
	bytes  string
	what   string
	label  span
	uuid   int64 // where 16 bytes of UUID are; 0: nowhere
}

// A span is where a label is.
type span struct {
	offset int64
	n      int
}

// magicTable is what needs no more than a comparison, in the order of offsets
// within each family. Sources: the kernel's headers, libblkid's superblock
// probers, and each format's own documentation.
var magicTable = []magic{
	{offset: 3, bytes: "-FVE-FS-", what: "BitLocker encrypted volume"},
	{offset: 424, bytes: "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01", what: "BitLocker To Go encrypted volume"},
	{offset: 3, bytes: "ReFS\x00\x00\x00\x00", what: "ReFS filesystem"},

	{offset: 32768 + 1, bytes: "CD001", what: "ISO 9660 filesystem", label: span{32768 + 40, 32}},
	{offset: 32768 + 9, bytes: "CDROM", what: "High Sierra filesystem"},
	{offset: 1024, bytes: "BD", what: "HFS filesystem"},
	{offset: 1024, bytes: "H+\x00\x04", what: "HFS+ filesystem"},
	{offset: 1024, bytes: "HX\x00\x05", what: "HFS+ filesystem"},
	{offset: -1024, bytes: "H+\x00\x04", what: "HFS+ filesystem (copy of the header)"},
	{offset: -1024, bytes: "HX\x00\x05", what: "HFS+ filesystem (copy of the header)"},
	{offset: 88, bytes: "CS", what: "Apple CoreStorage volume"},
	{offset: 32, bytes: "NXSB", what: "APFS container", uuid: 72},
	{offset: 0x10034, bytes: "ReIsErFs", what: "reiserfs filesystem", label: span{0x10064, 16}, uuid: 0x10054},
	{offset: 0x10034, bytes: "ReIsEr2Fs", what: "reiserfs filesystem", label: span{0x10064, 16}, uuid: 0x10054},
	{offset: 0x10034, bytes: "ReIsEr3Fs", what: "reiserfs filesystem", label: span{0x10064, 16}, uuid: 0x10054},
	{offset: 0x2034, bytes: "ReIsErFs", what: "reiserfs filesystem"},
	{offset: 0x10000, bytes: "ReIsEr4", what: "reiser4 filesystem"},
	{offset: 0x8000, bytes: "JFS1", what: "JFS filesystem", label: span{0x8098, 16}, uuid: 0x8088},
	{offset: 0xf000, bytes: "JFS1", what: "JFS filesystem (second superblock)"},
	{offset: 0x10000, bytes: "\x01\x16\x19\x70", what: "GFS2 filesystem"},
	{offset: 1024, bytes: "OCFSV2", what: "OCFS2 filesystem"},
	{offset: 2048, bytes: "OCFSV2", what: "OCFS2 filesystem"},
	{offset: 4096, bytes: "OCFSV2", what: "OCFS2 filesystem"},
	{offset: 8192, bytes: "OCFSV2", what: "OCFS2 filesystem"},
	{offset: 8192, bytes: "OracleCFS", what: "OCFS filesystem"},
	{offset: 32, bytes: "ORCLDISK", what: "Oracle ASM disk", label: span{40, 24}},
	{offset: 40, bytes: "ORCLDISK", what: "Oracle ASM disk", label: span{72, 30}},
	{offset: 8192 + 1372, bytes: "\x19\x54\x01\x19", what: "UFS filesystem"},
	{offset: 8192 + 1372, bytes: "\x00\x01\x19\x54", what: "UFS filesystem"},
	{offset: 8192 + 1372, bytes: "\x54\x19\x01\x00", what: "UFS filesystem"},
	{offset: 65536 + 1372, bytes: "\x19\x01\x54\x19", what: "UFS filesystem"},
	{offset: 65536 + 1372, bytes: "\x19\x54\x01\x19", what: "UFS filesystem"},
	{offset: 256<<10 + 1372, bytes: "\x19\x01\x54\x19", what: "UFS filesystem"},
	{offset: 1024, bytes: "\xf5\xfc\x01\xa5", what: "VxFS filesystem"},
	{offset: 8192, bytes: "\xa5\x01\xfc\xf5", what: "VxFS filesystem"},
	{offset: 32, bytes: "BFS1", what: "BeOS filesystem"},
	{offset: 512 + 32, bytes: "BFS1", what: "BeOS filesystem"},
	{offset: 512 + 32, bytes: "1SFB", what: "BeOS filesystem"},
	{offset: 16 * 512, bytes: "\x49\xe8\x95\xf9", what: "HPFS filesystem"},
	{offset: 4096, bytes: "SPB5", what: "NetWare filesystem"},
	{offset: 0, bytes: "hsqs", what: "squashfs filesystem"},
	{offset: 0, bytes: "sqsh", what: "squashfs filesystem"},
	{offset: 1024, bytes: "\xe2\xe1\xf5\xe0", what: "erofs filesystem", label: span{1024 + 64, 16}, uuid: 1024 + 48},
	{offset: 0, bytes: "\x45\x3d\xcd\x28", what: "cramfs filesystem"},
	{offset: 512, bytes: "\x45\x3d\xcd\x28", what: "cramfs filesystem"},
	{offset: 0, bytes: "-rom1fs-", what: "romfs filesystem"},
	{offset: 0, bytes: "UBI#", what: "UBI volume"},
	{offset: 0, bytes: "SFOZ", what: "zonefs filesystem"},

	{offset: 0, bytes: "bluestore block device", what: "Ceph BlueStore", label: span{23, 36}},
	{offset: 0, bytes: "dmvdo001", what: "VDO volume", uuid: 40},
	{offset: 4096, bytes: "SPACEDB ", what: "Windows Storage Spaces disk"},
	{offset: 0, bytes: "dm-integrity", what: "dm-integrity volume"},
	{offset: 0, bytes: "integrt\x00", what: "dm-integrity volume"},
	{offset: 0, bytes: "verity\x00\x00", what: "dm-verity volume"},
	{offset: 0, bytes: "CrOS", what: "dm-snapshot store"},
	{offset: 0, bytes: "SnAp", what: "dm-snapshot store"},
	{offset: 0, bytes: "QFI\xfb", what: "qcow2 image"},
	{offset: 0, bytes: "KDMV", what: "VMDK image"},
	{offset: 0, bytes: "vhdxfile", what: "VHDX image"},
	{offset: -512, bytes: "conectix", what: "VHD image"},
}

func magics(d *device) []Finding {
	var all []Finding
	for _, m := range magicTable {
		at := m.offset
		if at < 0 {
			at = d.size/512*512 + at
		}
		if !d.has(at, m.bytes) {
			continue
		}
		f := Finding{What: m.what, Offset: at}
		if m.label.n > 0 {
			f.Label = text(d.read(m.label.offset, m.label.n))
		}
		if m.uuid > 0 {
			f.UUID = uuid(d.read(m.uuid, 16))
		}
		all = append(all, f)
	}
	return all
}
