package image

import (
	"bytes"
	"compress/zlib"
	"io"
)

// vmdkSparse is a sparse extent of a VMDK: a file with the magic KDMV, as in
// VMware's "Virtual Disk Format 5.0".
type vmdkSparse struct {
	f        File
	size     int64 // bytes
	grain    int64 // bytes
	perTable int64 // entries in a grain table
	gd       []byte
	gts      *tables
	zeroed   bool // an entry of 1 stands for zeros
	packed   bool // grains are compressed, with a marker in front

	last  int64 // the compressed grain that plain holds, by its sector
	plain []byte
}

// Limits, and flags of the header.
const (
	vmdkMaxGD       = 32 << 20
	vmdkMaxPerTable = 64 << 10
	vmdkMaxGrain    = 16 << 20
	vmdkZeroGrain   = 1 << 2
	vmdkCompressed  = 1 << 16
	vmdkMarkers     = 1 << 17
	vmdkAtEnd       = ^uint64(0) // the directory's place is told at the end
	vmdkHeaderLen   = 512
)

// openSparse reads the header and the grain directory. descriptor is the text
// within, or nil.
func openSparse(f File) (x *vmdkSparse, descriptor []byte, err error) {
	h := make([]byte, vmdkHeaderLen)
	if err := readFull(f, VMDK, "header", h, 0); err != nil {
		return nil, nil, err
	}
	if !bytes.HasPrefix(h, []byte("KDMV")) {
		return nil, nil, bad(VMDK, "an extent doesn't begin as a sparse one")
	}
	if off, n := le.Uint64(h[28:]), le.Uint64(h[36:]); off != 0 && n != 0 {
		if n > maxDescriptor/512 || off > uint64(f.Size())/512 {
			return nil, nil, bad(VMDK, "a description of %d sectors at %d is not allowed", n, off)
		}
		descriptor = make([]byte, n*512)
		if err := readFull(f, VMDK, "description", descriptor, int64(off)*512); err != nil {
			return nil, nil, err
		}
	}
	if le.Uint64(h[56:]) == vmdkAtEnd {
		// Of the last three sectors, the middle one is the header with what
		// was not known when the file was begun.
		footer := make([]byte, vmdkHeaderLen)
		if err := readFull(f, VMDK, "footer", footer, f.Size()-1024); err != nil {
			return nil, nil, err
		}
		if !bytes.HasPrefix(footer, []byte("KDMV")) || le.Uint64(footer[56:]) == vmdkAtEnd {
			return nil, nil, bad(VMDK, "the footer is missing: the file is truncated")
		}
		h = footer
	}
	x, err = parseSparse(f, h)
	return x, descriptor, err
}

func parseSparse(f File, h []byte) (*vmdkSparse, error) {
	version, flags := le.Uint32(h[4:]), le.Uint32(h[8:])
	capacity, grain, perTable := le.Uint64(h[12:]), le.Uint64(h[20:]), le.Uint32(h[44:])
	switch {
	case version < 1 || version > 3:
		return nil, bad(VMDK, "version %d of a sparse extent isn't known", version)
	case h[73] != '\n' || h[74] != ' ' || h[75] != '\r' || h[76] != '\n':
		return nil, bad(VMDK, "its line ends were changed: it was transferred as text and is damaged")
	case capacity == 0 || capacity > maxSize/512:
		return nil, bad(VMDK, "a size of %d sectors is not allowed", capacity)
	case grain < 1 || grain > vmdkMaxGrain/512 || !powerOfTwo(int64(grain)):
		return nil, bad(VMDK, "grains of %d sectors are not allowed", grain)
	case perTable == 0 || perTable > vmdkMaxPerTable:
		return nil, bad(VMDK, "tables of %d entries are not allowed", perTable)
	}
	x := &vmdkSparse{f: f, size: int64(capacity) * 512, grain: int64(grain) * 512, perTable: int64(perTable), last: -1}
	x.zeroed = flags&vmdkZeroGrain != 0
	if x.packed = flags&vmdkCompressed != 0; x.packed {
		if method := le.Uint16(h[77:]); method != 1 {
			return nil, bad(VMDK, "compression of type %d isn't known", method)
		}
		if flags&vmdkMarkers == 0 {
			return nil, bad(VMDK, "it is compressed without markers, which isn't known")
		}
	}
	covered := x.perTable * x.grain
	n := (x.size + covered - 1) / covered * 4
	if n > vmdkMaxGD {
		return nil, bad(VMDK, "its grain directory would take %d bytes", n)
	}
	at := le.Uint64(h[56:])
	if at == 0 || at > uint64(f.Size())/512 || n > f.Size()-int64(at)*512 {
		return nil, bad(VMDK, "its grain directory at sector %d lies beyond the end of the file: it is truncated or damaged", at)
	}
	x.gd = make([]byte, n)
	x.gts = newTables(x.perTable * 4)
	return x, readFull(f, VMDK, "grain directory", x.gd, int64(at)*512)
}

