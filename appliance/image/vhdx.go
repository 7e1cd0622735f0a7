package image

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// vhdx is described in Microsoft's [MS-VHDX].
type vhdx struct {
	f          File
	size       int64
	block      int64
	chunkRatio int64 // payload blocks between two bitmap blocks
	bat        *tables
	batAt      int64
	batLen     int64 // bytes
}

// Places and limits of [MS-VHDX] 2.1 to 2.6.
const (
	vhdxHeader1, vhdxHeader2 = 64 << 10, 128 << 10
	vhdxRegion1, vhdxRegion2 = 192 << 10, 256 << 10
	vhdxTableLen             = 64 << 10
	vhdxMaxEntries           = 2047
	vhdxMaxBlock             = 256 << 20
	vhdxMaxDisk              = 64 << 40
	vhdxBATPage              = 64 << 10 // how much of the BAT is read at a time

	vhdxNotPresent, vhdxUndefined, vhdxZero, vhdxUnmapped = 0, 1, 2, 3
	vhdxFullyPresent, vhdxPartlyPresent                   = 6, 7
)

// guid is how the file has them: the first three fields are little-endian.
func guid(s string) (g [16]byte) {
	var b [16]byte
	fmt.Sscanf(s, "%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X",
		&b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &b[6], &b[7], &b[8], &b[9], &b[10], &b[11], &b[12], &b[13], &b[14], &b[15])
	g = b
	g[0], g[1], g[2], g[3] = b[3], b[2], b[1], b[0]
	g[4], g[5], g[6], g[7] = b[5], b[4], b[7], b[6]
	return g
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum checks the CRC-32C of a structure, whose own field lies at bytes 4 to 7.
func sum(b []byte) bool {
	want := le.Uint32(b[4:])
	c := crc32.Update(0, castagnoli, b[:4])
	c = crc32.Update(c, castagnoli, make([]byte, 4))
	return crc32.Update(c, castagnoli, b[8:]) == want
}

func openVHDX(f File) (Image, error) {
	magic := make([]byte, 8)
	if err := readFull(f, VHDX, "signature", magic, 0); err != nil {
		return nil, err
	}
	if string(magic) != "vhdxfile" {
		return nil, bad(VHDX, "it doesn't begin as one")
	}
	if err := checkVHDXLog(f); err != nil {
		return nil, err
	}
	regions, err := vhdxRegions(f)
	if err != nil {
		return nil, err
	}
	v := &vhdx{f: f}
	if err := v.metadata(regions.metadata); err != nil {
		return nil, err
	}
	blocks := (v.size + v.block - 1) / v.block
	v.batAt, v.batLen = regions.bat.off, (blocks+(blocks-1)/v.chunkRatio)*8
	if v.batLen > regions.bat.size {
		return nil, bad(VHDX, "its block table is too short for %d bytes", v.size)
	}
	v.bat = newTables(vhdxBATPage)
	return v, nil
}

// checkVHDXLog finds the newer of the two headers, and refuses an image whose
// log is to be replayed: without it the tables may be half written.
func checkVHDXLog(f File) error {
	var current []byte
	for _, at := range []int64{vhdxHeader1, vhdxHeader2} {
		h := make([]byte, 4096)
		if err := readFull(f, VHDX, "header", h, at); err != nil {
			return err
		}
		if !bytes.HasPrefix(h, []byte("head")) || !sum(h) {
			continue
		}
		if current == nil || le.Uint64(h[8:]) > le.Uint64(current[8:]) {
			current = h
		}
	}
	switch {
	case current == nil:
		return bad(VHDX, "neither of its headers is valid: it is damaged")
	case le.Uint16(current[66:]) != 1:
		return bad(VHDX, "version %d isn't known", le.Uint16(current[66:]))
	case !bytes.Equal(current[48:64], make([]byte, 16)):
		return bad(VHDX, "it wasn't closed cleanly, and its log is to be replayed: start and shut down its VM once, or run qemu-img check -r all")
	}
	return nil
}

type vhdxRegion struct{ off, size int64 }

// vhdxRegions reads the region table, of which there are two copies.
func vhdxRegions(f File) (r struct{ bat, metadata vhdxRegion }, err error) {
	var table []byte
	for _, at := range []int64{vhdxRegion1, vhdxRegion2} {
		b := make([]byte, vhdxTableLen)
		if err := readFull(f, VHDX, "region table", b, at); err != nil {
			return r, err
		}
		if bytes.HasPrefix(b, []byte("regi")) && sum(b) {
			table = b
			break
		}
	}
	if table == nil {
		return r, bad(VHDX, "neither of its region tables is valid: it is damaged")
	}
	n := le.Uint32(table[8:])
	if n > vhdxMaxEntries {
		return r, bad(VHDX, "%d regions are not allowed", n)
	}
	for e := table[16:]; n > 0; n, e = n-1, e[32:] {
		off, size := le.Uint64(e[16:]), int64(le.Uint32(e[24:]))
		if off < 1<<20 || off > uint64(f.Size()) || size > f.Size()-int64(off) {
			return r, bad(VHDX, "a region of %d bytes at %d lies beyond the end of the file (%d bytes): it is truncated or damaged", size, off, f.Size())
		}
		x := vhdxRegion{int64(off), size}
		switch id := [16]byte(e); {
		case id == guid("2DC27766-F623-4200-9D64-115E9BFD4A08"):
			r.bat = x
		case id == guid("8B7CA206-4790-4B9A-B8FE-575F050F886E"):
			r.metadata = x
		case le.Uint32(e[28:])&1 != 0:
			return r, bad(VHDX, "it needs a region that isn't known (%x)", id)
		}
	}
	if r.bat.off == 0 || r.metadata.off == 0 {
		return r, bad(VHDX, "it has no block table or no metadata: it is damaged")
	}
	return r, nil
}

// metadata reads what kind of disk it is.
func (v *vhdx) metadata(r vhdxRegion) error {
	if r.size < vhdxTableLen {
		return bad(VHDX, "metadata of %d bytes is too short", r.size)
	}
	table := make([]byte, vhdxTableLen)
	if err := readFull(v.f, VHDX, "metadata", table, r.off); err != nil {
		return err
	}
	n := int(le.Uint16(table[10:]))
	if !bytes.HasPrefix(table, []byte("metadata")) || n > vhdxMaxEntries {
		return bad(VHDX, "its metadata is damaged")
	}
	var sector int64
	for e := table[32:]; n > 0; n, e = n-1, e[32:] {
		off, length, flags := int64(le.Uint32(e[16:])), le.Uint32(e[20:]), le.Uint32(e[24:])
		item := make([]byte, 8)
		read := func(size uint32) error {
			if length < size || off < vhdxTableLen || off > r.size-int64(size) {
				return bad(VHDX, "an item of its metadata lies outside of it: it is damaged")
			}
			return readFull(v.f, VHDX, "metadata", item[:size], r.off+off)
		}
		var err error
		switch id := [16]byte(e); {
		case id == guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"):
			err = read(8)
			if v.block = int64(le.Uint32(item)); le.Uint32(item[4:])&2 != 0 {
				return bad(VHDX, "it holds only what differs from a parent: merge its checkpoints in Hyper-V, and import the result")
			}
		case id == guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8"):
			err = read(8)
			v.size = int64(le.Uint64(item))
		case id == guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F"):
			err = read(4)
			sector = int64(le.Uint32(item))
		case id == guid("BECA12AB-B2E6-4523-93EF-C309E000C746"), id == guid("CDA348C7-445D-4471-9CC9-E9885251C556"):
			// The disk's own identity and its physical sectors don't matter.
		case flags&4 != 0:
			return bad(VHDX, "it needs metadata that isn't known (%x)", id)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case v.block < 1<<20 || v.block > vhdxMaxBlock || !powerOfTwo(v.block):
		return bad(VHDX, "blocks of %d bytes are not allowed", v.block)
	case v.size <= 0 || v.size > vhdxMaxDisk || v.size%512 != 0:
		return bad(VHDX, "a size of %d bytes is not allowed", v.size)
	case sector != 512 && sector != 4096:
		return bad(VHDX, "sectors of %d bytes are not allowed", sector)
	}
	v.chunkRatio = (1 << 23) * sector / v.block
	return nil
}

func (v *vhdx) Format() string { return VHDX }
func (v *vhdx) Size() int64    { return v.size }

// entry returns where the block that off lies in begins, 0 if it is zeros.
func (v *vhdx) entry(off int64) (int64, error) {
	b := off / v.block
	at := (b + b/v.chunkRatio) * 8
	page := at / vhdxBATPage * vhdxBATPage
	table, err := v.bat.get(page, func() ([]byte, error) {
		p := make([]byte, min(vhdxBATPage, v.batLen-page))
		return p, readFull(v.f, VHDX, "block table", p, v.batAt+page)
	})
	if err != nil {
		return 0, err
	}
	e := le.Uint64(table[at-page:])
	switch state := e & 7; state {
	case vhdxNotPresent, vhdxUndefined, vhdxZero, vhdxUnmapped:
		return 0, nil
	case vhdxFullyPresent:
		host := e >> 20 << 20
		if host == 0 || host > maxSize {
			return 0, bad(VHDX, "a block lies at byte %d, which is not allowed", host)
		}
		return int64(host), nil
	case vhdxPartlyPresent:
		return 0, bad(VHDX, "a block is only partly there, as with a parent; merge its checkpoints in Hyper-V")
	default:
		return 0, bad(VHDX, "a block has state %d, which isn't known", state)
	}
}

func (v *vhdx) Extent(off int64) (int64, bool, error) {
	return blockExtent(v.entry, v.block, v.size, off)
}

func (v *vhdx) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(v, p, off); err != nil {
		return 0, err
	}
	return readBlocks(v.f, VHDX, v.entry, v.block, p, off)
}

// blockExtent is Extent for images of blocks that are wholly there or zero.
func blockExtent(entry func(int64) (int64, error), block, size, off int64) (int64, bool, error) {
	const most = 1 << 16 // blocks looked at in one go
	first, err := entry(off)
	if err != nil {
		return 0, false, err
	}
	end := min(size, (off/block+most)*block)
	at := (off/block + 1) * block
	for ; at < end; at += block {
		e, err := entry(at)
		if err != nil {
			return 0, false, err
		}
		if (e == 0) != (first == 0) {
			break
		}
	}
	return min(at, end) - off, first == 0, nil
}

// readBlocks is ReadAt for such images.
func readBlocks(f File, format string, entry func(int64) (int64, error), block int64, p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		in := at % block
		part := p[n:min(int64(len(p)), int64(n)+block-in)]
		e, err := entry(at)
		if err != nil {
			return n, err
		}
		if e == 0 {
			clear(part)
		} else if err := readFull(f, format, "data", part, e+in); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}
