// Package filedev is a block.Device in a regular file.
//
// I/O goes through the page cache, or with Options.Direct past it, and is made
// durable by fdatasync either way: a disk has a cache, too, and a file system
// keeps changes of its own for later. So the device has a write cache and says
// so. Linux only.
package filedev

import (
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

// Options say how to present a file. Zero values mean: 512-byte logical
// blocks, 4096-byte physical ones, writable.
type Options struct {
	LogicalBlock  int // bytes
	PhysicalBlock int // bytes
	ReadOnly      bool
	// Direct has the data go between the disk and our memory without the page
	// cache (O_DIRECT). The file system must be able to, in logical blocks.
	Direct bool
}

// sizeAge is how long the size of the file is taken as known: a file that
// grows is seen to have grown after at most this long.
const sizeAge = time.Second

// directAlign is where memory for direct I/O begins: on a multiple of it, in
// bytes. No file system wants more.
const directAlign = 4096

// Device is an open file. See block.Device for concurrency and durability.
//
// Unmap and WriteZeroes punch holes where the file system can; elsewhere the
// device can't unmap, and zeroes are written.
type Device struct {
	f      *os.File
	fd     int
	info   block.Info   // all but Size
	size   atomic.Int64 // bytes, rounded down to a logical block
	asked  atomic.Int64 // when size was found, in nanoseconds since opened
	start  time.Time
	sync   func() error // fdatasync; tests replace it
	flush  flush.Group
	direct *direct.File // nil where data goes through the page cache
	now    atomic.Int32 // how ReadNow goes about it
}

var (
	_ block.Device      = (*Device)(nil)
	_ block.Mapper      = (*Device)(nil)
	_ block.NowReader   = (*Device)(nil)
	_ block.ForceWriter = (*Device)(nil)
	_ block.Starter     = (*Device)(nil)
)

// Open opens the regular file at path, whose size must be a multiple of the
// logical block size. It takes a lock (flock) on the file: shared when
// read-only, else exclusive, so that two writers of this kind never meet.
func Open(path string, o Options) (*Device, error) {
	d, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("cannot open file %q as a disk: %w", path, err)
	}
	return d, nil
}

