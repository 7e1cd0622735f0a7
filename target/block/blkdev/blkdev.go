// Package blkdev is a block.Device on a block special file: a disk, a
// partition, a logical volume. Linux only.
//
// I/O is O_DIRECT: what is read comes from the device and what is written has
// reached it, without a page cache in between that could hide a failed write.
// The device's own write cache is flushed by fdatasync. Whether it has one
// isn't always known (dm-thin commits its metadata with a flush, too), so
// Info().WriteCache is always true.
package blkdev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
	"sanstick/target/block/internal/direct"
	"sanstick/target/block/internal/errno"
	"sanstick/target/block/internal/flush"
)

// Options say how to present a block device. Zero values mean what the device
// says of itself.
type Options struct {
	LogicalBlock  int // bytes; a multiple of the device's
	PhysicalBlock int // bytes
	ReadOnly      bool
	// ReadsZero is the caller's knowledge that discarded ranges read as zero:
	// true for a thin LVM volume in a pool with zeroing on. The kernel doesn't
	// tell, so it is never assumed.
	ReadsZero bool
	// Limit says how many bytes of the device may be used, from its beginning; below
	// 0, all. It is asked as often as the size is, and must not block. nil is no
	// limit.
	Limit func() int64
}

// sizeAge is how long the size of the device is taken as known.
const sizeAge = time.Second

// Device is an open block device. See block.Device for concurrency and
// durability.
type Device struct {
	f     *os.File
	fd    int
	info  block.Info // all but Size
	size  atomic.Int64
	asked atomic.Int64 // when size was found, in nanoseconds since opened
	start time.Time
	// options are those that it was opened with, complete.
	options Options
	flush   flush.Group
	// discard is BLKDISCARD; tests replace it.
	discard func(off, length int64) error
	io      *direct.File
}

var (
	_ block.Device      = (*Device)(nil)
	_ block.ForceWriter = (*Device)(nil)
	_ block.Starter     = (*Device)(nil)
)

// Open opens a block device for exclusive use: it fails if a file system, an
// LVM volume or another process that asks for exclusive use has it.
func Open(path string, o Options) (*Device, error) {
	mode := os.O_RDWR
	if o.ReadOnly {
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(path, mode|unix.O_DIRECT|unix.O_EXCL, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open block device %q: %w", path, errors.Unwrap(err))
	}
	d, err := newDevice(f, o)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open block device %q: %w", path, err)
	}
	return d, nil
}

func newDevice(f *os.File, o Options) (*Device, error) {
	g, err := readGeometry(f)
	if err != nil {
		return nil, err
	}
	if g.readOnly && !o.ReadOnly {
		return nil, errors.New("the kernel says it is read-only: ask for it read-only")
	}
	if o.LogicalBlock == 0 {
		o.LogicalBlock = max(g.logical, 512)
	}
	if o.LogicalBlock%g.logical != 0 {
		return nil, fmt.Errorf("its blocks of %d bytes can't be presented as blocks of %d", g.logical, o.LogicalBlock)
	}
	if o.PhysicalBlock == 0 {
		o.PhysicalBlock = max(g.physical, o.LogicalBlock)
	}
	if err := block.CheckGeometry(o.LogicalBlock, o.PhysicalBlock); err != nil {
		return nil, err
	}
	size := o.usable(g.size)
	if size == 0 {
		return nil, errors.New("it is smaller than a block")
	}
	d := &Device{
		f:       f,
		fd:      int(f.Fd()),
		start:   time.Now(),
		options: o,
		io:      direct.New(f, o.LogicalBlock),
		info: block.Info{
			LogicalBlock:  o.LogicalBlock,
			PhysicalBlock: o.PhysicalBlock,
			OptimalIO:     g.optimal,
			ReadOnly:      o.ReadOnly,
			WriteCache:    true,
			Rotational:    g.rotational,
		},
	}
	// WriteAt has to have it in one piece.
	if n := min(g.atomic, direct.BufferSize); n >= o.LogicalBlock {
		d.info.AtomicWrite, d.info.AtomicAlign = n, n
	}
	d.discard = func(off, length int64) error { return d.ioctlRange(unix.BLKDISCARD, off, length) }
	d.size.Store(size)
	if g.discard > 0 && !o.ReadOnly {
		d.info.CanUnmap = true
		d.info.UnmapGranularity = max(g.discard, int64(o.LogicalBlock))
	}
	d.info.ReadsZero = o.ReadsZero
	return d, nil
}

