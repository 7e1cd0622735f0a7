// Package probe tells what is on a disk, and above all whether it is blank.
// Only a blank disk may be initialised, so every doubt is answered with no.
//
// A disk is blank if no known signature is at any place where it can lie, copies
// included, if the first 32 MiB and the last 4 hold nothing but zeros, and so does every
// sample taken in between. Small disks are read completely. Samples can't prove
// more than that, but what organises a disk has its anchors at the ends or at
// places that are known.
//
// What is on a disk is nobody's friend: lengths and offsets found there are
// checked against the disk's size and a bound before they are used.
package probe

import (
	"errors"
	"io"
)

const (
	edge  = 1 << 20  // at both ends is kept in memory while the probers look
	head  = 32 << 20 // at the start must be zeros,
	tail  = 4 << 20  // and at the end
	whole = 64 << 20 // disks up to this size are read completely
)

// Unreadable is what a Finding names when the disk couldn't be read.
const Unreadable = "unreadable sectors"

// Unknown is what a Finding names when there is data of no known kind.
const Unknown = "unknown data"

// Probe reads what tells a blank disk from another: some 50 MiB of a large one.
// The error is that of a failed read; the finding is then not blank either.
func Probe(r io.ReaderAt, size int64) (Finding, error) { return look(r, size, 0) }

// Beyond is Probe for a disk of which the first MiB doesn't count. Signatures
// that lie further on, or at the end, do.
func Beyond(r io.ReaderAt, size int64) (Finding, error) { return look(r, size, edge) }

func look(r io.ReaderAt, size, from int64) (Finding, error) {
	if size <= 0 {
		return Finding{What: "no known size"}, nil
	}
	d := newDevice(r, size, from)
	// A name for what is there is worth more than "unknown data", so the
	// signatures go first.
	for _, p := range probers {
		found := p(d)
		if d.err != nil {
			return unreadable(d.err)
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	at := firstData(d)
	if d.err != nil {
		return unreadable(d.err)
	}
	if at < 0 {
		return Finding{Blank: true}, nil
	}
	if f := lost(d); len(f) > 0 {
		return f[0], nil
	}
	return Finding{What: Unknown, Offset: at}, nil
}

// firstData looks for bytes that aren't zero where a blank disk has none, and
// returns where the first one is, or -1. Nothing has been found if d.err is set.
func firstData(d *device) int64 {
	buf := make([]byte, chunk)
	for start, n := range areas(d.size) {
		for off := start; off < start+n; off += chunk {
			if off+chunk <= d.from {
				continue
			}
			b := buf[:min(chunk, start+n-off)] // zeros still: the search would have ended
			d.fill(b, off)
			if d.err != nil {
				return -1
			}
			if i := nonZero(b); i >= 0 {
				return off + int64(i)
			}
		}
	}
	return -1
}

func unreadable(err error) (Finding, error) {
	var re *readError
	f := Finding{What: Unreadable}
	if errors.As(err, &re) {
		f.Offset = re.offset
	}
	return f, err
}
