package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sanstick/appliance/image"
	"sanstick/appliance/sys"
)

// writers is how many writes are under way at a time.
const writers = 2

// A Copy fills a device with what a source gives.
type Copy struct {
	To   Device
	From image.Source
	// Start is where From begins.
	Start int64
	// Blank says that the device reads as zeros from Start on, except for what
	// an earlier run has written of the same source.
	Blank bool
	// Save, if not nil, is called every Period, and at the end, with how far
	// everything is on stable storage. It is not called concurrently.
	Save   func(ctx context.Context, done int64) error
	Period time.Duration
	// Tell, if not nil, is called with how far it is, by several goroutines at a time.
	Tell func(done int64)
}

// Run copies. When it returns without an error, the device holds the source's
// bytes, zeros behind them, and all of it is on stable storage; size is how
// many bytes the source had.
func (c Copy) Run(ctx context.Context) (size int64, err error) {
	if c.Start%image.Window != 0 {
		return 0, fmt.Errorf("cannot copy from byte %d on: it lies within a window", c.Start)
	}
	if err := fits(c.From.Size(), c.To.Size()); err != nil {
		return 0, err
	}
	r := &copying{Copy: c, size: c.Start, low: c.Start, ends: map[int64]int64{}, saved: time.Now()}
	g, ctx := errgroup.WithContext(ctx)
	free, filled := make(chan []byte, buffers), make(chan window)
	for range buffers {
		free <- sys.AlignedBuffer(image.Window)
	}
	g.Go(func() error {
		defer close(filled)
		return r.read(ctx, free, filled)
	})
	for range writers {
		g.Go(func() error { return r.write(ctx, free, filled) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil && r.low != r.size {
		return 0, err
	}
	return r.size, nil
}

// Finish makes what follows the source's bytes zero, if it isn't known to be,
// and brings everything to stable storage.
func (c Copy) Finish(ctx context.Context, size int64) error {
	end := roundUp(size)
	if !c.Blank && end < c.To.Size() {
		if err := zero(ctx, c.To, end, c.To.Size()-end, sys.AlignedBuffer(image.Window)); err != nil {
			return err
		}
	}
	return flush(c.To)
}

func flush(d Device) error {
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot flush the volume: %w", err)
	}
	return nil
}

func fits(size, room int64) error {
	if size > room {
		return fmt.Errorf("the disk of %d bytes doesn't fit into the volume of %d bytes", size, room)
	}
	return nil
}

func roundUp(n int64) int64 { return (n + sector - 1) / sector * sector }

// window is a piece of the source on its way.
type window struct {
	off, n int64
	zero   bool
	buf    []byte // always given back
}

// copying is a Copy that runs.
type copying struct {
	Copy
	size int64 // what has been read; written by read alone, read after the end

	mu     sync.Mutex
	low    int64           // everything below is written
	ends   map[int64]int64 // of windows above low that are written, by their offset
	saved  time.Time       // when Save was called last
	saving bool
}

// read fills windows in order.
func (r *copying) read(ctx context.Context, free <-chan []byte, filled chan<- window) error {
	for {
		var w window
		select {
		case w.buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		w.off = r.size
		w.n, w.zero, err = r.From.Next(w.buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the image: %w", err)
		}
		r.size += w.n
		if err := fits(r.size, r.To.Size()); err != nil {
			return err
		}
		select {
		case filled <- w:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write empties windows.
func (r *copying) write(ctx context.Context, free chan<- []byte, filled <-chan window) error {
	for w := range filled {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.put(ctx, w); err != nil {
			return err
		}
		free <- w.buf
		if err := r.done(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (r *copying) put(ctx context.Context, w window) error {
	if w.zero {
		if r.Blank {
			return nil
		}
		return zero(ctx, r.To, w.off, roundUp(w.n), w.buf)
	}
	end := roundUp(w.n)
	clear(w.buf[w.n:end])
	return image.Pieces(w.buf[:end], func(off int, run []byte, isZero bool) error {
		at := w.off + int64(off)
		if isZero && r.Blank {
			return nil
		}
		if isZero {
			// run is zero and may be overwritten: it is compared, and zero again.
			return zero(ctx, r.To, at, int64(len(run)), run)
		}
		if _, err := r.To.WriteAt(run, at); err != nil {
			return fmt.Errorf("cannot write to the volume at byte %d: %w", at, err)
		}
		return nil
	})
}

// done notes that a window is written.
func (r *copying) done(ctx context.Context, w window) error {
	r.mu.Lock()
	r.ends[w.off] = w.off + w.n
	for end, ok := r.ends[r.low]; ok; end, ok = r.ends[r.low] {
		delete(r.ends, r.low)
		r.low = end
	}
	low := r.low
	save := r.Save != nil && !r.saving && time.Since(r.saved) >= r.Period
	r.saving = r.saving || save
	r.mu.Unlock()
	if r.Tell != nil {
		r.Tell(low)
	}
	if !save {
		return nil
	}
	// All writes below low have ended, so the flush covers them.
	err := flush(r.To)
	if err == nil {
		err = r.Save(ctx, low/image.Window*image.Window)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saving, r.saved = false, time.Now()
	return err
}

// zero makes a range zero, using buf. It reads first, because where nothing
// was ever written, writing would take space for nothing.
func zero(ctx context.Context, d Device, off, n int64, buf []byte) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(n, int64(len(buf)))]
		if _, err := d.ReadAt(part, off); err != nil {
			return fmt.Errorf("cannot read the volume at byte %d: %w", off, err)
		}
		if !image.IsZero(part) {
			clear(part)
			if _, err := d.WriteAt(part, off); err != nil {
				return fmt.Errorf("cannot write to the volume at byte %d: %w", off, err)
			}
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}
