package iscsi

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Data buffers come in powers of two from 4 KiB up, and start on a multiple of
// 4096, as direct I/O wants it.
const (
	bufferAlign = 4096
	minClass    = 12
	maxClass    = 24 // 16 MiB, as much as a command moves
)

// A buffer is memory for the data of one command.
type buffer struct {
	b     []byte // its whole length
	class int
}

// buffers hands out buffers again after use. What they hold is what was left
// in them. Safe for concurrent use.
type buffers struct {
	free [maxClass + 1]sync.Pool
}

func newBuffers() *buffers { return new(buffers) }

// bufferSize returns how much memory a buffer for n bytes takes.
func bufferSize(n int) int { return 1 << classOf(n) }

func classOf(n int) int { return max(bits.Len(uint(max(n, 1)-1)), minClass) }

// get returns a buffer of at least n bytes. Beyond 16 MiB it is not kept.
func (p *buffers) get(n int) *buffer {
	class := classOf(n)
	if class > maxClass {
		return &buffer{b: aligned(n), class: class}
	}
	if b, ok := p.free[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: aligned(1 << class), class: class}
}

// put takes a buffer back. Nobody may use it any more. nil is fine.
func (p *buffers) put(b *buffer) {
	if b != nil && b.class <= maxClass {
		p.free[b.class].Put(b)
	}
}

func aligned(n int) []byte {
	b := make([]byte, n)
	if offset(b) == 0 {
		return b
	}
	b = make([]byte, n+bufferAlign)
	if o := offset(b); o != 0 {
		b = b[bufferAlign-o:]
	}
	return b[:n:n]
}

func offset(b []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % bufferAlign) }
