package probe

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// lvmKind is the Kind of the Set that a physical volume belongs to.
const lvmKind = "LVM volume group"

// lvm finds a physical volume of LVM2: its label is in one of the first four
// sectors. A metadata area without a label counts too, and so does LVM1.
func lvm(d *device) []Finding {
	var all []Finding
	for s := range int64(4) {
		if d.has(s*512, "LABELONE") {
			all = append(all, physicalVolume(d, s*512))
		}
	}
	if f := (Finding{What: "LVM metadata without a label", Offset: 4096}); len(all) == 0 && d.has(4096+4, lvmMagic) {
		f.Set = groupAt(d, 4096)
		all = append(all, f)
	}
	if d.has(0, "HM\x01\x00") || d.has(0, "HM\x02\x00") {
		all = append(all, Finding{What: "LVM1 physical volume"})
	}
	return all
}

// PhysicalVolume reads LVM's label of a disk, with the group that it is a part
// of, and nothing else. ok is false if there is none.
func PhysicalVolume(r io.ReaderAt, size int64) (f Finding, ok bool, err error) {
	d := &device{r: r, size: size, lastAt: size} // without its ends in memory
	found := lvm(d)
	if d.err != nil || len(found) == 0 || found[0].UUID == "" {
		return Finding{}, false, d.err
	}
	return found[0], true, nil
}

const lvmMagic = " LVM2 x[5A%r0N*>"

// physicalVolume reads the label at a sector, and the group's name from the
// first metadata area (lib/format_text/layout.h).
func physicalVolume(d *device, at int64) Finding {
	f := Finding{What: "LVM physical volume", Offset: at}
	b := d.read(at, 512)
	header := le32(b, 20)
	if string(b[24:32]) != "LVM2 001" || header < 32 || header > 512-40 {
		return f
	}
	pv := b[header:]
	f.UUID = lvmUUID(text(pv[:32]))
	f.Size = product(le64(pv, 32), 1)
	// Two lists of areas as offset and size follow, each ended by zeros: those of
	// data, then those of metadata.
	ended := 0
	for areas := pv[40:]; len(areas) >= 16; areas = areas[16:] {
		offset := le64(areas, 0)
		switch {
		case offset == 0:
			if ended++; ended == 2 {
				return f
			}
		case ended == 1 && offset < uint64(d.size):
			f.Set = groupAt(d, int64(offset))
			return f
		}
	}
	return f
}

// groupAt reads the beginning of the newest metadata in an area:
//
//	tank {
//	id = "..."
//	...
//	system_id = "..."
func groupAt(d *device, area int64) Set {
	h := d.read(area, 512)
	if string(h[4:20]) != lvmMagic {
		return Set{}
	}
	end, offset, size := le64(h, 32), le64(h, 40), le64(h, 48)
	if offset < 512 || offset > 64<<20 || size == 0 || size > 64<<20 {
		return Set{}
	}
	begin := min(size, 1024)
	text := d.read(area+int64(offset), int(begin))
	if end > offset && end-offset < begin { // it goes on behind the header: the area is a ring
		text = append(text[:end-offset:end-offset], d.read(area+512, int(begin-(end-offset)))...)
	}
	lines := strings.Split(string(text), "\n")
	name, ok := strings.CutSuffix(lines[0], " {")
	if !ok {
		return Set{}
	}
	s := Set{Kind: lvmKind, Name: printable(name)}
	for _, l := range lines[1:] {
		key, value, _ := strings.Cut(l, " = ")
		value = printable(strings.Trim(value, `"`))
		switch {
		case key == "id" && s.ID == "":
			s.ID = value
		case key == "system_id":
			s.Owner = value
		case key == "seqno":
			s.Events, _ = strconv.ParseUint(value, 10, 64)
		case strings.HasSuffix(l, "{"): // the first of the physical volumes
			return s
		}
	}
	return s
}

// lvmUUID puts the hyphens in that LVM shows.
func lvmUUID(s string) string {
	if len(s) != 32 {
		return ""
	}
	return s[:6] + "-" + s[6:10] + "-" + s[10:14] + "-" + s[14:18] + "-" + s[18:22] + "-" + s[22:26] + "-" + s[26:]
}

// luks finds LUKS1 and LUKS2, and LUKS2's second header, which lies where the
// first one with its JSON area ends: a power of two from 16 KiB to 4 MiB.
func luks(d *device) []Finding {
	var all []Finding
	for at := int64(0); at <= 4<<20; at = max(2*at, 16<<10) {
		f := Finding{What: "LUKS encrypted volume", Offset: at}
		if at > 0 {
			f.What += " (second header)"
		}
		if at == 0 && d.has(at, "LUKS\xba\xbe") || at > 0 && d.has(at, "SKUL\xba\xbe") {
			b := d.read(at, 4096)
			f.UUID = text(b[168:208])
			if be16(b, 6) == 2 {
				f.Label = text(b[24:72])
			}
			all = append(all, f)
		}
	}
	return all
}

