// Package blocktest is the conformance suite for block.Device: each
// implementation runs it on itself.
package blocktest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"sanstick/target/block"
)

// MinSize is how large, in bytes, a device must at least be to be tested.
const MinSize = 1 << 20

// Run tests the devices that open returns: each time a new one, whose bytes
// are all zero, opened read-only or for writing. It closes them. The size of a
// read-only one must be at least MinSize too.
func Run(t *testing.T, open func(t *testing.T, readOnly bool) block.Device) {
	for _, test := range []struct {
		name     string
		readOnly bool
		run      func(t *testing.T, d block.Device)
	}{
		{"info", false, info},
		{"begins as zero", false, beginsZero},
		{"reads what was written", false, readsWritten},
		{"memory of any alignment", false, anyMemory},
		{"ranges", false, ranges},
		{"empty ranges", false, emptyRanges},
		{"model", false, model},
		{"write zeroes", false, writeZeroes},
		{"unmap", false, unmap},
		{"mapped", false, mapped},
		{"concurrency", false, concurrency},
		{"flush", false, flush},
		{"forced writes", false, forced},
		{"started", false, started},
		{"read-only", true, readOnly},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t, test.readOnly)
			defer func() {
				if err := d.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			if size := d.Info().Size; size < MinSize {
				t.Fatalf("device has %d bytes, the suite needs %d", size, MinSize)
			}
			test.run(t, d)
		})
	}
}

func info(t *testing.T, d block.Device) {
	i := d.Info()
	if err := block.CheckGeometry(i.LogicalBlock, i.PhysicalBlock); err != nil {
		t.Error(err)
	}
	if i.Size%int64(i.LogicalBlock) != 0 {
		t.Errorf("size %d is no multiple of %d", i.Size, i.LogicalBlock)
	}
	if i.ReadOnly {
		t.Error("is read-only")
	}
	if got := i.UnmapGranularity != 0; got != i.CanUnmap {
		t.Errorf("CanUnmap is %t, but UnmapGranularity is %d", i.CanUnmap, i.UnmapGranularity)
	}
	if b := i.LogicalBlock; i.AtomicWrite%b != 0 || i.AtomicAlign%b != 0 || (i.AtomicWrite > 0) != (i.AtomicAlign > 0) {
		t.Errorf("AtomicWrite is %d and AtomicAlign %d, blocks have %d", i.AtomicWrite, i.AtomicAlign, b)
	}
	if i.UnmapGranularity%int64(i.LogicalBlock) != 0 {
		t.Errorf("UnmapGranularity %d is no multiple of %d", i.UnmapGranularity, i.LogicalBlock)
	}
}

func beginsZero(t *testing.T, d block.Device) {
	want(t, d, 0, make([]byte, MinSize))
	last := d.Info().Size - int64(d.Info().LogicalBlock)
	want(t, d, last, make([]byte, d.Info().LogicalBlock))
}

func readsWritten(t *testing.T, d block.Device) {
	i := d.Info()
	b := int64(i.LogicalBlock)
	for n, at := range []int64{0, b, 64<<10 - b, 512 << 10, i.Size - 2*b} {
		data := noise(uint64(n), 2*int(b))
		write(t, d, at, data)
		want(t, d, at, data)
	}
	large := noise(99, MinSize-int(2*b))
	write(t, d, b, large)
	want(t, d, b, large)
}

// anyMemory uses slices that begin anywhere: callers need not align them.
func anyMemory(t *testing.T, d block.Device) {
	n := 2*d.Info().LogicalBlock + 300<<10
	n -= n % d.Info().LogicalBlock
	for _, skip := range []int{0, 1, 7, 512, 4095} {
		buf := make([]byte, n+skip)[skip:]
		copy(buf, noise(uint64(skip), n))
		write(t, d, 0, buf)
		got := make([]byte, n+skip+1)[skip+1:]
		if _, err := d.ReadAt(got, 0); err != nil {
			t.Fatalf("ReadAt: %v", err)
		}
		if !bytes.Equal(got, buf) {
			t.Fatalf("memory off by %d: read other bytes than were written", skip)
		}
	}
}

