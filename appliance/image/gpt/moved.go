package gpt

import (
	"fmt"
	"io"

	"sanstick/appliance/image"
)

// Moved gives the disk that Fix makes of one that is brought onto a larger one
// of size bytes: what differs is kept in memory, it is little. moved is false
// if Fix changes nothing.
func Moved(d io.ReaderAt, from, size int64) (moved bool, disk io.ReaderAt, err error) {
	o := &overlay{d: d, from: from, size: size}
	_, err = Fix(o)
	return len(o.written) > 0, o, err
}

// Excuse takes back differences that are there only because Fix has moved the
// backup of a GPT: found is of a disk of from bytes, d, and of a larger one of
// size bytes. It tells whether it has.
func Excuse(found *image.Compared, d io.ReaderAt, from, size int64) (bool, error) {
	if found.Differing == 0 {
		return false, nil
	}
	moved, disk, err := Moved(d, from, size)
	if err != nil || !moved {
		return false, err
	}
	return found.Excuse(disk, size)
}

type overlay struct {
	d          io.ReaderAt
	from, size int64
	written    []piece // newer ones behind
}

type piece struct {
	off int64
	b   []byte
}

func (o *overlay) Size() int64 { return o.size }
func (o *overlay) Sync() error { return nil }

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > o.size-off {
		return 0, fmt.Errorf("read of %d bytes at %d: %w", len(p), off, io.ErrUnexpectedEOF)
	}
	clear(p)
	if n := min(int64(len(p)), o.from-off); n > 0 {
		if _, err := o.d.ReadAt(p[:n], off); err != nil {
			return 0, err
		}
	}
	for _, w := range o.written {
		begin, end := max(off, w.off), min(off+int64(len(p)), w.off+int64(len(w.b)))
		if begin < end {
			copy(p[begin-off:end-off], w.b[begin-w.off:])
		}
	}
	return len(p), nil
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	o.written = append(o.written, piece{off, append([]byte(nil), p...)})
	return len(p), nil
}
