package pool

import (
	"bytes"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// memDisk is a sparse disk in blocks of 4 KiB, which is also what it takes.
type memDisk struct {
	w      *world
	blocks map[int64][]byte
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for path, c := range d.w.mute {
		if d.w.disks[path] == d {
			d.w.mu.Unlock()
			<-c
			d.w.mu.Lock()
		}
	}
	for path := range d.w.unread {
		if d.w.disks[path] == d {
			return 0, unix.EIO
		}
	}
	zero(p) // most of it is blank
	if n := len(p)/4096 + 2; n < len(d.blocks) {
		for i := range int64(n) {
			if b := d.blocks[off/4096+i]; b != nil {
				d.part(p, off, off/4096+i, b)
			}
		}
		return len(p), nil
	}
	for n, b := range d.blocks {
		d.part(p, off, n, b)
	}
	return len(p), nil
}

// part copies into p, which is at off, what a block has of it.
func (d *memDisk) part(p []byte, off, n int64, b []byte) {
	if at := n*4096 - off; at > -4096 && at < int64(len(p)) {
		copy(p[max(at, 0):], b[max(-at, 0):])
	}
}

// zero is clear, but for the race detector, which takes a second for each 100 MiB.
//
//go:norace
func zero(p []byte) { clear(p) }

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if err := d.w.spend(); err != nil {
		return 0, err
	}
	d.put(p, off)
	return len(p), nil
}

func (d *memDisk) put(p []byte, off int64) {
	if off%4096 != 0 || len(p)%4096 != 0 {
		d.w.t.Errorf("write of %d bytes at %d isn't aligned", len(p), off)
	}
	for i := 0; i+4096 <= len(p); i += 4096 {
		b := zeroBlock
		if part := p[i : i+4096]; !bytes.Equal(part, zeroBlock) {
			b = slices.Clone(part)
		}
		d.blocks[(off+int64(i))/4096] = b
	}
}

// label is what LVM writes when it makes a disk its own.
func (d *memDisk) label() {
	b := d.blocks[0]
	if b == nil {
		b = make([]byte, 4096)
	}
	b = slices.Clone(b)
	clear(b[:2048])
	copy(b[512:], "LABELONE")
	d.put(b, 0)
	d.w.seq++
	meta := make([]byte, 4096)
	copy(meta[4:], " LVM2 x[5A%r0N*>")
	d.put(meta, 4096)
}

func (d *memDisk) Sync() error { return d.w.flush() }

type openDisk struct {
	*memDisk
	path string
}

func (openDisk) Close() error { return nil }

func (w *world) open(path string, write bool) (Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.disks[path]
	if d == nil || !w.here(path) {
		return nil, os.ErrNotExist
	}
	w.asked[path]++
	return openDisk{d, path}, nil
}