func ranges(t *testing.T, d block.Device) {
	i := d.Info()
	b := int64(i.LogicalBlock)
	before := noise(1, MinSize)
	write(t, d, 0, before)
	for _, r := range []struct{ off, length int64 }{
		{-b, b}, {1, b}, {b - 1, b}, {0, 1}, {0, b - 1}, {0, b + 1},
		{i.Size, b}, {i.Size - b, 2 * b}, {i.Size + b, b},
		{math.MaxInt64 - b + 1, b},
	} {
		p := make([]byte, r.length)
		_, errRead := d.ReadAt(p, r.off)
		_, errWrite := d.WriteAt(p, r.off)
		calls := map[string]error{"ReadAt": errRead, "WriteAt": errWrite, "WriteZeroes": d.WriteZeroes(r.off, r.length)}
		if i.CanUnmap {
			calls["Unmap"] = d.Unmap(r.off, r.length)
		}
		for name, err := range calls {
			if !errors.Is(err, block.ErrRange) {
				t.Errorf("%s of %d bytes at %d: got %v, want ErrRange", name, r.length, r.off, err)
			}
		}
		if now, ok := d.(block.NowReader); ok && now.ReadNow(p, r.off) {
			t.Errorf("ReadNow of %d bytes at %d worked", r.length, r.off)
		}
	}
	for _, length := range []int64{-b, math.MaxInt64 - b + 1} {
		if err := d.WriteZeroes(b, length); !errors.Is(err, block.ErrRange) {
			t.Errorf("WriteZeroes of %d bytes: got %v, want ErrRange", length, err)
		}
	}
	want(t, d, 0, before)
}

func emptyRanges(t *testing.T, d block.Device) {
	for _, off := range []int64{0, d.Info().Size} {
		if n, err := d.ReadAt(nil, off); n != 0 || err != nil {
			t.Errorf("ReadAt of nothing at %d: %d, %v", off, n, err)
		}
		if n, err := d.WriteAt(nil, off); n != 0 || err != nil {
			t.Errorf("WriteAt of nothing at %d: %d, %v", off, n, err)
		}
		if err := d.WriteZeroes(off, 0); err != nil {
			t.Errorf("WriteZeroes of nothing at %d: %v", off, err)
		}
		if err := d.Unmap(off, 0); d.Info().CanUnmap && err != nil {
			t.Errorf("Unmap of nothing at %d: %v", off, err)
		}
	}
}

// model compares a random history with what a plain slice holds.
func model(t *testing.T, d block.Device) {
	const seed = 42
	rng := rand.New(rand.NewPCG(seed, seed))
	b := d.Info().LogicalBlock
	want := make([]byte, MinSize)
	for step := range 300 {
		off := rng.IntN(MinSize/b) * b
		length := min((rng.IntN(64)+1)*b, MinSize-off)
		switch rng.IntN(4) {
		case 0, 1:
			data := noise(uint64(step), length)
			copy(want[off:], data)
			write(t, d, int64(off), data)
		case 2:
			clear(want[off : off+length])
			if err := d.WriteZeroes(int64(off), int64(length)); err != nil {
				t.Fatalf("step %d: WriteZeroes: %v", step, err)
			}
		case 3:
			got := make([]byte, length)
			if _, err := d.ReadAt(got, int64(off)); err != nil {
				t.Fatalf("step %d: ReadAt: %v", step, err)
			}
			if !bytes.Equal(got, want[off:off+length]) {
				t.Fatalf("step %d (seed %d): bytes %d+%d are not what was last written", step, seed, off, length)
			}
		}
	}
	got := make([]byte, MinSize)
	if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("after all (seed %d): not what was written, error %v", seed, err)
	}
}

func writeZeroes(t *testing.T, d block.Device) {
	b := int64(d.Info().LogicalBlock)
	before := noise(3, MinSize)
	write(t, d, 0, before)
	for _, r := range []struct{ off, length int64 }{{b, b}, {8 * b, 200 << 10 / b * b}, {MinSize - 3*b, 2 * b}} {
		if err := d.WriteZeroes(r.off, r.length); err != nil {
			t.Fatalf("WriteZeroes(%d, %d): %v", r.off, r.length, err)
		}
		clear(before[r.off : r.off+r.length])
	}
	want(t, d, 0, before)
}

func unmap(t *testing.T, d block.Device) {
	i := d.Info()
	if !i.CanUnmap {
		if err := d.Unmap(0, int64(i.LogicalBlock)); !errors.Is(err, block.ErrNotSupported) {
			t.Errorf("Unmap: got %v, want ErrNotSupported", err)
		}
		return
	}
	b := int64(i.LogicalBlock)
	before := noise(4, MinSize)
	write(t, d, 0, before)
	off, length := b, int64(MinSize-3*b)
	if err := d.Unmap(off, length); err != nil {
		t.Fatalf("Unmap: %v", err)
	}
	want(t, d, 0, before[:off])
	want(t, d, off+length, before[off+length:])
	if !i.ReadsZero {
		return
	}
	g := i.UnmapGranularity
	from, to := (off+g-1)/g*g, (off+length)/g*g
	if from < to {
		want(t, d, from, make([]byte, to-from))
	}
}

