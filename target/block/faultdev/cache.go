package faultdev

import (
	"errors"

	"sanstick/target/block"
)

// sector is what a disk writes as a whole or not at all, in bytes.
const sector = 512

// ErrPowerCut is what all calls return between a power cut and PowerOn.
var ErrPowerCut = errors.New("power is off")

// cache holds writes that have been acknowledged but not flushed, oldest
// first.
type cache struct{ writes []cached }

type cached struct {
	off  int64
	data []byte
}

// overlay puts the cached bytes over p, which was read at off.
func (c *cache) overlay(p []byte, off int64) {
	for _, w := range c.writes {
		from, to := max(off, w.off), min(off+int64(len(p)), w.off+int64(len(w.data)))
		if from < to {
			copy(p[from-off:to-off], w.data[from-w.off:])
		}
	}
}

// has reports whether there are cached bytes in [off, off+n).
func (c *cache) has(off, n int64) bool { return c.until(off, n) < n }

// until returns how many bytes from off, at most n, come before a cached one.
func (c *cache) until(off, n int64) int64 {
	for _, w := range c.writes {
		if w.off < off+n && w.off+int64(len(w.data)) > off {
			n = max(w.off-off, 0)
		}
	}
	return n
}

// Volatile gives the device a write cache: writes stay in memory until a
// flush, or a power cut.
func (d *Device) Volatile() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache == nil {
		d.cache = new(cache)
	}
}

// Unflushed returns how many writes a power cut would endanger.
func (d *Device) Unflushed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache == nil {
		return 0
	}
	return len(d.cache.writes)
}

// PowerCut ends it all: of the writes in the volatile cache, those sectors
// reach the disk for which survives returns true; write counts from 0, oldest
// first, and sector from 0 within a write. Survivors land in the order of
// their writes. Afterwards every call fails with ErrPowerCut until PowerOn.
func (d *Device) PowerCut(survives func(write, sector int) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = ErrPowerCut
	if d.cache == nil {
		return nil
	}
	for i, w := range d.cache.writes {
		for at := 0; at < len(w.data); at += sector {
			if !survives(i, at/sector) {
				continue
			}
			if err := d.patch(w.off+int64(at), w.data[at:min(at+sector, len(w.data))]); err != nil {
				return err
			}
		}
	}
	d.cache.writes = nil
	return nil
}

// patch writes bytes that may be less than a logical block of the inner
// device.
func (d *Device) patch(off int64, data []byte) error {
	b := int64(d.inner.Info().LogicalBlock)
	first := off / b * b
	buf := make([]byte, (off+int64(len(data))+b-1)/b*b-first)
	if _, err := d.inner.ReadAt(buf, first); err != nil {
		return err
	}
	copy(buf[off-first:], data)
	_, err := d.inner.WriteAt(buf, first)
	return err
}

// PowerOn makes calls work again after a power cut.
func (d *Device) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut, d.flushErr = nil, nil
}

func (d *Device) write(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache == nil {
		return d.inner.WriteAt(p, off)
	}
	i := d.inner.Info()
	if i.ReadOnly {
		return 0, block.ErrReadOnly
	}
	if err := i.Check(off, int64(len(p))); err != nil {
		return 0, err
	}
	d.cache.writes = append(d.cache.writes, cached{off, append([]byte(nil), p...)})
	return len(p), nil
}

// writeBack empties the cache onto the inner device. d.mu is held.
func (d *Device) writeBack() error {
	if d.cache != nil {
		for len(d.cache.writes) > 0 {
			w := d.cache.writes[0]
			if _, err := d.inner.WriteAt(w.data, w.off); err != nil {
				return err
			}
			d.cache.writes = d.cache.writes[1:]
		}
	}
	return d.inner.Flush()
}

// zero unmaps or zeroes with do; with a volatile cache, by writing zeroes into
// it.
func (d *Device) zero(off, length int64, do func(off, length int64) error) error {
	d.mu.Lock()
	volatile := d.cache != nil
	d.mu.Unlock()
	i := d.inner.Info()
	if !volatile || i.ReadOnly {
		return do(off, length)
	}
	if err := i.Check(off, length); err != nil {
		return err
	}
	_, err := d.write(make([]byte, length), off)
	return err
}
