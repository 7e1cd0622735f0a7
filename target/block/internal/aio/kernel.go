package aio

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What follows is of linux/aio_abi.h and fs/aio.c; the only unsafe code of this
// package.

const (
	opRead    = 0 // IOCB_CMD_PREAD
	opWrite   = 1 // IOCB_CMD_PWRITE
	flagResFD = 1 // IOCB_FLAG_RESFD
)

// controlBlock is struct iocb, which asks for one transfer. The kernel reads it
// while it is submitted, and not after.
type controlBlock struct {
	data   uint64 // comes back in the event
	_      uint32 // aio_key: the kernel writes it
	_      int32  // aio_rw_flags
	op     uint16
	_      int16 // aio_reqprio
	fd     uint32
	buf    uint64
	length uint64
	off    int64
	_      uint64 // aio_reserved2
	flags  uint32
	resFD  uint32 // an eventfd that is signalled after the event is in the ring
}

// transfer makes c one of len(p) bytes, which must be positive. p must be
// pinned until its event has come.
func (c *controlBlock) transfer(op uint16, p []byte, off int64) {
	c.op, c.off, c.length = op, off, uint64(len(p))
	c.buf = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
}

// event is struct io_event: a transfer has ended.
type event struct {
	data   uint64
	_      uint64
	result int64 // bytes, or an errno, negative
	_      int64
}

// context is an AIO context. The kernel names it by the address of its ring of
// events, which is mapped here, and which we may empty without a system call.
type context struct {
	ring   *ring
	events []event
}

// ring is struct aio_ring without its events. The kernel moves the tail, we
// move the head; both are indexes of events.
type ring struct {
	_          uint32
	nr         uint32 // events
	head, tail atomic.Uint32
	magic      uint32
	_          uint32
	incompat   uint32
	header     uint32 // bytes before the events
}

const (
	ringMagic    = 0xa10a10a1 // AIO_RING_MAGIC
	ringIncompat = 0          // AIO_RING_INCOMPAT_FEATURES
)

// setup makes a context for n transfers at a time.
func setup(n int) (kernel, error) {
	c := new(context)
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, uintptr(n), uintptr(unsafe.Pointer(&c.ring)), 0); e != 0 {
		return nil, fmt.Errorf("cannot set up asynchronous I/O: %w", e)
	}
	if c.ring.magic != ringMagic || c.ring.incompat != ringIncompat || uintptr(c.ring.header) != unsafe.Sizeof(ring{}) {
		c.destroy()
		return nil, errors.New("cannot set up asynchronous I/O: the ring of events is of another kind")
	}
	c.events = unsafe.Slice((*event)(unsafe.Add(unsafe.Pointer(c.ring), unsafe.Sizeof(ring{}))), int(c.ring.nr))
	return c, nil
}

// destroy implements kernel.
func (c *context) destroy() {
	unix.Syscall(unix.SYS_IO_DESTROY, uintptr(unsafe.Pointer(c.ring)), 0, 0)
}

// submit implements kernel.
func (c *context) submit(batch []*controlBlock) (n int, err error) {
	r, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, uintptr(unsafe.Pointer(c.ring)), uintptr(len(batch)), uintptr(unsafe.Pointer(unsafe.SliceData(batch))))
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// empty implements kernel.
func (c *context) empty() bool { return c.ring.head.Load() == c.ring.tail.Load() }

// next implements kernel.
func (c *context) next() (e event, ok bool) {
	head := c.ring.head.Load()
	if head == c.ring.tail.Load() {
		return event{}, false
	}
	e = c.events[head]
	if head++; head == c.ring.nr {
		head = 0
	}
	c.ring.head.Store(head)
	return e, true
}
