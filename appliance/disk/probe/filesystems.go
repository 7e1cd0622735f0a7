package probe

import (
	"fmt"
	"io"
	"strconv"

	"sanstick/appliance/disk"
)

// xfs finds the superblock, and its copies at the start of the other allocation
// groups.
func xfs(d *device) []Finding {
	var all []Finding
	if d.has(0, "XFSB") {
		all = append(all, xfsAt(d, 0))
	}
	for start, n := range groupStarts(d.size) {
		b := d.read(start, int(n))
		if nonZero(b) < 0 {
			continue
		}
		for i := 0; i+512 <= len(b); i += 512 {
			if string(b[i:i+4]) == "XFSB" && start+int64(i) > 0 {
				f := xfsAt(d, start+int64(i))
				f.What += " (copy of the superblock)"
				all = append(all, f)
			}
		}
	}
	return all
}

func xfsAt(d *device, at int64) Finding {
	b := d.read(at, 120)
	return Finding{What: "xfs filesystem", Offset: at, UUID: uuid(b[32:]), Label: text(b[108:120]), Size: product(be64(b, 8), be32(b, 4))}
}

// btrfs finds the superblock and its copies.
func btrfs(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{64 << 10, 64 << 20, 256 << 30} {
		if !d.has(at+0x40, "_BHRfS_M") {
			continue
		}
		b := d.read(at, 4096)
		f := Finding{What: "btrfs filesystem", Offset: at + 0x40, UUID: uuid(b[0x20:]), Label: text(b[0x12b:0x22b])}
		f.Size = product(le64(b, 0xc9+8), 1) // of this device
		if n := le64(b, 0x88); n > 1 && n <= 4096 {
			f.Set = Set{Kind: "btrfs filesystem", ID: f.UUID, Name: f.Label, Member: strconv.FormatUint(le64(b, 0xc9), 10), Members: int(n)}
		}
		if i > 0 {
			f.What += [...]string{" (second superblock)", " (third superblock)"}[i-1]
		}
		all = append(all, f)
	}
	return all
}

// ntfs finds the boot sector and its copy in the last sector.
func ntfs(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{0, (d.size/512 - 1) * 512, (d.size/4096 - 1) * 4096} {
		if !d.has(at+3, "NTFS    ") {
			continue
		}
		b := d.read(at, 512)
		f := Finding{What: "NTFS filesystem", Offset: at + 3}
		sector := le16(b, 11)
		f.Size = product(le64(b, 0x28), sector)
		if serial := le64(b, 0x48); serial != 0 {
			f.UUID = fmt.Sprintf("%016X", serial)
		}
		if i == 0 {
			f.Label = ntfsLabel(d, b)
		} else {
			f.What += " (copy of the boot sector)"
		}
		all = append(all, f)
	}
	return all
}

// ntfsLabel reads the volume's name: an attribute of record 3 of the master
// file table, which b, the boot sector, tells the place of.
func ntfsLabel(d *device, b []byte) string {
	cluster := le16(b, 11) * int64(b[13])
	record := int64(b[0x40]) * cluster
	if n := int8(b[0x40]); n < 0 {
		record = 1 << min(-int(n), 20)
	}
	table := product(le64(b, 0x30), cluster)
	if record < 512 || record > 64<<10 || table <= 0 || table > d.size {
		return ""
	}
	r := d.read(table+3*record, int(record))
	if string(r[:4]) != "FILE" {
		return ""
	}
	for at := le16(r, 20); at+24 <= record; {
		kind, n := le32(r, int(at)), le32(r, int(at)+4)
		if n < 24 || n > record-at {
			return ""
		}
		if kind == 0x60 { // $VOLUME_NAME, always resident
			from := at + le16(r, int(at)+20)
			to := from + le32(r, int(at)+16)
			if to > at+n || to < from {
				return ""
			}
			return text16(r[from:to])
		}
		at += n
	}
	return ""
}

