package sys

import "unsafe"

// AlignedBuffer is zeroed memory that O_DIRECT takes.
func AlignedBuffer(n int) []byte {
	const align = 4096
	b := make([]byte, n+align)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % align)
	return b[off : off+n : off+n]
}
