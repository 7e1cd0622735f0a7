package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// device is a disk or a partition with its ends in memory. Its read remembers
// the first error, so that probers needn't care.
type device struct {
	r           io.ReaderAt
	size        int64
	from        int64  // what lies before it reads as zeros
	first, last []byte // the MiB at each end
	lastAt      int64
	err         error
}

func newDevice(r io.ReaderAt, size, from int64) *device {
	d := &device{r: r, size: size, from: from}
	d.lastAt = max(0, size-edge)
	d.first = d.fetch(0, int(min(edge, size)))
	d.last = d.fetch(d.lastAt, int(size-d.lastAt))
	return d
}

type readError struct {
	offset int64
	err    error
}

func (e *readError) Error() string { return fmt.Sprintf("cannot read at byte %d: %v", e.offset, e.err) }
func (e *readError) Unwrap() error { return e.err }

// read returns n bytes at off; what lies outside of the disk is zeros.
func (d *device) read(off int64, n int) []byte {
	switch {
	case off >= 0 && off <= int64(len(d.first))-int64(n):
		return d.first[off : off+int64(n)]
	case off >= d.lastAt && off <= d.size-int64(n):
		return d.last[off-d.lastAt:][:n]
	}
	return d.fetch(off, n)
}

func (d *device) fetch(off int64, n int) []byte {
	b := make([]byte, n)
	d.fill(b, off)
	return b
}

// fill reads into b, which holds zeros.
func (d *device) fill(b []byte, off int64) {
	n := len(b)
	if off >= d.size || off < -int64(n) || d.err != nil {
		return
	}
	start := max(off, d.from, 0)
	end := off + min(int64(n), d.size-off)
	if start >= end {
		return
	}
	got, err := d.r.ReadAt(b[start-off:end-off], start)
	if int64(got) < end-start {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		d.err = &readError{offset: start + int64(got), err: err}
		clear(b)
	}
}

// ReadAt makes the device an io.ReaderAt, with io.EOF at its end.
func (d *device) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), d.size-off))
	copy(p, d.read(off, n))
	if d.err != nil {
		return 0, d.err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// has tells whether magic is at off.
func (d *device) has(off int64, magic string) bool {
	return off >= 0 && off <= d.size-int64(len(magic)) && string(d.read(off, len(magic))) == magic
}

// le16 to be64 read a number; the caller has made sure that it is there.
func le16(b []byte, at int) int64  { return int64(binary.LittleEndian.Uint16(b[at:])) }
func le32(b []byte, at int) int64  { return int64(binary.LittleEndian.Uint32(b[at:])) }
func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
func be16(b []byte, at int) int64  { return int64(binary.BigEndian.Uint16(b[at:])) }
func be32(b []byte, at int) int64  { return int64(binary.BigEndian.Uint32(b[at:])) }
func be64(b []byte, at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

// product multiplies what was read from a disk; 0 if it makes no sense.
func product(count uint64, unit int64) int64 {
	if unit <= 0 || count > uint64(1<<62/unit) {
		return 0
	}
	return int64(count) * unit
}

// nonZero is the index of the first byte that isn't zero, or -1.
func nonZero(b []byte) int {
	const some = 4096
	for at := 0; at < len(b); at += some {
		part := b[at:min(at+some, len(b))]
		if bytes.Count(part, []byte{0}) == len(part) {
			continue
		}
		for i, c := range part {
			if c != 0 {
				return at + i
			}
		}
	}
	return -1
}
