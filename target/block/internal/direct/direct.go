// Package direct does I/O on files that are open with O_DIRECT: the kernel
// moves the data between the disk and memory itself, which must be aligned.
package direct

import (
	"os"
	"unsafe"
)

// BufferSize is the size of the buffers of Buffers.Take, in bytes: a multiple
// of every logical block size.
const BufferSize = 256 << 10

const kept = 8 // buffers kept for later

// Buffers do I/O for memory that isn't aligned, through buffers that are. Safe
// for concurrent use.
type Buffers struct {
	align uintptr
	free  chan []byte
}

// NewBuffers returns buffers that start on a multiple of align bytes, a power
// of two.
func NewBuffers(align int) *Buffers {
	return &Buffers{align: uintptr(align), free: make(chan []byte, kept)}
}

// aligned reports whether the kernel can transfer to and from p directly.
func (b *Buffers) aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%b.align == 0
}

// Take returns an aligned buffer of BufferSize bytes.
func (b *Buffers) Take() []byte {
	select {
	case buf := <-b.free:
		return buf
	default:
	}
	buf := make([]byte, BufferSize+int(b.align))
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(buf))) & (b.align - 1))
	return buf[skip : skip+BufferSize : skip+BufferSize]
}

// Keep takes back a buffer of Take that nobody uses any more.
func (b *Buffers) Keep(buf []byte) {
	select {
	case b.free <- buf:
	default:
	}
}

// ReadAt is f.ReadAt for any p.
func (b *Buffers) ReadAt(f *os.File, p []byte, off int64) (int, error) {
	if b.aligned(p) {
		return f.ReadAt(p, off)
	}
	return b.pieces(p, off, func(buf, p []byte, off int64) error {
		if _, err := f.ReadAt(buf, off); err != nil {
			return err
		}
		copy(p, buf)
		return nil
	})
}

// WriteAt is f.WriteAt for any p.
func (b *Buffers) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	if b.aligned(p) {
		return f.WriteAt(p, off)
	}
	return b.pieces(p, off, func(buf, p []byte, off int64) error {
		copy(buf, p)
		_, err := f.WriteAt(buf, off)
		return err
	})
}

// pieces does I/O piece by piece.
func (b *Buffers) pieces(p []byte, off int64, io func(buf, p []byte, off int64) error) (int, error) {
	buf := b.Take()
	defer b.Keep(buf)
	done := 0
	for done < len(p) {
		n := min(len(p)-done, BufferSize)
		if err := io(buf[:n], p[done:done+n], off+int64(done)); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
