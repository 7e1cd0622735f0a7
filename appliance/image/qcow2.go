package image

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// qcow2 is described in QEMU's docs/interop/qcow2.txt.
type qcow2 struct {
	f       File
	size    int64
	cluster int64
	bits    uint
	v3      bool
	zstd    bool
	l1      []byte
	l2      *tables

	// The compressed cluster that was read last.
	last  uint64
	plain []byte
}

// Limits of QEMU's, and bits of the header and of table entries.
const (
	qcowMaxL1       = 32 << 20
	qcowMinBits     = 9
	qcowMaxBits     = 21
	qcowOffset      = 0x00fffffffffffe00
	qcowCompressed  = 1 << 62
	qcowZero        = 1
	qcowDirty       = 1 << 0 // only counts of references are out of date
	qcowCorrupt     = 1 << 1
	qcowExternal    = 1 << 2
	qcowCompression = 1 << 3
	qcowExtendedL2  = 1 << 4
)

func openQCOW2(f File) (Image, error) {
	h := make([]byte, 112)
	if err := readFull(f, QCOW2, "header", h[:72], 0); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(h, []byte("QFI\xfb")) {
		return nil, bad(QCOW2, "it doesn't begin as one")
	}
	version := be.Uint32(h[4:])
	q := &qcow2{f: f, v3: version >= 3, bits: uint(be.Uint32(h[20:]))}
	switch {
	case version != 2 && version != 3:
		return nil, bad(QCOW2, "version %d isn't known, only 2 and 3 are", version)
	case be.Uint64(h[8:]) != 0 || be.Uint32(h[16:]) != 0:
		return nil, bad(QCOW2, "it holds only what differs from a backing file%s; make a complete image of both with: qemu-img convert -O qcow2 OLD NEW", backingName(f, h))
	case be.Uint32(h[32:]) != 0:
		return nil, bad(QCOW2, "it is encrypted; decrypt it with qemu-img convert")
	case q.bits < qcowMinBits || q.bits > qcowMaxBits:
		return nil, bad(QCOW2, "clusters of 2^%d bytes are not allowed", q.bits)
	}
	if q.v3 {
		if err := q.extensions(h); err != nil {
			return nil, err
		}
	}
	q.cluster = 1 << q.bits
	size := be.Uint64(h[24:])
	if size == 0 || size > maxSize || size%512 != 0 {
		return nil, bad(QCOW2, "a size of %d bytes is not allowed", size)
	}
	q.size = int64(size)
	perL1 := q.cluster / 8 * q.cluster
	need := (q.size + perL1 - 1) / perL1 * 8
	switch have := int64(be.Uint32(h[36:])) * 8; {
	case have < need:
		return nil, bad(QCOW2, "its first table is too short for %d bytes", q.size)
	case need > qcowMaxL1:
		return nil, bad(QCOW2, "its first table would take %d bytes", need)
	}
	offset := be.Uint64(h[40:])
	if offset%uint64(q.cluster) != 0 || offset > maxSize {
		return nil, bad(QCOW2, "its first table begins at %d, which is not the start of a cluster", offset)
	}
	if int64(offset) > f.Size() || need > f.Size()-int64(offset) {
		return nil, bad(QCOW2, "its first table lies beyond the end of the file: it is truncated or damaged")
	}
	q.l1 = make([]byte, need)
	q.l2 = newTables(q.cluster)
	return q, readFull(f, QCOW2, "first table", q.l1, int64(offset))
}

// extensions reads what version 3 adds to the header.
func (q *qcow2) extensions(h []byte) error {
	if err := readFull(q.f, QCOW2, "header", h[72:104], 72); err != nil {
		return err
	}
	length, features := be.Uint32(h[100:]), be.Uint64(h[72:])
	if length < 104 {
		return bad(QCOW2, "a header of %d bytes is too short", length)
	}
	switch unknown := features &^ (qcowDirty | qcowCorrupt | qcowExternal | qcowCompression | qcowExtendedL2); {
	case features&qcowCorrupt != 0:
		return bad(QCOW2, "it is marked as corrupt; repair it with qemu-img check -r all")
	case features&qcowExternal != 0:
		return bad(QCOW2, "its data is in another file; make one file of it with qemu-img convert")
	case features&qcowExtendedL2 != 0:
		return bad(QCOW2, "it has subclusters (extended_l2), which aren't read here; convert it with: qemu-img convert -O qcow2 OLD NEW")
	case unknown != 0:
		return bad(QCOW2, "it needs features %#x, which aren't known", unknown)
	}
	if features&qcowCompression == 0 {
		return nil
	}
	if length < 112 {
		return bad(QCOW2, "a header of %d bytes doesn't tell the compression", length)
	}
	if err := readFull(q.f, QCOW2, "header", h[104:112], 104); err != nil {
		return err
	}
	switch h[104] {
	case 0:
	case 1:
		q.zstd = true
	default:
		return bad(QCOW2, "compression of type %d isn't known", h[104])
	}
	return nil
}