func (x *vmdkSparse) Format() string { return VMDK }
func (x *vmdkSparse) Size() int64    { return x.size }

// entry returns the sector of the grain that off lies in, 0 if it is zeros.
func (x *vmdkSparse) entry(off int64) (int64, error) {
	g := off / x.grain
	at := int64(le.Uint32(x.gd[g/x.perTable*4:]))
	if at == 0 || at == 1 && x.zeroed {
		return 0, nil
	}
	table, err := x.gts.get(at, func() ([]byte, error) {
		b := make([]byte, x.perTable*4)
		return b, readFull(x.f, VMDK, "grain table", b, at*512)
	})
	if err != nil {
		return 0, err
	}
	sector := int64(le.Uint32(table[g%x.perTable*4:]))
	if sector == 1 && x.zeroed {
		return 0, nil
	}
	return sector, nil
}

func (x *vmdkSparse) Extent(off int64) (int64, bool, error) {
	first, err := x.entry(off)
	if err != nil {
		return 0, false, err
	}
	covered := x.perTable * x.grain
	end := min(x.size, (off/covered+1)*covered)
	at := (off/x.grain + 1) * x.grain
	for ; at < end; at += x.grain {
		e, err := x.entry(at)
		if err != nil {
			return 0, false, err
		}
		if (e == 0) != (first == 0) {
			break
		}
	}
	return min(at, end) - off, first == 0, nil
}

func (x *vmdkSparse) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(x, p, off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		in := at % x.grain
		part := p[n:min(len(p), n+int(x.grain-in))]
		e, err := x.entry(at)
		if err != nil {
			return n, err
		}
		switch {
		case e == 0:
			clear(part)
		case x.packed:
			if err := x.inflate(e, at-in); err != nil {
				return n, err
			}
			copy(part, x.plain[in:])
		default:
			for next := e + x.grain/512; n+len(part) < len(p); next += x.grain / 512 {
				if f, err := x.entry(off + int64(n+len(part))); err != nil {
					return n, err
				} else if f != next {
					break
				}
				part = p[n:min(len(p), n+len(part)+int(x.grain))]
			}
			if err := readFull(x.f, VMDK, "data", part, e*512+in); err != nil {
				return n, err
			}
		}
		n += len(part)
	}
	return len(p), nil
}

// inflate reads the compressed grain at a sector into plain. The marker in
// front of it names the place on the disk, which must be the one wanted.
func (x *vmdkSparse) inflate(sector, off int64) error {
	if x.last == sector {
		return nil
	}
	marker := make([]byte, 12)
	if err := readFull(x.f, VMDK, "marker", marker, sector*512); err != nil {
		return err
	}
	if lba := le.Uint64(marker); lba != uint64(off/512) {
		return bad(VMDK, "the grain at sector %d is that of disk sector %d instead of %d: it is damaged", sector, lba, off/512)
	}
	n := int64(le.Uint32(marker[8:]))
	if n == 0 || n > 2*x.grain {
		return bad(VMDK, "a compressed grain of %d bytes is not allowed", n)
	}
	packed := make([]byte, n)
	if err := readFull(x.f, VMDK, "data", packed, sector*512+12); err != nil {
		return err
	}
	if x.plain == nil {
		x.plain = make([]byte, x.grain)
	}
	x.last = -1
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return bad(VMDK, "compressed data at sector %d can't be unpacked: %v", sector, err)
	}
	defer z.Close()
	// The last grain of a disk may be cut off at the disk's end.
	want := min(x.grain, x.size-off)
	got, err := io.ReadFull(z, x.plain)
	if err != nil && (err != io.ErrUnexpectedEOF || int64(got) < want) {
		return bad(VMDK, "compressed data at sector %d can't be unpacked: %v", sector, noEOF(err))
	}
	clear(x.plain[got:])
	x.last = sector
	return nil
}
