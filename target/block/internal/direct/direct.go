// Package direct does I/O on files that are open with O_DIRECT: the kernel
// moves the data between the disk and memory itself, which must be aligned.
package direct

import (
	"os"
	"unsafe"

	"sanstick/target/block"
	"sanstick/target/block/internal/aio"
	"sanstick/target/block/internal/errno"
	"sanstick/target/block/internal/flush"
)

// BufferSize is the size of the buffers of File.Take, in bytes: a multiple
// of every logical block size.
const BufferSize = 256 << 10

const kept = 8 // buffers kept for later

// File does direct I/O on an open file. Memory that isn't aligned goes through
// buffers that are. All methods but Close may be called from many goroutines at
// once.
type File struct {
	io    *aio.File
	align uintptr
	free  chan []byte
}

// New returns a File for f, which must stay open, with memory that starts on a
// multiple of align bytes, a power of two.
func New(f *os.File, align int) *File {
	return &File{io: aio.New(f), align: uintptr(align), free: make(chan []byte, kept)}
}

// Close releases what New took; it doesn't close the file below. No other call
// may be running or follow.
func (f *File) Close() error { return f.io.Close() }

// aligned reports whether the kernel can transfer to and from p directly.
func (f *File) aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%f.align == 0
}

// Take returns an aligned buffer of BufferSize bytes.
func (f *File) Take() []byte {
	select {
	case buf := <-f.free:
		return buf
	default:
	}
	buf := make([]byte, BufferSize+int(f.align))
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(buf))) & (f.align - 1))
	return buf[skip : skip+BufferSize : skip+BufferSize]
}

// Keep takes back a buffer of Take that nobody uses any more.
func (f *File) Keep(buf []byte) {
	select {
	case f.free <- buf:
	default:
	}
}

// ReadAt is ReadAt of the file below, for any p.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.aligned(p) {
		return f.io.ReadAt(p, off)
	}
	return f.pieces(p, off, func(buf, p []byte, off int64) error {
		if _, err := f.io.ReadAt(buf, off); err != nil {
			return err
		}
		copy(p, buf)
		return nil
	})
}

// WriteAt is WriteAt of the file below, for any p.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.aligned(p) {
		return f.io.WriteAt(p, off)
	}
	return f.pieces(p, off, func(buf, p []byte, off int64) error {
		copy(buf, p)
		_, err := f.io.WriteAt(buf, off)
		return err
	})
}

// Start implements block.Starter for a device that i describes, and whose writes
// sync makes durable, in a group.
func (f *File) Start(i block.Info, x *block.Transfer, group *flush.Group, sync func() error) bool {
	done := func(err error) { x.Done(errno.Wrap(err)) }
	if x.Op == block.OpFlush {
		group.Start(sync, done)
		return true
	}
	if i.Check(x.Off, int64(len(x.P))) != nil || !f.aligned(x.P) || x.Op != block.OpReadAt && i.ReadOnly {
		return false
	}
	switch x.Op {
	case block.OpReadAt:
		return f.io.StartRead(x.P, x.Off, done)
	case block.OpWriteAt:
		return f.io.StartWrite(x.P, x.Off, done)
	}
	group.Coming()
	ok := f.io.StartWrite(x.P, x.Off, func(err error) { group.Written(err, sync, done) })
	if !ok {
		group.Gone()
	}
	return ok
}

// Submit implements block.Starter.
func (f *File) Submit() { f.io.Submit() }

// pieces does I/O piece by piece.
func (f *File) pieces(p []byte, off int64, io func(buf, p []byte, off int64) error) (int, error) {
	buf := f.Take()
	defer f.Keep(buf)
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
