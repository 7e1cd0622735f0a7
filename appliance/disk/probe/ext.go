package probe

// ext finds ext2, ext3 and ext4, and the copies of the superblock in the block
// groups 1 and those whose numbers are powers of 3, 5 and 7.
func ext(d *device) []Finding {
	var all []Finding
	if f, ok := extAt(d, 1024, 0, -1); ok {
		all = append(all, f)
	}
	// How far a filesystem of that block size is looked for: 1 KiB and 2 KiB
	// are what mkfs takes for small ones.
	for shift, limit := range []int64{64 << 30, 1 << 40, d.size} {
		block := int64(1024) << shift
		group := 8 * block * block
		first := int64(0)
		if shift == 0 {
			first = 1024 // the first block is the boot sector's
		}
		for n := range extCopies(min(limit, d.size) / group) {
			if f, ok := extAt(d, n*group+first, n, int64(shift)); ok {
				f.What += " (copy of the superblock)"
				all = append(all, f)
			}
		}
	}
	return all
}

// extCopies yields the groups below n that keep a copy.
func extCopies(n int64) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		if n > 1 && !yield(1) {
			return
		}
		for _, base := range []int64{3, 5, 7} {
			for g := base; g < n; g *= base {
				if !yield(g) {
					return
				}
			}
		}
	}
}

// extAt reads a superblock. The one of a group other than 0 must say so, and
// what its block size is, for the magic number has only two bytes. The kinds
// are told apart by their features: a journal is not in ext2, extents are in
// ext4 only (fs/ext4/ext4.h).
func extAt(d *device, at, group, shift int64) (Finding, bool) {
	if !d.has(at+56, "\x53\xef") {
		return Finding{}, false
	}
	b := d.read(at, 1024)
	if group > 0 && (le16(b, 90) != group&0xffff || le32(b, 24) != shift) {
		return Finding{}, false
	}
	f := Finding{What: "ext2 filesystem", Offset: at, UUID: uuid(b[104:]), Label: text(b[120:136])}
	if s := le32(b, 24); s <= 6 {
		f.Size = le32(b, 4) * (1024 << s)
	}
	compat, incompat := le32(b, 92), le32(b, 96)
	switch {
	case incompat&^0x16 != 0: // beyond filetype, recover and meta_bg
		f.What = "ext4 filesystem"
	case compat&4 != 0:
		f.What = "ext3 filesystem"
	}
	if incompat&0x80 != 0 { // 64bit
		f.Size = product(uint64(le32(b, 4)|le32(b, 0x150)<<32), 1024<<min(le32(b, 24), 6))
	}
	return f, true
}
