package image

import "bytes"

// vhd is described in Microsoft's "Virtual Hard Disk Image Format
// Specification" 1.0: a footer of 512 bytes at the end, and with a dynamic one
// a copy of it in front.
type vhd struct {
	f      File
	size   int64
	block  int64
	bitmap int64  // bytes in front of each block's data
	bat    []byte // nil: a fixed one
}

// Limits, and types of disks.
const (
	vhdMaxBlock   = 256 << 20
	vhdMaxEntries = 4 << 20
	vhdMaxSize    = 2040 << 30

	vhdFixed, vhdDynamic, vhdDifferencing = 2, 3, 4
)

// vhdSum checks a structure's checksum: the complement of the sum of all
// bytes but its own.
func vhdSum(b []byte, at int) bool {
	var s uint32
	for i, c := range b {
		if i < at || i >= at+4 {
			s += uint32(c)
		}
	}
	return ^s == be.Uint32(b[at:])
}

func openVHD(f File) (Image, error) {
	footer := make([]byte, 512)
	if err := readFull(f, VHD, "footer", footer, f.Size()-512); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(footer, []byte("conectix")) || !vhdSum(footer, 64) {
		return nil, bad(VHD, "it doesn't end as one: it is truncated or damaged, or it is raw (then name the format)")
	}
	size := be.Uint64(footer[48:])
	if size == 0 || size > vhdMaxSize || size%512 != 0 {
		return nil, bad(VHD, "a size of %d bytes is not allowed", size)
	}
	v := &vhd{f: f, size: int64(size)}
	switch kind := be.Uint32(footer[60:]); kind {
	case vhdFixed:
		if v.size > f.Size()-512 {
			return nil, bad(VHD, "the file has %d bytes instead of %d: it is truncated", f.Size(), v.size+512)
		}
		return v, nil
	case vhdDynamic:
		return v, v.dynamic(be.Uint64(footer[16:]))
	case vhdDifferencing:
		return nil, bad(VHD, "it holds only what differs from a parent: merge them in Hyper-V, and import the result")
	default:
		return nil, bad(VHD, "disks of type %d aren't known", kind)
	}
}

func (v *vhd) dynamic(at uint64) error {
	h := make([]byte, 1024)
	if at > uint64(v.f.Size()) {
		return bad(VHD, "its header at %d lies beyond the end of the file: it is truncated or damaged", at)
	}
	if err := readFull(v.f, VHD, "header", h, int64(at)); err != nil {
		return err
	}
	if !bytes.HasPrefix(h, []byte("cxsparse")) || !vhdSum(h, 36) {
		return bad(VHD, "its header is damaged")
	}
	entries, block, table := int64(be.Uint32(h[28:])), int64(be.Uint32(h[32:])), be.Uint64(h[16:])
	if block < 512 || block > vhdMaxBlock || !powerOfTwo(block) {
		return bad(VHD, "blocks of %d bytes are not allowed", block)
	}
	need := (v.size + block - 1) / block
	if entries < need || need > vhdMaxEntries {
		return bad(VHD, "a table of %d blocks is not allowed for %d bytes", entries, v.size)
	}
	if table > uint64(v.f.Size()) || need*4 > v.f.Size()-int64(table) {
		return bad(VHD, "its table lies beyond the end of the file: it is truncated or damaged")
	}
	v.block = block
	v.bitmap = (block/512/8 + 511) / 512 * 512
	v.bat = make([]byte, need*4)
	return readFull(v.f, VHD, "table", v.bat, int64(table))
}

func (v *vhd) Format() string { return VHD }
func (v *vhd) Size() int64    { return v.size }

// entry returns where the data of the block that off lies in begins, 0 if it
// is zeros. The bitmap matters for differencing disks only: in others, what it
// leaves out is zero.
func (v *vhd) entry(off int64) (int64, error) {
	sector := be.Uint32(v.bat[off/v.block*4:])
	if sector == 0xffffffff {
		return 0, nil
	}
	return int64(sector)*512 + v.bitmap, nil
}

func (v *vhd) Extent(off int64) (int64, bool, error) {
	if v.bat == nil {
		return v.size - off, false, nil
	}
	return blockExtent(v.entry, v.block, v.size, off)
}

func (v *vhd) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(v, p, off); err != nil {
		return 0, err
	}
	if v.bat != nil {
		return readBlocks(v.f, VHD, v.entry, v.block, p, off)
	}
	if err := readFull(v.f, VHD, "data", p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}
