// Package transfer brings disks' contents into volumes and out of them. It
// copies, compares and repairs; which volume, and who may use it meanwhile, is
// decided in package pool.
//
// Memory is bounded, whatever the size of an image: see Memory.
package transfer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"sanstick/appliance/image"
)

// Memory is what one transfer takes for data on its way.
const Memory = buffers * image.Window

const (
	buffers = 4
	// sector is what offsets and lengths of writes are multiples of, which
	// every disk takes.
	sector = 4096
)

// A Device is an open volume. Offsets, lengths and memory of reads and writes
// are multiples of 4096. It is safe for concurrent use.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() int64
	// Discard says that nobody needs what is there. What is read afterwards
	// may be anything.
	Discard(off, n int64) error
	Sync() error // until everything is on stable storage
}

// An Opener opens a volume's device: for reading, or for writing and then
// alone.
type Opener func(path string, write bool) (Device, error)

// Open is the Opener for real devices. They bypass the page cache, as does the
// target.
func Open(path string, write bool) (Device, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR | unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open volume: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size%sector != 0 {
		err = fmt.Errorf("%s has %d bytes, which are no whole blocks", path, size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open volume: %w", err), f.Close())
	}
	return &device{f, size}, nil
}

// OpenFirst opens the first size bytes of a device for reading. Of what follows nobody
// is given anything.
func OpenFirst(path string, size int64) (Device, error) {
	d, err := Open(path, false)
	if err != nil {
		return nil, err
	}
	return &first{d, min(size, d.Size())}, nil
}

type first struct {
	Device
	size int64
}

func (d *first) Size() int64 { return d.size }

func (d *first) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size || int64(len(p)) > d.size-off {
		return 0, fmt.Errorf("%d bytes at %d are beyond what may be read: %w", len(p), off, io.ErrUnexpectedEOF)
	}
	return d.Device.ReadAt(p, off)
}

type device struct {
	*os.File
	size int64
}

func (d *device) Size() int64 { return d.size }

// Discard is BLKDISCARD.
func (d *device) Discard(off, n int64) error {
	r := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(&r)
	if errno != 0 {
		return fmt.Errorf("cannot discard: %w", errno)
	}
	return nil
}