// exfat finds the boot sector and its copy, 12 sectors further.
func exfat(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{0, 12 * 512, 12 * 4096} {
		if !d.has(at+3, "EXFAT   ") {
			continue
		}
		b := d.read(at, 512)
		f := Finding{What: "exFAT filesystem", Offset: at + 3}
		if b[108] >= 9 && b[108] <= 12 && b[109] <= 25-b[108] {
			sector := int64(1) << b[108]
			f.Size = product(le64(b, 72), sector)
			if i == 0 {
				f.Label = exfatLabel(d, sector*le32(b, 88), sector<<b[109], le32(b, 96))
			}
		}
		f.UUID = serial32(le32(b, 100))
		if i > 0 {
			f.What += " (copy of the boot sector)"
		}
		all = append(all, f)
	}
	return all
}

// exfatLabel looks for the label among the first entries of the root directory.
func exfatLabel(d *device, heap, cluster, root int64) string {
	if root < 2 {
		return ""
	}
	dir := d.read(heap+(root-2)*cluster, 4096)
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		if dir[0] == 0x83 && dir[1] <= 11 {
			return text16(dir[2 : 2+2*int(dir[1])])
		}
	}
	return ""
}

// fat finds FAT12, FAT16 and FAT32 by the words that mkfs leaves in the boot
// sector, and FAT32's copy of that in the sixth sector.
func fat(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{0, 6 * 512, 6 * 4096} {
		wide := d.has(at+82, "FAT32   ")
		if !wide && (i > 0 || !d.has(54, "FAT16   ") && !d.has(54, "FAT12   ") && !d.has(54, "FAT     ")) {
			continue
		}
		b := d.read(at, 512)
		f := Finding{What: "FAT filesystem", Offset: at + 54, UUID: serial32(le32(b, 39))}
		if wide {
			f.Offset, f.UUID = at+82, serial32(le32(b, 67))
		}
		sectors := le16(b, 19)
		if sectors == 0 {
			sectors = le32(b, 32)
		}
		f.Size = product(uint64(sectors), le16(b, 11))
		if i > 0 {
			f.What += " (copy of the boot sector)"
		} else if label, err := disk.FATLabel(io.NewSectionReader(d, 0, d.size)); err == nil {
			f.Label = printable(label)
		}
		all = append(all, f)
	}
	return all
}

func serial32(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
}

// f2fs finds both superblocks.
func f2fs(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{1024, 4096 + 1024} {
		if !d.has(at, "\x10\x20\xf5\xf2") {
			continue
		}
		b := d.read(at, 1148)
		f := Finding{What: "f2fs filesystem", Offset: at, UUID: uuid(b[108:]), Label: text16(b[124:1148])}
		if shift := le32(b, 16); shift >= 9 && shift <= 16 {
			f.Size = product(le64(b, 36), 1<<shift)
		}
		if i > 0 {
			f.What += " (second superblock)"
		}
		all = append(all, f)
	}
	return all
}

// udf finds the volume recognition sequence, which may begin with that of ISO
// 9660, for sectors of 2 KiB and of 4 KiB (ECMA-167 part 2, 9).
func udf(d *device) []Finding {
	for _, sector := range []int64{2048, 4096} {
		for i := range int64(32) {
			at := 32768 + i*sector + 1
			for _, id := range []string{"NSR02", "NSR03", "BEA01"} {
				if d.has(at, id) {
					return []Finding{{What: "UDF filesystem", Offset: at}}
				}
			}
		}
	}
	return nil
}

// nilfs finds both superblocks; the magic number has only two bytes, so the
// revision and the superblock's own length must fit too.
func nilfs(d *device) []Finding {
	var all []Finding
	for i, at := range []int64{1024, (d.size/512 - 8) * 512} {
		if !d.has(at+6, "\x34\x34") {
			continue
		}
		b := d.read(at, 1024)
		if n := le16(b, 8); le32(b, 0) != 2 || n < 200 || n > 1024 {
			continue
		}
		f := Finding{What: "nilfs2 filesystem", Offset: at + 6, UUID: uuid(b[152:]), Label: text(b[168:248]), Size: product(le64(b, 32), 1)}
		if i > 0 {
			f.What += " (copy of the superblock)"
		}
		all = append(all, f)
	}
	return all
}