// concurrency lets goroutines work on parts of their own, and others read and
// flush in between.
func concurrency(t *testing.T, d block.Device) {
	const workers = 8
	part := MinSize / workers
	b := d.Info().LogicalBlock
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() { errs <- work(d, w, w*part, part, b) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func work(d block.Device, worker, off, length, b int) error {
	rng := rand.New(rand.NewPCG(uint64(worker), 0))
	mine := make([]byte, length)
	for step := range 60 {
		at := rng.IntN(length/b) * b
		n := min(b*(1+rng.IntN(8)), length-at)
		copy(mine[at:at+n], noise(uint64(worker*1000+step), n))
		if _, err := d.WriteAt(mine[at:at+n], int64(off+at)); err != nil {
			return fmt.Errorf("worker %d: WriteAt: %w", worker, err)
		}
		switch step % 5 {
		case 3:
			if err := d.Flush(); err != nil {
				return fmt.Errorf("worker %d: Flush: %w", worker, err)
			}
		case 4: // anywhere: what others write may be old or new
			if _, err := d.ReadAt(make([]byte, b), int64(rng.IntN(MinSize/b)*b)); err != nil {
				return fmt.Errorf("worker %d: ReadAt: %w", worker, err)
			}
		}
	}
	got := make([]byte, length)
	if _, err := d.ReadAt(got, int64(off)); err != nil {
		return fmt.Errorf("worker %d: ReadAt: %w", worker, err)
	}
	if !bytes.Equal(got, mine) {
		return fmt.Errorf("worker %d: its part holds other bytes than it wrote", worker)
	}
	return nil
}

func flush(t *testing.T, d block.Device) {
	for range 3 {
		write(t, d, 0, noise(5, d.Info().LogicalBlock))
		if err := d.Flush(); err != nil {
			t.Fatalf("Flush: %v", err)
		}
	}
}

// forced tests a ForceWriter like any other writer; that it keeps its promise
// takes a power cut.
func forced(t *testing.T, d block.Device) {
	f, ok := d.(block.ForceWriter)
	if !ok {
		return
	}
	i := d.Info()
	b := int64(i.LogicalBlock)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for step := range 20 {
				p := noise(uint64(w*100+step), 2*int(b))
				if n, err := f.WriteForced(p, int64(w)*16*b); n != len(p) || err != nil {
					t.Errorf("WriteForced: %d, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	for w := range 8 {
		want(t, d, int64(w)*16*b, noise(uint64(w*100+19), 2*int(b)))
	}
	for _, r := range []struct{ off, length int64 }{{-b, b}, {1, b}, {0, b - 1}, {i.Size, b}} {
		if _, err := f.WriteForced(make([]byte, r.length), r.off); !errors.Is(err, block.ErrRange) {
			t.Errorf("WriteForced of %d bytes at %d: got %v, want ErrRange", r.length, r.off, err)
		}
	}
}

func readOnly(t *testing.T, d block.Device) {
	i := d.Info()
	if !i.ReadOnly || i.CanUnmap {
		t.Errorf("ReadOnly is %t and CanUnmap is %t, want true and false", i.ReadOnly, i.CanUnmap)
	}
	b := i.LogicalBlock
	want(t, d, 0, make([]byte, b))
	_, err := d.WriteAt(noise(6, b), 0)
	calls := map[string]error{"WriteAt": err, "WriteZeroes": d.WriteZeroes(0, int64(b)), "Unmap": d.Unmap(0, int64(b))}
	if f, ok := d.(block.ForceWriter); ok {
		_, calls["WriteForced"] = f.WriteForced(noise(6, b), 0)
	}
	for name, err := range calls {
		if !errors.Is(err, block.ErrReadOnly) {
			t.Errorf("%s: got %v, want ErrReadOnly", name, err)
		}
	}
	if s, ok := d.(block.Starter); ok {
		for _, op := range []block.Op{block.OpWriteAt, block.OpWriteForced} {
			if s.Start(&block.Transfer{Op: op, P: Memory(b), Done: func(error) {}}) {
				t.Errorf("operation %d was started", op)
			}
		}
	}
	if err := d.Flush(); err != nil {
		t.Errorf("Flush: %v", err)
	}
	want(t, d, 0, make([]byte, b))
}

// noise returns n bytes that depend on the seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	for i := range key {
		key[i] = byte(seed >> (8 * (i % 8)))
	}
	rand.NewChaCha8(key).Read(b)
	return b
}

func write(t *testing.T, d block.Device, off int64, p []byte) {
	t.Helper()
	if n, err := d.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("WriteAt(%d bytes, %d): %d, %v", len(p), off, n, err)
	}
}

func want(t *testing.T, d block.Device, off int64, want []byte) {
	t.Helper()
	got := noise(7, len(want))
	if n, err := d.ReadAt(got, off); n != len(got) || err != nil {
		t.Fatalf("ReadAt(%d bytes, %d): %d, %v", len(got), off, n, err)
	}
	same(t, off, want, got)
	if now, ok := d.(block.NowReader); ok {
		got = noise(8, len(want))
		if now.ReadNow(got, off) {
			same(t, off, want, got)
		}
	}
}

func same(t *testing.T, off int64, want, got []byte) {
	t.Helper()
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %d is %#02x, want %#02x", off+int64(i), got[i], want[i])
		}
	}
}
