package blkdev

import (
	"unsafe"

	"sanstick/target/block/internal/errno"
)

const (
	bounceSize = 256 << 10 // bytes, a multiple of every logical block size
	bounceKept = 8         // buffers kept for later
)

// aligned reports whether the kernel can transfer to and from p directly.
func (d *Device) aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%d.align == 0
}

// alignedBuffer returns n bytes that begin on a multiple of align.
func alignedBuffer(n int, align uintptr) []byte {
	b := make([]byte, n+int(align))
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (align - 1))
	return b[skip : skip+n : skip+n]
}

// bounced does I/O for memory that isn't aligned, through a buffer that is,
// piece by piece.
func (d *Device) bounced(p []byte, off int64, io func(buf, p []byte, off int64) error) (int, error) {
	buf := d.takeBuffer()
	done := 0
	for done < len(p) {
		n := min(len(p)-done, bounceSize)
		if err := io(buf[:n], p[done:done+n], off+int64(done)); err != nil {
			return done, errno.Wrap(err)
		}
		done += n
	}
	d.keepBuffer(buf)
	return done, nil
}

// takeBuffer returns an aligned buffer of bounceSize bytes.
func (d *Device) takeBuffer() []byte {
	select {
	case buf := <-d.bounce:
		return buf
	default:
		return alignedBuffer(bounceSize, d.align)
	}
}

// keepBuffer keeps a buffer of takeBuffer for later.
func (d *Device) keepBuffer(buf []byte) {
	select {
	case d.bounce <- buf:
	default:
	}
}