func open(path string, o Options) (*Device, error) {
	if o.LogicalBlock == 0 {
		o.LogicalBlock = 512
	}
	if o.PhysicalBlock == 0 {
		o.PhysicalBlock = max(4096, o.LogicalBlock)
	}
	if err := block.CheckGeometry(o.LogicalBlock, o.PhysicalBlock); err != nil {
		return nil, err
	}
	mode, lock := os.O_RDWR, unix.LOCK_EX
	if o.ReadOnly {
		mode, lock = os.O_RDONLY, unix.LOCK_SH
	}
	if o.Direct {
		mode |= unix.O_DIRECT
	}
	f, err := os.OpenFile(path, mode, 0)
	switch {
	case o.Direct && errors.Is(err, unix.EINVAL):
		return nil, errors.New("its file system has no direct I/O")
	case err != nil:
		return nil, errors.Unwrap(err)
	}
	d, err := newDevice(f, o, lock)
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func newDevice(f *os.File, o Options, lock int) (*Device, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if st.Size() == 0 || st.Size()%int64(o.LogicalBlock) != 0 {
		return nil, fmt.Errorf("its size, %d bytes, is not a positive multiple of the block size %d", st.Size(), o.LogicalBlock)
	}
	if err := unix.Flock(int(f.Fd()), lock|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("in use by another process, or twice by this one: %w", err)
	}
	d := &Device{
		f:     f,
		fd:    int(f.Fd()),
		start: time.Now(),
		sync:  func() error { return unix.Fdatasync(int(f.Fd())) },
		info: block.Info{
			LogicalBlock:  o.LogicalBlock,
			PhysicalBlock: o.PhysicalBlock,
			ReadOnly:      o.ReadOnly,
			WriteCache:    true,
		},
	}
	d.size.Store(st.Size())
	d.now.Store(nowOf(f, o.Direct))
	if o.Direct {
		d.direct = direct.New(f, directAlign)
		// The last block begins where only a block's alignment is given.
		last := make([]byte, o.LogicalBlock)
		if _, err := d.direct.ReadAt(last, st.Size()-int64(len(last))); err != nil {
			d.direct.Close()
			return nil, fmt.Errorf("direct I/O in blocks of %d fails: %w", o.LogicalBlock, err)
		}
	}
	if !o.ReadOnly && canPunch(f, st.Size()) {
		d.info.CanUnmap = true
		d.info.ReadsZero = true
		d.info.UnmapGranularity = int64(max(o.LogicalBlock, 4096))
	}
	return d, nil
}

// canPunch asks the file system by punching a hole where the file has ended
// already, which changes nothing.
func canPunch(f *os.File, size int64) bool {
	return unix.Fallocate(int(f.Fd()), punch, size, 4096) == nil
}

const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE

// Info implements block.Device.
func (d *Device) Info() block.Info {
	now := int64(time.Since(d.start))
	if asked := d.asked.Load(); now-asked > int64(sizeAge) && d.asked.CompareAndSwap(asked, now) {
		if st, err := d.f.Stat(); err == nil {
			d.size.Store(st.Size() - st.Size()%int64(d.info.LogicalBlock))
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
	n, err := d.read(p, off)
	return n, errno.Wrap(err)
}

// WriteAt implements block.Device.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.write(p, off)
	return n, errno.Wrap(err)
}

func (d *Device) read(p []byte, off int64) (int, error) {
	if d.direct != nil {
		return d.direct.ReadAt(p, off)
	}
	return d.f.ReadAt(p, off)
}

func (d *Device) write(p []byte, off int64) (int, error) {
	if d.direct != nil {
		return d.direct.WriteAt(p, off)
	}
	return d.f.WriteAt(p, off)
}

// Flush implements block.Device with fdatasync. Flushes asked for while one
// runs share the next.
func (d *Device) Flush() error {
	return errno.Wrap(d.flush.Do(d.sync))
}

// WriteForced implements block.ForceWriter.
func (d *Device) WriteForced(p []byte, off int64) (n int, err error) {
	err = d.flush.Write(func() error {
		n, err = d.WriteAt(p, off)
		return err
	}, d.sync)
	return n, errno.Wrap(err)
}

// CanStart implements block.Starter: there is nothing to wait for without a worker
// but direct I/O.
func (d *Device) CanStart() bool { return d.direct != nil }

// Start implements block.Starter.
func (d *Device) Start(x *block.Transfer) bool {
	return d.direct != nil && d.direct.Start(d.Info(), x, &d.flush, d.sync)
}

// Submit implements block.Starter.
func (d *Device) Submit() {
	if d.direct != nil {
		d.direct.Submit()
	}
}

// Unmap implements block.Device by punching a hole.
func (d *Device) Unmap(off, length int64) error {
	if !d.info.CanUnmap && !d.info.ReadOnly {
		return block.ErrNotSupported
	}
	return d.WriteZeroes(off, length)
}

// WriteZeroes implements block.Device.
func (d *Device) WriteZeroes(off, length int64) error {
	if err := d.check(off, length); err != nil || length == 0 {
		return err
	}
	if !d.info.CanUnmap {
		return d.zero(off, length)
	}
	for {
		err := unix.Fallocate(int(d.f.Fd()), punch, off, length)
		if !errors.Is(err, unix.EINTR) {
			return errno.Wrap(err)
		}
	}
}

// zero writes zeroes the slow way.
func (d *Device) zero(off, length int64) error {
	buf := make([]byte, min(length, 1<<20))
	for length > 0 {
		n, err := d.write(buf[:min(length, int64(len(buf)))], off)
		if err != nil {
			return errno.Wrap(err)
		}
		off, length = off+int64(n), length-int64(n)
	}
	return nil
}

// Mapped implements block.Mapper: what is not in a hole takes space. Space that
// was allocated but never written may count as a hole.
func (d *Device) Mapped(off, length int64) (mapped bool, n int64, err error) {
	if err := d.Info().Check(off, length); err != nil {
		return false, 0, err
	}
	if length == 0 {
		return false, 0, fmt.Errorf("no bytes at %d: %w", off, block.ErrRange)
	}
	b := int64(d.info.LogicalBlock)
	data, err := unix.Seek(int(d.f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // nothing but holes
		return false, length, nil
	}
	if err != nil {
		return false, 0, errno.Wrap(err)
	}
	if data -= data % b; data > off {
		return false, min(data-off, length), nil
	}
	hole, err := unix.Seek(int(d.f.Fd()), max(off, data), unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // the file has shrunk
		return true, length, nil
	}
	if err != nil {
		return false, 0, errno.Wrap(err)
	}
	return true, min(max(b, (hole-off+b-1)/b*b), length), nil
}

func (d *Device) check(off, length int64) error {
	if d.info.ReadOnly {
		return block.ErrReadOnly
	}
	return d.Info().Check(off, length)
}

// Close implements block.Device.
func (d *Device) Close() error {
	var err error
	if d.direct != nil {
		err = d.direct.Close()
	}
	return errors.Join(err, d.f.Close())
}
