package probe

import "encoding/binary"

// mdMagic starts a superblock of Linux software RAID (drivers/md/md_p.h).
const mdMagic = 0xa92b4efc

// mdRAID finds members of md arrays. Version 1.1 is at the start, 1.2 at
// 4 KiB, 1.0 and 0.90 near the end at places that depend on the size. Only
// 0.90 may have either byte order.
func mdRAID(d *device) (Finding, bool) {
	const kib = 1 << 10
	sectors := d.size / 512
	for _, p := range []struct {
		at   int64
		what string
	}{
		{0, "md RAID member (1.1)"},
		{4 * kib, "md RAID member (1.2)"},
		{((sectors - 16) &^ 7) * 512, "md RAID member (1.0)"},
		{d.size&^(64*kib-1) - 64*kib, "md RAID member (0.90)"},
	} {
		if p.at < 0 || p.at+4 > d.size {
			continue
		}
		b := d.read(p.at, 4)
		if binary.LittleEndian.Uint32(b) == mdMagic || binary.BigEndian.Uint32(b) == mdMagic {
			return Finding{What: p.what, Offset: p.at}, true
		}
	}
	return Finding{}, false
}

// raidAtEnd finds the metadata of RAID controllers and of mainboards' RAID,
// which all keep it in the last sectors. Places are sectors from the end, as
// in libblkid and dmraid.
func raidAtEnd(d *device) (Finding, bool) {
	for _, p := range []struct {
		sectors int64
		magic   string
		what    string
	}{
		{1, "\xde\x11\xde\x11", "DDF RAID member"},
		{257, "\xde\x11\xde\x11", "DDF RAID member (Adaptec)"},
		{2, "Intel Raid ISM Cfg Sig. ", "Intel RAID member"},
		{1, "\x37\xfc\x4d\x1e", "Adaptec HostRAID member"},
		{2, "NVIDIA", "NVIDIA RAID member"},
		{1, "$XIDE$", "LSI MegaRAID member"},
		{1, "JM", "JMicron RAID member"},
		{1, "\x55\xaa", "VIA RAID member"},
		{11, "\xf3\x16\x78\x5a", "HighPoint RAID member"},
		{11, "\xfd\x16\x78\x5a", "HighPoint RAID member"},
	} {
		if at := (d.size/512 - p.sectors) * 512; d.has(at, p.magic) {
			return Finding{What: p.what, Offset: at}, true
		}
	}
	for _, sectors := range []int64{16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087} {
		if at := (d.size/512 - sectors) * 512; d.has(at, "Promise Technology, Inc.") {
			return Finding{What: "Promise RAID member", Offset: at}, true
		}
	}
	return Finding{}, false
}