// backingName is the name of the backing file for the message, if it can be
// read.
func backingName(f File, h []byte) string {
	off, n := be.Uint64(h[8:]), be.Uint32(h[16:])
	if n == 0 || n > 1023 || off > uint64(f.Size()) || uint64(n) > uint64(f.Size())-off {
		return ""
	}
	name := make([]byte, n)
	if readFull(f, QCOW2, "name", name, int64(off)) != nil {
		return ""
	}
	return fmt.Sprintf(" (%q)", name)
}

func (q *qcow2) Format() string { return QCOW2 }
func (q *qcow2) Size() int64    { return q.size }

// entry returns the table entry of the cluster that off lies in.
func (q *qcow2) entry(off int64) (uint64, error) {
	cluster := off >> q.bits
	perTable := q.cluster / 8
	at := be.Uint64(q.l1[cluster/perTable*8:]) & qcowOffset
	if at == 0 {
		return 0, nil
	}
	if at%uint64(q.cluster) != 0 {
		return 0, bad(QCOW2, "a table at %d is not at the start of a cluster", at)
	}
	table, err := q.l2.get(int64(at), func() ([]byte, error) {
		b := make([]byte, q.cluster)
		return b, readFull(q.f, QCOW2, "table", b, int64(at))
	})
	if err != nil {
		return 0, err
	}
	return be.Uint64(table[cluster%perTable*8:]), nil
}

// zero tells whether an entry stands for zeros.
func (q *qcow2) zero(entry uint64) bool {
	if entry&qcowCompressed != 0 {
		return false
	}
	return q.v3 && entry&qcowZero != 0 || entry&qcowOffset == 0
}

func (q *qcow2) Extent(off int64) (int64, bool, error) {
	perL1 := q.cluster / 8 * q.cluster
	first, err := q.entry(off)
	if err != nil {
		return 0, false, err
	}
	zero := q.zero(first)
	// Whatever a table of the second level says, one call ends with it.
	end := min(q.size, (off/perL1+1)*perL1)
	if be.Uint64(q.l1[off/perL1*8:])&qcowOffset == 0 {
		return end - off, true, nil
	}
	at := (off>>q.bits + 1) << q.bits
	for ; at < end; at += q.cluster {
		e, err := q.entry(at)
		if err != nil {
			return 0, false, err
		}
		if q.zero(e) != zero {
			break
		}
	}
	return min(at, end) - off, zero, nil
}

func (q *qcow2) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(q, p, off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		in := at & (q.cluster - 1)
		part := p[n:min(len(p), n+int(q.cluster-in))]
		e, err := q.entry(at)
		if err != nil {
			return n, err
		}
		switch {
		case q.zero(e):
			clear(part)
		case e&qcowCompressed != 0:
			if err := q.inflate(e); err != nil {
				return n, err
			}
			copy(part, q.plain[in:])
		default:
			host := int64(e & qcowOffset)
			if host%q.cluster != 0 {
				return n, bad(QCOW2, "data at %d is not at the start of a cluster", host)
			}
			// Neighbours that are neighbours in the file, too, are read in one go.
			for next := host + q.cluster; n+len(part) < len(p); next += q.cluster {
				e, err := q.entry(off + int64(n+len(part)))
				if err != nil {
					return n, err
				}
				if q.zero(e) || e&qcowCompressed != 0 || int64(e&qcowOffset) != next {
					break
				}
				part = p[n:min(len(p), n+len(part)+int(q.cluster))]
			}
			if err := readFull(q.f, QCOW2, "data", part, host+in); err != nil {
				return n, err
			}
		}
		n += len(part)
	}
	return len(p), nil
}

// inflate reads a compressed cluster into plain.
func (q *qcow2) inflate(e uint64) error {
	if q.plain != nil && q.last == e {
		return nil
	}
	shift := 62 - (q.bits - 8)
	at := int64(e & (1<<shift - 1))
	sectors := int64(e>>shift&(1<<(q.bits-8)-1)) + 1
	length := sectors*512 - at%512
	if at >= q.f.Size() {
		return bad(QCOW2, "data at byte %d lies beyond the end of the file (%d bytes): it is truncated or damaged", at, q.f.Size())
	}
	length = min(length, q.f.Size()-at) // the last sector needn't be complete
	packed := make([]byte, length)      // 4 MiB at most
	if err := readFull(q.f, QCOW2, "data", packed, at); err != nil {
		return err
	}
	if q.plain == nil {
		q.plain = make([]byte, q.cluster)
	}
	q.last = 0
	if err := unpack(q.plain, packed, q.zstd); err != nil {
		return bad(QCOW2, "compressed data at byte %d can't be unpacked: %v", at, err)
	}
	q.last = e
	return nil
}

// unpack fills plain with what packed begins with.
func unpack(plain, packed []byte, isZstd bool) error {
	if !isZstd {
		r := flate.NewReader(bytes.NewReader(packed))
		defer r.Close()
		_, err := io.ReadFull(r, plain)
		return noEOF(err)
	}
	r, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer r.Close()
	// What follows the frame in its last sector is of no concern.
	_, err = io.ReadFull(r, plain)
	return noEOF(err)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
