package scsi

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sanstick/target/block/memdev"
)

func TestStripesOf(t *testing.T) {
	const s = stripeSize
	for _, tt := range []struct {
		off, n int64
		want   uint64
	}{
		{0, 0, 0},
		{5 * s, 0, 0},
		{0, 512, 1},
		{s - 512, 512, 1},
		{s - 512, 1024, 0b11},
		{s, s, 0b10},
		{s, s + 1, 0b110},
		{63 * s, 2 * s, 1<<63 | 1},
		{64 * s, s, 1},
		{1 << 60, 4096, 1},
		{0, 63 * s, 1<<63 - 1},
		{0, 64 * s, 1<<64 - 1},
		{s / 2, 63 * s, 1<<64 - 1},
		{s / 2, 64 * s, 1<<64 - 1},
		{7 * s, 1 << 50, 1<<64 - 1},
	} {
		if got := stripesOf(tt.off, tt.n); got != tt.want {
			t.Errorf("stripesOf(%d, %d) = %#x, want %#x", tt.off, tt.n, got, tt.want)
		}
	}
	if stripeCount != bits.OnesCount64(1<<stripeCount-1) {
		t.Error("a mask of 64 bits has no room for the stripes")
	}
}

// Ranges of all sizes are taken by many at once: nobody is in one that another
// has to himself, and all get their turn.
func TestRangeLocks(t *testing.T) {
	u := newRig(t, memdev.Options{}, UnitOptions{}).unit
	var in [stripeCount]atomic.Int32 // who is in: -1 alone, else how many
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for range 2000 {
				off := rng.Int64N(200 * stripeSize)
				n := 1 + rng.Int64N([]int64{4096, 4 * stripeSize, 80 * stripeSize}[rng.IntN(3)])
				alone := rng.IntN(3) == 0
				lock := u.share
				if alone {
					lock = u.exclude
				}
				h, bad := lock(off, n)
				if bad.failed() {
					t.Errorf("refused: %+v", bad)
				}
				if err := visit(h, &in); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range in {
		if got := in[i].Load(); got != 0 {
			t.Errorf("stripe %d: %d left inside", i, got)
		}
	}
}

// visit notes who is in the stripes of a range, and releases it.
func visit(h held, in *[stripeCount]atomic.Int32) error {
	defer h.release()
	var err error
	for left := h.stripes; left != 0; left &= left - 1 {
		s := &in[bits.TrailingZeros64(left)]
		if h.exclusive && !s.CompareAndSwap(0, -1) {
			err = fmt.Errorf("stripe %d isn't free", bits.TrailingZeros64(left))
		} else if !h.exclusive && s.Add(1) <= 0 {
			err = fmt.Errorf("stripe %d is another's", bits.TrailingZeros64(left))
		}
	}
	for left := h.stripes; left != 0; left &= left - 1 {
		if s := &in[bits.TrailingZeros64(left)]; h.exclusive {
			s.Store(0)
		} else {
			s.Add(-1)
		}
	}
	return err
}

// A read that waits for a buffer, as its initiator takes no answers, keeps
// nobody from the blocks, and the unit can be taken away.
func TestReadWaitsForBufferWithoutLocks(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	n := r.newNexus(t)
	task := n.NewTask([8]byte{}, cdb("28 00 00000000 00 0001 00"))
	waiting, buffer, done := make(chan struct{}), make(chan []byte), make(chan Result)
	go func() {
		done <- task.Run(nil, AllocFunc(func(n int) []byte {
			close(waiting)
			return (<-buffer)[:n]
		}))
	}()
	<-waiting
	free := make(chan struct{})
	go func() {
		defer close(free)
		h, bad := r.unit.exclude(0, 4096)
		if bad.failed() {
			t.Errorf("cannot lock: %+v", bad)
		}
		h.release()
		if err := r.dev.Detach(0); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-free:
	case <-time.After(5 * time.Second):
		t.Error("a read that waits for a buffer holds the blocks, or the unit")
	}
	buffer <- make([]byte, 512)
	wantSense(t, <-done, illegalRequest, lunNotSupported)
}