// usable is how much of a device of so many bytes is presented: whole blocks.
func (o Options) usable(size int64) int64 {
	if o.Limit != nil {
		if n := o.Limit(); n >= 0 {
			size = min(size, n)
		}
	}
	return size - size%int64(o.LogicalBlock)
}

// Info implements block.Device.
func (d *Device) Info() block.Info {
	now := int64(time.Since(d.start))
	if asked := d.asked.Load(); now-asked > int64(sizeAge) && d.asked.CompareAndSwap(asked, now) {
		if size, err := deviceSize(d.f); err == nil {
			d.size.Store(d.options.usable(size))
		}
	}
	i := d.info
	i.Size = d.size.Load()
	return i
}

// ReadAt implements block.Device.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if err := d.Info().Check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.io.ReadAt(p, off)
	return n, errno.Wrap(err)
}

// WriteAt implements block.Device.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.io.WriteAt(p, off)
	return n, errno.Wrap(err)
}

// Flush implements block.Device with fdatasync, which flushes the write caches
// of all the disks below. Flushes asked for while one runs share the next.
func (d *Device) Flush() error {
	return errno.Wrap(d.flush.Do(d.sync))
}

func (d *Device) sync() error { return unix.Fdatasync(d.fd) }

// WriteForced implements block.ForceWriter.
func (d *Device) WriteForced(p []byte, off int64) (n int, err error) {
	err = d.flush.Write(func() error {
		n, err = d.WriteAt(p, off)
		return err
	}, d.sync)
	return n, errno.Wrap(err)
}

// CanStart implements block.Starter.
func (d *Device) CanStart() bool { return true }

// Start implements block.Starter.
func (d *Device) Start(x *block.Transfer) bool { return d.io.Start(d.Info(), x, &d.flush, d.sync) }

// Submit implements block.Starter.
func (d *Device) Submit() { d.io.Submit() }

// Unmap implements block.Device with BLKDISCARD, for the part of the range
// that is whole units of UnmapGranularity.
func (d *Device) Unmap(off, length int64) error {
	if err := d.check(off, length); err != nil {
		return err
	}
	if !d.info.CanUnmap {
		return block.ErrNotSupported
	}
	off, length = inner(off, length, d.info.UnmapGranularity)
	return errno.Wrap(d.discard(off, length))
}

// WriteZeroes implements block.Device. Where discarded units read as zero they
// are discarded, and read back: a discard that works is still only a hint.
// dm-thin passes over chunks that are busy, and over all of them once its
// metadata is read-only. All else is zeroed with BLKZEROOUT.
func (d *Device) WriteZeroes(off, length int64) error {
	if err := d.check(off, length); err != nil {
		return err
	}
	in, n := off, int64(0)
	if d.info.ReadsZero && d.info.CanUnmap {
		in, n = inner(off, length, d.info.UnmapGranularity)
	}
	if n == 0 {
		return errno.Wrap(d.ioctlRange(unix.BLKZEROOUT, off, length))
	}
	if err := d.discard(in, n); err != nil {
		return errno.Wrap(err)
	}
	if err := d.zeroRest(in, n); err != nil {
		return errno.Wrap(err)
	}
	if err := d.ioctlRange(unix.BLKZEROOUT, off, in-off); err != nil {
		return errno.Wrap(err)
	}
	return errno.Wrap(d.ioctlRange(unix.BLKZEROOUT, in+n, off+length-in-n))
}

// zeroRest zeroes what doesn't read as zero in a range.
func (d *Device) zeroRest(off, length int64) error {
	buf := d.io.Take()
	defer d.io.Keep(buf)
	for length > 0 {
		b := buf[:min(length, direct.BufferSize)]
		n := int64(len(b))
		if _, err := d.io.ReadAt(b, off); err != nil {
			return err
		}
		if b[0] != 0 || !bytes.Equal(b[1:], b[:n-1]) {
			if err := d.ioctlRange(unix.BLKZEROOUT, off, n); err != nil {
				return err
			}
		}
		off, length = off+n, length-n
	}
	return nil
}

// inner returns the largest range inside [off, off+length) that begins and
// ends on multiples of unit; its length is 0 if there is none.
func inner(off, length, unit int64) (int64, int64) {
	from := (off + unit - 1) / unit * unit
	to := (off + length) / unit * unit
	if to <= from {
		return off, 0
	}
	return from, to - from
}

func (d *Device) check(off, length int64) error {
	if d.info.ReadOnly {
		return block.ErrReadOnly
	}
	return d.Info().Check(off, length)
}

// Close implements block.Device.
func (d *Device) Close() error {
	return errors.Join(d.io.Close(), d.f.Close())
}
