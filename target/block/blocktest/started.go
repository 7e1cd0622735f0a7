package blocktest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"unsafe"

	"sanstick/target/block"
)

// started tests a Starter: what is started does what the methods do.
func started(t *testing.T, d block.Device) {
	s, ok := d.(block.Starter)
	if !ok {
		return
	}
	const (
		workers = 4
		rounds  = 30
		each    = 16 // started together
	)
	i := d.Info()
	b := i.LogicalBlock
	part := MinSize / workers
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			model := make([]byte, part)
			begun := 0
			for round := range rounds {
				n, err := workOn(d, s, int64(w*part), model, b, each, uint64(w*1000+round))
				if begun += n; err != nil {
					t.Errorf("worker %d, round %d: %v", w, round, err)
					return
				}
			}
			if begun > 0 != s.CanStart() {
				t.Errorf("%d were started, and CanStart is %v", begun, s.CanStart())
			}
		})
	}
	wg.Wait()
	for _, r := range []struct{ off, length int64 }{{-int64(b), int64(b)}, {1, int64(b)}, {0, int64(b) - 1}, {i.Size, int64(b)}} {
		for _, op := range []block.Op{block.OpReadAt, block.OpWriteAt, block.OpWriteForced} {
			x := &block.Transfer{Op: op, P: Memory(int(r.length)), Off: r.off, Done: func(error) { t.Error("Done of what wasn't started") }}
			if s.Start(x) {
				t.Errorf("operation %d of %d bytes at %d was started", op, r.length, r.off)
			}
		}
	}
	s.Submit() // nothing
}

// workOn starts reads, writes and flushes of a part that belongs to it, and keeps
// its model up to date. It returns how many were started.
func workOn(d block.Device, s block.Starter, at int64, model []byte, b, count int, seed uint64) (begun int, err error) {
	type call struct {
		x    block.Transfer
		want []byte
	}
	calls := make([]call, count)
	done := make(chan error, count)
	size := len(model) / count // each has its own, so their order doesn't matter
	for n := range calls {
		c := &calls[n]
		off := n * size
		blocks := 1 + int(seed+uint64(n))%(size/b)
		c.x = block.Transfer{Op: block.Op((seed + uint64(n)) % 4), P: Memory(blocks * b), Off: at + int64(off), Done: func(err error) { done <- err }}
		switch c.x.Op {
		case block.OpReadAt:
			c.want = bytes.Clone(model[off : off+len(c.x.P)])
		case block.OpWriteAt, block.OpWriteForced:
			copy(c.x.P, noise(seed*100+uint64(n), len(c.x.P)))
			copy(model[off:], c.x.P)
		case block.OpFlush:
			c.x.P = nil
		}
		if s.Start(&c.x) {
			begun++
			continue
		}
		if err := instead(d, &c.x); err != nil {
			return begun, fmt.Errorf("in place of Start: %w", err)
		}
	}
	s.Submit()
	for range begun {
		if e := <-done; e != nil {
			err = e
		}
	}
	if err != nil {
		return begun, err
	}
	for n := range calls {
		if c := &calls[n]; c.want != nil && !bytes.Equal(c.x.P, c.want) {
			return begun, fmt.Errorf("%d bytes at %d are not what was written", len(c.want), c.x.Off)
		}
	}
	got := make([]byte, len(model))
	if _, err := d.ReadAt(got, at); err != nil {
		return begun, err
	}
	if !bytes.Equal(got, model) {
		return begun, fmt.Errorf("what is read is not what was written")
	}
	return begun, nil
}

// instead does what couldn't be started.
func instead(d block.Device, x *block.Transfer) error {
	var err error
	switch x.Op {
	case block.OpReadAt:
		_, err = d.ReadAt(x.P, x.Off)
	case block.OpWriteAt:
		_, err = d.WriteAt(x.P, x.Off)
	case block.OpWriteForced:
		_, err = d.(block.ForceWriter).WriteForced(x.P, x.Off)
	case block.OpFlush:
		err = d.Flush()
	}
	return err
}

// Memory returns n bytes that begin on a multiple of 4096, as direct I/O wants
// them.
func Memory(n int) []byte {
	p := make([]byte, n+4096)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(p))) & 4095)
	return p[skip : skip+n : skip+n]
}
