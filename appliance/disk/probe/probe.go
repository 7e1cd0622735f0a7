// Package probe answers one question about a disk: is it blank? Only a blank
// disk may be initialised, so every doubt is answered with no.
//
// A disk is blank if no known signature is on it, its first and last MiB hold
// nothing but zeros, and so does every sample taken in between. Samples can't
// prove more than that, but partition tables, filesystems and RAID metadata
// have all their anchors at the ends.
package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MiB at both ends is read in full.
const edge = 1 << 20

// A Finding is what is on a disk.
type Finding struct {
	Blank  bool
	What   string // "ext4 filesystem", "unknown data"; empty if blank
	Offset int64  // byte at which it was found
}

// String says what was found in words that fit after "holds".
func (f Finding) String() string {
	if f.Blank {
		return "nothing"
	}
	return fmt.Sprintf("%s (at byte %d)", f.What, f.Offset)
}

// Unreadable is what a Finding names when the disk couldn't be read.
const Unreadable = "unreadable sectors"

// Probe reads what tells a blank disk from another: a few MiB in all. The
// error is that of a failed read; the finding is then not blank either.
func Probe(r io.ReaderAt, size int64) (Finding, error) { return look(r, size, 0) }

// Beyond is Probe for a disk of which the first MiB doesn't count. Signatures
// that lie further on, or at the end, do.
func Beyond(r io.ReaderAt, size int64) (Finding, error) { return look(r, size, edge) }

func look(r io.ReaderAt, size, from int64) (Finding, error) {
	if size <= 0 {
		return Finding{What: "no known size"}, nil
	}
	d, err := newDevice(r, size, from)
	if err != nil {
		return unreadable(err)
	}
	// A name for what is there is worth more than "unknown data", so the
	// signatures go first.
	for _, p := range probers {
		f, ok := p(d)
		if d.err != nil {
			return unreadable(d.err)
		}
		if ok {
			return f, nil
		}
	}
	for _, area := range []struct {
		at   int64
		data []byte
	}{{0, d.head}, {d.tailAt, d.tail}} {
		if i := nonZero(area.data); i >= 0 {
			return Finding{What: "unknown data", Offset: area.at + int64(i)}, nil
		}
	}
	for at := range samples(size) {
		if at < from {
			continue
		}
		b := d.read(at, sampleSize)
		if d.err != nil {
			return unreadable(d.err)
		}
		if i := nonZero(b); i >= 0 {
			return Finding{What: "unknown data", Offset: at + int64(i)}, nil
		}
	}
	return Finding{Blank: true}, nil
}

func unreadable(err error) (Finding, error) {
	var re *readError
	f := Finding{What: Unreadable}
	if errors.As(err, &re) {
		f.Offset = re.offset
	}
	return f, err
}

// device is a disk with its ends in memory. Its read remembers the first
// error, so that probers needn't care.
type device struct {
	r          io.ReaderAt
	size       int64
	from       int64 // what lies before it reads as zeros
	head, tail []byte
	tailAt     int64
	err        error
}

func newDevice(r io.ReaderAt, size, from int64) (*device, error) {
	d := &device{r: r, size: size, from: from}
	d.tailAt = max(0, size-edge)
	d.head = d.fetch(0, int(min(edge, size)))
	d.tail = d.fetch(d.tailAt, int(size-d.tailAt))
	return d, d.err
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
	case off >= 0 && off+int64(n) <= int64(len(d.head)):
		return d.head[off : off+int64(n)]
	case off >= d.tailAt && off+int64(n) <= d.size:
		return d.tail[off-d.tailAt:][:n]
	}
	return d.fetch(off, n)
}

func (d *device) fetch(off int64, n int) []byte {
	b := make([]byte, n)
	end := min(off+int64(n), d.size)
	start := max(off, d.from, 0)
	if start >= end || d.err != nil {
		return b
	}
	got, err := d.r.ReadAt(b[start-off:end-off], start)
	if int64(got) < end-start {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		d.err = &readError{offset: start + int64(got), err: err}
	}
	return b
}

// has tells whether magic is at off.
func (d *device) has(off int64, magic string) bool {
	return off >= 0 && off+int64(len(magic)) <= d.size && string(d.read(off, len(magic))) == magic
}

// nonZero is the index of the first byte that isn't zero, or -1.
func nonZero(b []byte) int {
	if bytes.Count(b, []byte{0}) == len(b) {
		return -1
	}
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}
