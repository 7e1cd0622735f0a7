// Package memdev is a block.Device in RAM: sparse, fast, and gone with the
// process. It is for tests, benchmarks and trying things out.
package memdev

import (
	"fmt"
	"sync"
	"sync/atomic"

	"sanstick/target/block"
)

// chunkSize is the unit of allocation in bytes: a multiple of every logical
// block size.
const chunkSize = 64 << 10

// shardCount spreads the chunks over locks, so that I/O to different parts of
// the device runs in parallel.
const shardCount = 64

// atomicWrite is far more than it need be, and not so much that nobody would
// believe it.
const atomicWrite = 1 << 20

// Options are the geometry of a Device. Zero values mean: 512-byte logical
// blocks, 4096-byte physical ones, writable.
type Options struct {
	LogicalBlock  int // bytes
	PhysicalBlock int // bytes
	ReadOnly      bool
}

// Device holds its bytes in RAM; blocks never written take none.
//
// RAM is never stable storage, so Info().WriteCache is true and Flush, which
// has nowhere to write to, does nothing and always succeeds.
type Device struct {
	o      Options
	size   atomic.Int64
	shards [shardCount]shard
}

type shard struct {
	mu     sync.RWMutex
	chunks map[int64]*[chunkSize]byte
}

var (
	_ block.Device    = (*Device)(nil)
	_ block.Mapper    = (*Device)(nil)
	_ block.NowReader = (*Device)(nil)
)

// New returns a Device of size bytes, all zero.
func New(size int64, o Options) (*Device, error) {
	if o.LogicalBlock == 0 {
		o.LogicalBlock = 512
	}
	if o.PhysicalBlock == 0 {
		o.PhysicalBlock = 4096
	}
	if err := block.CheckGeometry(o.LogicalBlock, o.PhysicalBlock); err != nil {
		return nil, fmt.Errorf("cannot make a RAM device: %w", err)
	}
	if size <= 0 || size%int64(o.LogicalBlock) != 0 {
		return nil, fmt.Errorf("cannot make a RAM device of %d bytes: not a positive multiple of %d", size, o.LogicalBlock)
	}
	d := &Device{o: o}
	d.size.Store(size)
	for i := range d.shards {
		d.shards[i].chunks = make(map[int64]*[chunkSize]byte)
	}
	return d, nil
}

// Grow makes the device size bytes long. It never shrinks it.
func (d *Device) Grow(size int64) error {
	old := d.size.Load()
	if size < old || size%int64(d.o.LogicalBlock) != 0 {
		return fmt.Errorf("cannot grow a RAM device from %d to %d bytes: %w", old, size, block.ErrRange)
	}
	if !d.size.CompareAndSwap(old, size) {
		return d.Grow(size)
	}
	return nil
}

// Info implements block.Device.
func (d *Device) Info() block.Info {
	i := block.Info{
		Size:          d.size.Load(),
		LogicalBlock:  d.o.LogicalBlock,
		PhysicalBlock: d.o.PhysicalBlock,
		ReadOnly:      d.o.ReadOnly,
		WriteCache:    true,
		ReadsZero:     true,
		// Without power there is nothing left, and so nothing torn.
		AtomicWrite: atomicWrite,
		AtomicAlign: d.o.LogicalBlock,
	}
	if !d.o.ReadOnly {
		i.CanUnmap = true
		i.UnmapGranularity = int64(d.o.LogicalBlock)
	}
	return i
}

// each calls f for every piece of [off, off+n) that lies in one chunk. at is
// the piece's start relative to off, from and to its place in the chunk.
func each(off, n int64, f func(chunk, at int64, from, to int)) {
	for at := int64(0); at < n; {
		chunk := (off + at) / chunkSize
		from := int((off + at) % chunkSize)
		to := int(min(chunkSize, int64(from)+n-at))
		f(chunk, at, from, to)
		at += int64(to - from)
	}
}

func (d *Device) shard(chunk int64) *shard { return &d.shards[chunk%shardCount] }

// ReadAt implements block.Device.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if err := d.Info().Check(off, int64(len(p))); err != nil {
		return 0, err
	}
	each(off, int64(len(p)), func(chunk, at int64, from, to int) {
		s := d.shard(chunk)
		s.mu.RLock()
		defer s.mu.RUnlock()
		dst := p[at : at+int64(to-from)]
		if c := s.chunks[chunk]; c != nil {
			copy(dst, c[from:to])
		} else {
			clear(dst)
		}
	})
	return len(p), nil
}

// ReadNow implements block.NowReader: RAM always is at hand.
func (d *Device) ReadNow(p []byte, off int64) bool {
	_, err := d.ReadAt(p, off)
	return err == nil
}

// WriteAt implements block.Device.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	each(off, int64(len(p)), func(chunk, at int64, from, to int) {
		s := d.shard(chunk)
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.chunks[chunk]
		if c == nil {
			c = new([chunkSize]byte)
			s.chunks[chunk] = c
		}
		copy(c[from:to], p[at:])
	})
	return len(p), nil
}

// Flush implements block.Device. See Device about what it can't do.
func (d *Device) Flush() error { return nil }

// Unmap implements block.Device; it frees whole chunks and zeroes the rest.
func (d *Device) Unmap(off, length int64) error { return d.WriteZeroes(off, length) }

// WriteZeroes implements block.Device.
func (d *Device) WriteZeroes(off, length int64) error {
	if err := d.check(off, length); err != nil {
		return err
	}
	each(off, length, func(chunk, _ int64, from, to int) {
		s := d.shard(chunk)
		s.mu.Lock()
		defer s.mu.Unlock()
		if to-from == chunkSize {
			delete(s.chunks, chunk)
		} else if c := s.chunks[chunk]; c != nil {
			clear(c[from:to])
		}
	})
	return nil
}

// mapScan is how many chunks Mapped looks at one by one.
const mapScan = 1024

// Mapped implements block.Mapper. What takes space are whole chunks.
func (d *Device) Mapped(off, length int64) (mapped bool, n int64, err error) {
	if err := d.Info().Check(off, length); err != nil {
		return false, 0, err
	}
	if length == 0 {
		return false, 0, fmt.Errorf("no bytes at %d: %w", off, block.ErrRange)
	}
	has := func(chunk int64) bool {
		s := d.shard(chunk)
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.chunks[chunk] != nil
	}
	first := off / chunkSize
	mapped = has(first)
	next := first + 1
	for next < first+mapScan && next*chunkSize < off+length && has(next) == mapped {
		next++
	}
	if !mapped && next == first+mapScan { // a wide hole: quicker to go through what there is
		next = d.nextChunk(next)
	}
	return mapped, min(next*chunkSize-off, length), nil
}

// nextChunk returns the first chunk from c that takes space, or one beyond the
// end of the device.
func (d *Device) nextChunk(c int64) int64 {
	next := d.size.Load()/chunkSize + 1
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.RLock()
		for have := range s.chunks {
			if have >= c {
				next = min(next, have)
			}
		}
		s.mu.RUnlock()
	}
	return next
}

func (d *Device) check(off, length int64) error {
	if d.o.ReadOnly {
		return block.ErrReadOnly
	}
	return d.Info().Check(off, length)
}

// Allocated returns how many bytes of RAM the device's data takes now.
func (d *Device) Allocated() int64 {
	var n int64
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.RLock()
		n += int64(len(s.chunks)) * chunkSize
		s.mu.RUnlock()
	}
	return n
}

// Close implements block.Device; it frees the RAM.
func (d *Device) Close() error {
	for i := range d.shards {
		d.shards[i].chunks = nil
	}
	return nil
}
