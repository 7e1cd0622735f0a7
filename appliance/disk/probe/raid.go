package probe

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// mdMagic starts a superblock of Linux software RAID (drivers/md/md_p.h).
const mdMagic = 0xa92b4efc

// MDArray is the Kind of the Set that a member of an md array belongs to.
const MDArray = "md array"

// mdRAID finds members of md arrays. Version 1.1 is at the start, 1.2 at
// 4 KiB, 1.0 and 0.90 near the end at places that depend on the size. Only
// 0.90 may have either byte order.
func mdRAID(d *device) []Finding {
	const kib = 1 << 10
	sectors := d.size / 512
	var all []Finding
	for _, p := range []struct {
		at   int64
		what string
		old  bool
	}{
		{0, "md RAID member (1.1)", false},
		{4 * kib, "md RAID member (1.2)", false},
		{((sectors - 16) &^ 7) * 512, "md RAID member (1.0)", false},
		{d.size&^(64*kib-1) - 64*kib, "md RAID member (0.90)", true},
	} {
		if p.at < 0 || p.at+4 > d.size {
			continue
		}
		b := d.read(p.at, 4)
		little := binary.LittleEndian.Uint32(b) == mdMagic
		if !little && binary.BigEndian.Uint32(b) != mdMagic {
			continue
		}
		f := Finding{What: p.what, Offset: p.at}
		if b := d.read(p.at, 4096); p.old {
			md0(&f, b, little)
		} else if little && le32(b, 4) == 1 {
			md1(&f, b)
		}
		all = append(all, f)
	}
	return all
}

// md1 reads a superblock of version 1 (struct mdp_superblock_1).
func md1(f *Finding, b []byte) {
	if nonZero(b[16:32]) < 0 {
		return
	}
	f.Set = Set{
		Kind: MDArray, ID: mdUUID(b[16:32]), Name: text(b[32:64]),
		Level: mdLevel(int32(le32(b, 72))), Members: bounded(le32(b, 92)), Events: le64(b, 200),
	}
	f.UUID, f.Size = uuid(b[168:184]), product(le64(b, 80), 512)
	n := le32(b, 160) // which of the roles is this device's
	if n >= le32(b, 220) || 256+2*n+2 > int64(len(b)) {
		f.Set.Member = "spare"
		return
	}
	switch role := le16(b, 256+2*int(n)); {
	case role == 0xfffe:
		f.Set.Member = "failed"
	case role < 0xfffd:
		f.Set.Member = strconv.FormatInt(role, 10)
	default: // 0xffff a spare, 0xfffd a journal
		f.Set.Member = "spare"
	}
}

// md0 reads a superblock of version 0.90 (mdp_super_t), an array of words.
func md0(f *Finding, b []byte, little bool) {
	word := func(i int) uint32 {
		if little {
			return binary.LittleEndian.Uint32(b[4*i:])
		}
		return binary.BigEndian.Uint32(b[4*i:])
	}
	var id []byte
	for _, i := range []int{5, 13, 14, 15} {
		id = binary.BigEndian.AppendUint32(id, word(i))
	}
	if nonZero(id) < 0 {
		return
	}
	f.Set = Set{Kind: MDArray, ID: mdUUID(id), Level: mdLevel(int32(word(7))), Members: bounded(int64(word(10))), Member: "spare"}
	if little {
		f.Set.Events = uint64(word(40))<<32 | uint64(word(39))
	} else {
		f.Set.Events = uint64(word(39))<<32 | uint64(word(40))
	}
	f.Size = int64(word(8)) * 1024
	if role := word(992 + 3); role < word(10) {
		f.Set.Member = strconv.Itoa(int(role))
	}
}

// mdUUID writes an array's UUID as mdadm does.
func mdUUID(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + ":" + h[8:16] + ":" + h[16:24] + ":" + h[24:]
}

func mdLevel(n int32) string {
	switch n {
	case -1:
		return "linear"
	case -4:
		return "multipath"
	case 0, 1, 4, 5, 6, 10:
		return "raid" + strconv.Itoa(int(n))
	}
	return ""
}

// bounded is a number of members that can be true, or 0.
func bounded(n int64) int {
	if n < 0 || n > 4096 {
		return 0
	}
	return int(n)
}

// raidAtEnd finds the metadata of RAID controllers and of mainboards' RAID,
// which nearly all keep it in the last sectors. Places are sectors from the end
// (negative: from the start), as in libblkid and dmraid; blocks of 4 KiB are
// counted as such.
func raidAtEnd(d *device) []Finding {
	var all []Finding
	for _, p := range []struct {
		block   int64
		sectors int64
		within  int64
		magic   string
		what    string
	}{
		{512, 1, 0, "\xde\x11\xde\x11", "DDF RAID member"},
		{512, 1, 0, "\x11\xde\x11\xde", "DDF RAID member"},
		{4096, 1, 0, "\xde\x11\xde\x11", "DDF RAID member"},
		{4096, 1, 0, "\x11\xde\x11\xde", "DDF RAID member"},
		{512, 257, 0, "\xde\x11\xde\x11", "DDF RAID member (Adaptec)"},
		{512, 257, 0, "\x11\xde\x11\xde", "DDF RAID member (Adaptec)"},
		{512, 2, 0, "Intel Raid ISM Cfg Sig. ", "Intel RAID member"},
		{4096, 2, 0, "Intel Raid ISM Cfg Sig. ", "Intel RAID member"},
		{512, 1, 0, "\x37\xfc\x4d\x1e", "Adaptec HostRAID member"},
		{512, 2, 0, "NVIDIA", "NVIDIA RAID member"},
		{512, 1, 0, "$XIDE$", "LSI MegaRAID member"},
		{512, 1, 0, "JM", "JMicron RAID member"},
		{512, 1, 0x60, "\x00\x00\x00\x2f", "Silicon Image RAID member"},
		{512, 513, 0x60, "\x00\x00\x00\x2f", "Silicon Image RAID member"},
		{512, 1025, 0x60, "\x00\x00\x00\x2f", "Silicon Image RAID member"},
		{512, 1537, 0x60, "\x00\x00\x00\x2f", "Silicon Image RAID member"},
		{512, 11, 0, "\xf3\x16\x78\x5a", "HighPoint RAID member"},
		{512, 11, 0, "\xfd\x16\x78\x5a", "HighPoint RAID member"},
		{512, -9, 32, "\xf0\x16\x78\x5a", "HighPoint RAID member"},
		{512, -9, 32, "\xfd\x16\x78\x5a", "HighPoint RAID member"},
	} {
		at := (d.size/p.block-p.sectors)*p.block + p.within
		if p.sectors < 0 {
			at = -p.sectors*p.block + p.within
		}
		if d.has(at, p.magic) {
			all = append(all, Finding{What: p.what, Offset: at - p.within})
		}
	}
	// VIA's has only two bytes, those of a boot sector, but a checksum.
	if at := (d.size/512 - 1) * 512; d.has(at, "\x55\xaa") {
		b := d.read(at, 51)
		var sum byte
		for _, c := range b[:50] {
			sum += c
		}
		if b[2] <= 2 && sum == b[50] {
			all = append(all, Finding{What: "VIA RAID member", Offset: at})
		}
	}
	for _, sectors := range []int64{16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087} {
		if at := (d.size/512 - sectors) * 512; d.has(at, "Promise Technology, Inc.") {
			all = append(all, Finding{What: "Promise RAID member", Offset: at})
		}
	}
	return all
}