// zfs looks into the four labels of 256 KiB, two at each end of the disk, for
// an uberblock in either byte order.
func zfs(d *device) []Finding {
	const label = 256 << 10
	end := d.size &^ (label - 1)
	var all []Finding
	for _, at := range []int64{0, label, end - 2*label, end - label} {
		if at < 0 || at+label > d.size {
			continue
		}
		b := d.read(at, label)
		for ub := 128 << 10; ub+8 <= len(b); ub += 1 << 10 {
			if binary.LittleEndian.Uint64(b[ub:]) == 0x00bab10c || binary.BigEndian.Uint64(b[ub:]) == 0x00bab10c {
				f := Finding{What: "ZFS pool member", Offset: at + int64(ub)}
				zfsConfig(&f, b[16<<10:][:16<<10])
				all = append(all, f)
				break
			}
		}
	}
	return all
}

// zfsConfig reads the pool's name and number from a label's configuration, an
// nvlist in XDR: after 12 bytes, pairs of their size, decoded size, name and
// value.
func zfsConfig(f *Finding, b []byte) {
	for p := b[12:]; len(p) >= 12; {
		size, name := be32(p, 0), be32(p, 8)
		if size < 12 || size > int64(len(p)) || name > size-12 {
			return
		}
		key := string(p[12 : 12+name])
		value := p[min(12+(name+3)&^3, size):size]
		switch {
		case key == "name" && len(value) >= 12 && be32(value, 0) == 9 && be32(value, 8) <= int64(len(value)-12):
			f.Set.Kind, f.Set.Name = "ZFS pool", text(value[12:12+be32(value, 8)])
		case key == "pool_guid" && len(value) >= 16 && be32(value, 0) == 8:
			f.Set.Kind, f.Set.ID = "ZFS pool", fmt.Sprint(be64(value, 8))
		}
		p = p[size:]
	}
}

// stratis finds both copies of the header.
func stratis(d *device) []Finding {
	var all []Finding
	for _, at := range []int64{512, 9 * 512} {
		if d.has(at+4, "!Stra0tis\x86\xff\x02^\x41rh") {
			b := d.read(at, 96)
			all = append(all, Finding{What: "Stratis pool member", Offset: at + 4, UUID: text(b[64:96]),
				Set: Set{Kind: "Stratis pool", ID: text(b[32:64])}})
		}
	}
	return all
}

// drbd finds internal metadata, in the last 4 KiB.
func drbd(d *device) []Finding {
	at := d.size&^4095 - 4096
	for _, magic := range []string{"\x83\x74\x02\x6b", "\x83\x74\x02\x6c", "\x83\x74\x02\x6d"} {
		if d.has(at+60, magic) {
			b := d.read(at, 64)
			return []Finding{{What: "DRBD volume", Offset: at + 60, Size: product(be64(b, 0), 512)}}
		}
	}
	return nil
}

// swap finds swap space made for pages of 4 to 64 KiB, and hibernation images
// in it.
func swap(d *device) []Finding {
	for page := int64(4 << 10); page <= 64<<10; page *= 2 {
		for _, magic := range []string{"SWAPSPACE2", "SWAP-SPACE", "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00"} {
			if !d.has(page-10, magic) {
				continue
			}
			b := d.read(1024, 68)
			f := Finding{What: "swap space", Offset: page - 10}
			if magic != "SWAP-SPACE" {
				f.UUID, f.Label = uuid(b[12:]), text(b[28:44])
				f.Size = (le32(b, 4) + 1) * page
			}
			if strings.Contains(magic, "SUSPEND") {
				f.What = "swap space with a hibernated system"
			}
			return []Finding{f}
		}
	}
	return nil
}

// vmfs finds VMware's volumes, and the filesystem in them: at 2 MiB, or 2 MiB
// behind the start of a volume's data, as VMFS 3, 5 and 6 have it.
func vmfs(d *device) []Finding {
	var all []Finding
	if d.has(0x100000, "\x0d\xd0\x01\xc0") {
		f := Finding{What: "VMFS volume (VMware)", Offset: 0x100000}
		f.Label = text(d.read(0x100000+18, 28))
		all = append(all, f)
	}
	for _, at := range []int64{0x200000, 0x1200000, 0x1300000} {
		if d.has(at, "\x5e\xf1\xab\x2f") || d.has(at, "\x5f\xf1\xab\x2f") {
			b := d.read(at, 160)
			f := Finding{What: "VMFS filesystem (VMware)", Offset: at, Label: text(b[29:157])}
			if u := b[9:25]; nonZero(u) >= 0 {
				f.UUID = fmt.Sprintf("%08x-%08x-%04x-%x", le32(u, 0), le32(u, 4), le16(u, 8), u[10:])
			}
			all = append(all, f)
		}
	}
	return all
}

// cacheSets finds bcache and bcachefs. bcachefs keeps a copy of its superblock
// at the end of the disk and others further on.
func cacheSets(d *device) []Finding {
	magics := map[string]string{
		"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81": "bcache or bcachefs",
		"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef": "bcachefs filesystem",
	}
	var all []Finding
	for _, at := range []int64{4096, 4096 + 1<<20, 2 << 20, d.size&^(1<<20-1) - 1<<20} {
		if at < 0 || at+128 > d.size {
			continue
		}
		b := d.read(at, 128)
		if what := magics[string(b[24:40])]; what != "" {
			all = append(all, Finding{What: what, Offset: at + 24, UUID: uuid(b[40:]), Label: text(b[72:104])})
		}
	}
	return all
}
