package stickcopy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/probe"
	"sanstick/appliance/sys"
)

// An Area is where a copy lies on a disk.
type Area struct {
	Path  string // of the disk, as in "/dev/sda"
	Disk  string // its serial number or WWN, for people
	Seq   uint64 // see disk.Disk; 0: not known
	PV    string // LVM's UUID in the label of the disk
	Start int64  // bytes
	Size  int64  // bytes
}

// slot returns where slot i begins, and its size.
func (a Area) slot(i int) (off, size int64) {
	size = a.Size / 2 &^ (headerSize - 1)
	return a.Start + int64(i)*size, size
}

// A Device is an open disk. Offsets, lengths and memory are multiples of 4096.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // until everything is on stable storage
}

// A sequenced is a Device that knows which disk it is; see disk.Disk.
type sequenced interface{ DiskSeq() (uint64, error) }

// An Opener opens a disk, which others use at the same time.
type Opener func(path string, write bool) (Device, error)

// Open is the Opener for real disks. It bypasses the page cache.
func Open(path string, write bool) (Device, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return realDisk{f}, nil
}

type realDisk struct{ *os.File }

// DiskSeq implements sequenced.
func (d realDisk) DiskSeq() (seq uint64, err error) {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKGETDISKSEQ, uintptr(unsafe.Pointer(&seq)))
	if e != 0 {
		return 0, fmt.Errorf("cannot tell which disk it is: %w", e)
	}
	return seq, nil
}

// ErrStranger says that another disk has got the name of an area's.
var ErrStranger = errors.New("another disk is there now")

// openArea opens an area's disk and makes sure that it is that one: the names of
// disks that went are given to others, on which an area is in the middle of
// something. Nobody has asked to be alone with the disk, so the open file is what must
// be right.
func openArea(open Opener, a Area, write bool) (Device, error) {
	dev, err := open(a.Path, write)
	if err != nil {
		return nil, err
	}
	if err := a.check(dev); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return dev, nil
}

func (a Area) check(dev Device) error {
	if d, ok := dev.(sequenced); ok && a.Seq != 0 {
		seq, err := d.DiskSeq()
		if err != nil {
			return err
		}
		if seq != a.Seq {
			return ErrStranger
		}
	}
	b := sys.AlignedBuffer(headerSize) // LVM's label is in the first 2 KiB
	if _, err := dev.ReadAt(b, 0); err != nil {
		return err
	}
	if label, ok, err := probe.PhysicalVolume(bytes.NewReader(b), int64(len(b))); err != nil || !ok || label.UUID != a.PV {
		return errors.Join(ErrStranger, err)
	}
	return nil
}

// Read reads the newest copy in an area; ErrNone if there is none.
func Read(open Opener, a Area) (Copy, error) {
	dev, err := openArea(open, a, false)
	if err != nil {
		return Copy{}, fmt.Errorf("cannot read the copy of the stick on disk %s: %w", a.Disk, err)
	}
	defer dev.Close()
	c, _, err := newest(dev, a)
	if err != nil && !errors.Is(err, ErrNone) {
		err = fmt.Errorf("cannot read the copy of the stick on disk %s: %w", a.Disk, err)
	}
	return c, err
}

// newest reads both slots. at is the slot that the newest copy is in, 1 if there
// is none.
func newest(dev io.ReaderAt, a Area) (c Copy, at int, err error) {
	at, err = 1, ErrNone
	for i := range 2 {
		x, e := readSlot(dev, a, i)
		switch {
		case e == nil && (err != nil || x.Generation > c.Generation):
			c, at, err = x, i, nil
		case e != nil && !errors.Is(e, ErrNone) && err != nil:
			err = e // unless the other one is whole
		}
	}
	return c, at, err
}

func readSlot(dev io.ReaderAt, a Area, i int) (Copy, error) {
	off, size := a.slot(i)
	if size <= headerSize {
		return Copy{}, ErrNone
	}
	h := sys.AlignedBuffer(headerSize)
	if _, err := dev.ReadAt(h, off); err != nil {
		return Copy{}, err
	}
	x, err := decodeHeader(h, size)
	if err != nil {
		return Copy{}, err
	}
	body := sys.AlignedBuffer(int(x.length+headerSize-1) &^ (headerSize - 1))
	if len(body) > 0 {
		if _, err := dev.ReadAt(body, off+headerSize); err != nil {
			return Copy{}, err
		}
	}
	return decodeBody(x, body[:x.length])
}

// Write puts a copy into the slot of an area that doesn't have the newest one. It
// is on stable storage when Write returns, was read back, and is the newest.
func Write(open Opener, a Area, c Copy) error {
	err := write(open, a, c)
	if err != nil {
		return fmt.Errorf("cannot keep a copy of the stick on disk %s: %w", a.Disk, err)
	}
	return nil
}

func write(open Opener, a Area, c Copy) (err error) {
	_, size := a.slot(0)
	header, body, err := c.encode(size)
	if err != nil {
		return err
	}
	dev, err := openArea(open, a, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	had, at, err := newest(dev, a)
	if err != nil && !errors.Is(err, ErrNone) {
		return err // of a disk that can't be read, who knows which slot is the old one
	}
	off, _ := a.slot(1 - at)
	put := func(b []byte, off int64) error {
		p := sys.AlignedBuffer(len(b))
		copy(p, b)
		if _, err := dev.WriteAt(p, off); err != nil {
			return err
		}
		return dev.Sync()
	}
	// The old header goes first, so that it never stands before what isn't its own.
	if err := put(make([]byte, headerSize), off); err != nil {
		return err
	}
	if err := put(body, off+headerSize); err != nil {
		return err
	}
	if err := put(header, off); err != nil {
		return err
	}
	got, err := readSlot(dev, a, 1-at)
	if err != nil || got.Generation != c.Generation || !got.Same(c) {
		return errors.Join(errors.New("what was written can't be read back"), err)
	}
	if had.Generation < c.Generation {
		return nil
	}
	// What another appliance has left there would go on being the newest.
	off, _ = a.slot(at)
	return put(make([]byte, headerSize), off)
}
