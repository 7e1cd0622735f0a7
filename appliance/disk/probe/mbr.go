package probe

import "fmt"

const mbrName = "MBR partition table"

// mbr finds an MBR partition table, or a boot sector with code in it.
func mbr(d *device) []Finding {
	if !d.has(510, "\x55\xaa") {
		return nil
	}
	if d.has(54, "FAT") || d.has(82, "FAT32") || d.has(3, "NTFS    ") || d.has(3, "EXFAT   ") {
		return nil // a filesystem's boot sector: what lies here is its code
	}
	b := d.read(0, 512)
	for i := 446; i < 510; i += 16 {
		if b[i+4] == 0xee && len(gptHeaders(d)) > 0 {
			return nil // all of it belongs to the GPT
		}
		if b[i+4] != 0 { // the partition's type
			f := Finding{What: mbrName, Offset: int64(i)}
			if id := le32(b, 440); id != 0 {
				f.UUID = fmt.Sprintf("%08x", id)
			}
			return []Finding{f}
		}
	}
	return []Finding{{What: "boot sector", Offset: 510}}
}

// mbrPartitions lists primary partitions as 1 to 4, and logical ones from 5 on.
func mbrPartitions(d *device) []Finding {
	found := mbr(d)
	if len(found) == 0 || found[0].What != mbrName {
		return nil
	}
	var all []Finding
	var extended int64
	for _, e := range mbrEntries(d, 0) {
		switch e.kind {
		case 0xee: // protects a GPT
			continue
		case 0x05, 0x0f, 0x85:
			extended = e.start
			continue
		}
		all = append(all, e.finding(e.number))
	}
	// Each table of the chain holds a logical partition, counted from that table,
	// and the next table, counted from the extended partition.
	number := 5
	for at := extended; at > 0 && number < maxPartitions; {
		next := int64(0)
		for _, e := range mbrEntries(d, at) {
			switch {
			case e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85:
				next = extended + e.start
			case at+e.start < d.size:
				e.start += at
				e.size = min(e.size, d.size-e.start)
				all = append(all, e.finding(number))
				number++
			}
		}
		if next <= at { // chains only go forward; others could go round
			break
		}
		at = next
	}
	return all
}

type mbrEntry struct {
	number      int
	kind        byte
	start, size int64
}

func (e mbrEntry) finding(number int) Finding {
	return Finding{What: partition(mbrTypes[e.kind]), Partition: number, Offset: e.start, Size: e.size}
}

func mbrEntries(d *device, at int64) []mbrEntry {
	if !d.has(at+510, "\x55\xaa") {
		return nil
	}
	b := d.read(at, 512)
	var all []mbrEntry
	for i := range 4 {
		p := b[446+16*i:]
		e := mbrEntry{number: i + 1, kind: p[4], start: le32(p, 8) * 512, size: le32(p, 12) * 512}
		if e.kind == 0 || e.size == 0 || e.start == 0 || e.start >= d.size || p[0]&0x7f != 0 {
			continue
		}
		e.size = min(e.size, d.size-e.start)
		all = append(all, e)
	}
	return all
}

var mbrTypes = map[byte]string{
	0x01: "FAT12", 0x04: "FAT16", 0x06: "FAT16", 0x0b: "FAT32", 0x0c: "FAT32", 0x0e: "FAT16",
	0x07: "NTFS or exFAT", 0x27: "Windows recovery", 0x42: "Windows LDM", 0x82: "Linux swap", 0x83: "Linux",
	0x8e: "Linux LVM", 0xfd: "Linux RAID", 0xef: "EFI system", 0xfb: "VMware VMFS", 0xfc: "VMware swap",
	0xa5: "FreeBSD", 0xa6: "OpenBSD", 0xa8: "Apple UFS", 0xaf: "Apple HFS+", 0xbf: "Solaris",
}

// ldm finds Windows' dynamic disks: the private header in the seventh sector
// and its copies in the last MiB.
func ldm(d *device) []Finding {
	var all []Finding
	for _, at := range []int64{6 * 512, d.size/512*512 - 512, d.size/512*512 - 192*512} {
		if d.has(at, "PRIVHEAD") {
			all = append(all, Finding{What: "Windows dynamic disk", Offset: at, UUID: text(d.read(at+48, 36))})
		}
	}
	return all
}

// apm finds an Apple partition map.
func apm(d *device) []Finding {
	if d.has(0, "ER") && be16(d.read(2, 2), 0) >= 512 {
		return []Finding{{What: "Apple partition map"}}
	}
	if d.has(512, "PM\x00\x00") {
		return []Finding{{What: "Apple partition map", Offset: 512}}
	}
	return nil
}

func apmPartitions(d *device) []Finding {
	block := int64(512)
	if d.has(0, "ER") {
		block = be16(d.read(2, 2), 0)
	}
	if block < 512 || block > 4096 {
		return nil
	}
	var all []Finding
	for i := int64(1); i <= maxPartitions && d.has(i*block, "PM\x00\x00"); i++ {
		b := d.read(i*block, 80)
		f := Finding{What: partition(text(b[48:80])), Partition: int(i), Label: text(b[16:48]), Offset: be32(b, 8) * block}
		if f.Size = min(be32(b, 12)*block, d.size-f.Offset); f.Size > 0 && f.Offset > 0 {
			all = append(all, f)
		}
	}
	return all
}
