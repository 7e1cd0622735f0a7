package iscsi

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sanstick/target/scsi"
)

// However greedy some are, something is left for those who ask for little; and
// one who is alone gets the largest command through.
func TestPoolIsFair(t *testing.T) {
	const size, sessions = 32 << 20, 256
	for greedy := range 40 {
		p := newPool(size, sessions)
		all := make([]account, greedy)
		for range 64 {
			for i := range all {
				p.tryAcquire(&all[i], 1<<20)
			}
		}
		var sum int64
		for i := range all {
			sum += all[i].held
		}
		if sum > size {
			t.Fatalf("%d greedy ones have %d bytes of %d", greedy, sum, size)
		}
		var polite account
		if greedy < 12 && !p.tryAcquire(&polite, 1<<20) {
			t.Errorf("nothing left by %d", greedy)
		}
		for range sessions - greedy - 1 {
			if !p.tryAcquire(new(account), p.each) {
				t.Fatalf("someone's own was taken by %d", greedy)
			}
		}
		if greedy == 1 && all[0].held < size/4 {
			t.Errorf("one alone has only %d", all[0].held)
		}
	}
	for _, size := range []int{24 << 20, 32 << 20, 64 << 20} {
		p := newPool(size, sessions)
		if !p.tryAcquire(new(account), scsi.MaxTransfer) {
			t.Errorf("the largest command doesn't fit into %d", size)
		}
	}
}

// One who wants much gets it in the end, though others always want some.
func TestPoolServesLarge(t *testing.T) {
	p := newPool(32<<20, 256)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var a account
			for {
				select {
				case <-stop:
					return
				default:
				}
				if p.acquire(context.Background(), &a, 2<<20) != nil {
					return
				}
				time.Sleep(time.Millisecond)
				p.release(&a, 2<<20)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 5 {
		var a account
		if err := p.acquire(ctx, &a, scsi.MaxTransfer); err != nil {
			t.Fatal(err)
		}
		p.release(&a, scsi.MaxTransfer)
	}
	close(stop)
	wg.Wait()
}

// Nothing is lost, whoever gives up when.
func TestPoolKeepsCount(t *testing.T) {
	p := newPool(32<<20, 16)
	rest := p.free
	var wg sync.WaitGroup
	accounts := make([]account, 8)
	for i := range 32 {
		wg.Go(func() {
			a, r := &accounts[i%8], rand.New(rand.NewPCG(uint64(i), 1))
			for range 300 {
				n := int64(4096) << r.IntN(13)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(200))*time.Microsecond)
				err := p.acquire(ctx, a, n)
				cancel()
				if err == nil {
					p.release(a, n)
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if p.free != rest || len(p.queue) != 0 {
		t.Errorf("%d free of %d, %d waiting", p.free, rest, len(p.queue))
	}
	for i := range accounts {
		if accounts[i].held != 0 {
			t.Errorf("account %d has %d", i, accounts[i].held)
		}
	}
}
