package pool

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/sys"
)

// recheck looks once more at a disk that is open for writing, alone, just
// before its first write: what was found on it may be hours old, and another
// disk may have got its name since.
func (m *Manager) recheck(s StampDisk, dev Device) error {
	d, err := m.diskNow(s.Path)
	if err != nil {
		return err
	}
	if d.ID() != s.Stamp.Disk {
		return fmt.Errorf("it is disk %s now, not %s", d.ID(), s.Stamp.Disk)
	}
	look := probe.Probe
	if s.Reset {
		if old, err := readStamp(dev); err != nil || old.Disk != s.Stamp.Disk {
			return errors.New("it isn't half-made any more")
		}
		look = probe.Beyond
	}
	f, err := look(&direct{dev: dev, size: d.Size}, d.Size)
	switch {
	case err != nil:
		return err
	case !f.Blank:
		return fmt.Errorf("it isn't blank any more: it holds %s", f)
	}
	return nil
}

// checkStamps makes sure that LVM gets the very disks that were stamped for
// the pool.
func (m *Manager) checkStamps(s CreateGroup) error {
	for _, path := range s.Paths {
		d, err := m.diskNow(path)
		if err != nil {
			return err
		}
		err = m.withDevice(path, func(dev Device) error {
			if old, err := readStamp(dev); err != nil || old != (Stamp{Pool: s.Pool, Disk: d.ID()}) {
				return fmt.Errorf("disk %s isn't marked for pool %s", d.ID(), s.Pool)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// diskNow finds out which disk a path stands for at this moment.
func (m *Manager) diskNow(path string) (disk.Disk, error) {
	disks, err := disk.Scan(m.o.Sysfs)
	if err != nil {
		return disk.Disk{}, err
	}
	if d, ok := (Facts{Disks: disks}).diskAt(path); ok {
		return d, nil
	}
	return disk.Disk{}, fmt.Errorf("disk %s has gone", path)
}

// direct reads from a disk that bypasses the page cache, and so takes whole,
// aligned blocks only. One goroutine may use it.
type direct struct {
	dev  io.ReaderAt
	size int64
	buf  []byte // aligned
}

func (r *direct) ReadAt(p []byte, off int64) (int, error) {
	const block = stampBlock
	if off < 0 || off >= r.size {
		return 0, io.EOF
	}
	start := off &^ (block - 1)
	end := min((off+int64(len(p))+block-1)&^(block-1), r.size)
	if start == off && end == off+int64(len(p)) && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%block == 0 {
		return r.dev.ReadAt(p, off) // as large buffers are
	}
	if int64(len(r.buf)) < end-start {
		r.buf = sys.AlignedBuffer(int(end - start))
	}
	b := r.buf[:end-start]
	n, err := r.dev.ReadAt(b, start)
	n = copy(p, b[min(int(off-start), n):n])
	if n == len(p) {
		return n, nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
