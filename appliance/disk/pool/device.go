package pool

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Device is an open disk.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // until everything is on stable storage
}

// An Opener opens a disk: for reading, or for writing and then alone.
type Opener func(path string, write bool) (Device, error)

// openDevice is the Opener for real disks. One that is in use by the kernel
// (mounted, in an array, below an active volume) can't be opened for writing.
// Writers bypass the page cache, because lvm does: what the cache knows may be
// old. They use blocks of 4 KiB in aligned memory.
func openDevice(path string, write bool) (Device, error) {
	if !write {
		return os.Open(path)
	}
	return os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
}

// openVolume opens a volume beside those who use the rest of it.
func openVolume(path string) (Device, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
}
