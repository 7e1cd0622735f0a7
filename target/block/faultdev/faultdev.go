// Package faultdev wraps a block.Device for tests: calls fail when told to,
// wait when told to, and writes may stay in a volatile cache that a power cut
// loses.
package faultdev

import (
	"slices"
	"sync"

	"sanstick/target/block"
)

// Op is a kind of call.
type Op int

const (
	Read Op = iota
	Write
	Flush
	Unmap
	WriteZeroes
	Mapped
	ops // how many there are
)

// Device wraps another device. Its methods are safe for concurrent use, the
// ones for tests included.
type Device struct {
	inner block.Device

	mu       sync.Mutex
	calls    [ops]int
	faults   []*fault
	gates    [ops]*gate
	cache    *cache   // nil: writes go through
	cut      error    // all calls fail with it after a power cut
	flushErr error    // of the first failed flush, which stays
	started  []func() // by Start, and not submitted yet
}

var (
	_ block.Device      = (*Device)(nil)
	_ block.Mapper      = (*Device)(nil)
	_ block.NowReader   = (*Device)(nil)
	_ block.ForceWriter = (*Device)(nil)
)

// fault makes calls fail.
type fault struct {
	op          Op
	skip        int   // calls to let pass
	left        int   // calls to fail; below 0: all
	off, length int64 // only calls that touch this range; length 0: any
	err         error
}

// New wraps inner. Without more calls it behaves just like it.
func New(inner block.Device) *Device { return &Device{inner: inner} }

// FailNth makes the nth call of a kind from now on fail with err; 1 is the
// next.
func (d *Device) FailNth(op Op, nth int, err error) {
	d.add(&fault{op: op, skip: nth - 1, left: 1, err: err})
}

// FailAll makes all calls of a kind fail with err.
func (d *Device) FailAll(op Op, err error) { d.add(&fault{op: op, left: -1, err: err}) }

// FailRange makes all calls of a kind that touch [off, off+length) fail with
// err, like a bad spot on a disk.
func (d *Device) FailRange(op Op, off, length int64, err error) {
	d.add(&fault{op: op, left: -1, off: off, length: length, err: err})
}

func (d *Device) add(f *fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, f)
}

// Heal removes all faults. A flush that has failed goes on failing.
func (d *Device) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// Calls returns how many calls of a kind have begun.
func (d *Device) Calls(op Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}

// gate makes calls wait.
type gate struct {
	arrived chan struct{}
	open    chan struct{}
}

// Hold makes calls of a kind wait, before they do anything, until release is
// called. One value comes from arrived for each call that waits, as long as it
// is received. Call release once.
func (d *Device) Hold(op Op) (arrived <-chan struct{}, release func()) {
	g := &gate{arrived: make(chan struct{}, 1024), open: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gates[op] = g
	return g.arrived, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.gates[op] = nil
		close(g.open)
	}
}

// begin counts a call, lets it wait, and returns the error it is to fail with.
func (d *Device) begin(op Op, off, length int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[op]++
	if g := d.gates[op]; g != nil {
		d.mu.Unlock()
		select {
		case g.arrived <- struct{}{}:
		default:
		}
		<-g.open
		d.mu.Lock()
	}
	if d.cut != nil {
		return d.cut
	}
	for _, f := range d.faults {
		if f.op != op || f.left == 0 || (f.length != 0 && (off >= f.off+f.length || f.off >= off+length)) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return f.err
	}
	return nil
}

// Info implements block.Device.
func (d *Device) Info() block.Info {
	i := d.inner.Info()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache != nil {
		i.WriteCache = true
		if i.AtomicWrite > sector { // PowerCut tears it
			i.AtomicWrite, i.AtomicAlign = sector, sector
		}
		if i.LogicalBlock > sector {
			i.AtomicWrite, i.AtomicAlign = 0, 0
		}
	}
	return i
}

// ReadAt implements block.Device.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if err := d.begin(Read, off, int64(len(p))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inner.ReadAt(p, off)
	if err == nil && d.cache != nil {
		d.cache.overlay(p, off)
	}
	return n, err
}

// ReadNow implements block.NowReader if the wrapped device does. It returns
// false while reads are to wait or to fail.
func (d *Device) ReadNow(p []byte, off int64) bool {
	now, ok := d.inner.(block.NowReader)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !ok || d.gates[Read] != nil || d.cut != nil || slices.ContainsFunc(d.faults, func(f *fault) bool { return f.op == Read }) || !now.ReadNow(p, off) {
		return false
	}
	d.calls[Read]++
	if d.cache != nil {
		d.cache.overlay(p, off)
	}
	return true
}

// WriteAt implements block.Device.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.begin(Write, off, int64(len(p))); err != nil {
		return 0, err
	}
	return d.write(p, off)
}

// Flush implements block.Device.
func (d *Device) Flush() error {
	err := d.begin(Flush, 0, 0)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flushErr == nil {
		if d.flushErr = err; err == nil {
			d.flushErr = d.writeBack()
		}
	}
	return d.flushErr
}

// WriteForced implements block.ForceWriter: it is a call of Write and one of
// Flush.
func (d *Device) WriteForced(p []byte, off int64) (int, error) {
	n, err := d.WriteAt(p, off)
	if err == nil {
		err = d.Flush()
	}
	return n, err
}

// Unmap implements block.Device.
func (d *Device) Unmap(off, length int64) error {
	if err := d.begin(Unmap, off, length); err != nil {
		return err
	}
	if i := d.inner.Info(); !i.CanUnmap && !i.ReadOnly {
		return block.ErrNotSupported
	}
	return d.zero(off, length, d.inner.Unmap)
}

// WriteZeroes implements block.Device.
func (d *Device) WriteZeroes(off, length int64) error {
	if err := d.begin(WriteZeroes, off, length); err != nil {
		return err
	}
	return d.zero(off, length, d.inner.WriteZeroes)
}

// Mapped implements block.Mapper. A device that isn't one takes space for all of
// its bytes, and so does what the volatile cache holds.
func (d *Device) Mapped(off, length int64) (mapped bool, n int64, err error) {
	if err := d.begin(Mapped, off, length); err != nil {
		return false, 0, err
	}
	m, ok := d.inner.(block.Mapper)
	if !ok {
		return true, length, d.inner.Info().Check(off, length)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache != nil && len(d.cache.writes) > 0 {
		b := int64(d.inner.Info().LogicalBlock)
		if d.cache.has(off, b) {
			return true, b, nil
		}
		length = d.cache.until(off, length)
	}
	return m.Mapped(off, length)
}

// Close implements block.Device. What the volatile cache holds is lost.
func (d *Device) Close() error { return d.inner.Close() }
