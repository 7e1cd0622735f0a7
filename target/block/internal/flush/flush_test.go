package flush

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// No call may return before a sync that started after the call has ended.
func TestCovers(t *testing.T) {
	var g Group
	var written, synced atomic.Int64
	sync1 := func() error {
		synced.Store(written.Load()) // one at a time, so the last is the largest
		return nil
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				mine := written.Add(1)
				if err := g.Do(sync1); err != nil {
					t.Error(err)
				}
				if got := synced.Load(); got < mine {
					t.Errorf("write %d acknowledged, only %d synced", mine, got)
				}
			}
		})
	}
	wg.Wait()
}

// Whoever waits while a sync fails must not be told that it worked.
func TestFailureReachesAllAndStays(t *testing.T) {
	var g Group
	want := errors.New("test")
	begun, proceed := make(chan struct{}), make(chan struct{})
	var runs atomic.Int32
	fail := func() error {
		if runs.Add(1) == 1 {
			close(begun)
		}
		<-proceed
		return want
	}
	var wg sync.WaitGroup
	do := func() {
		if err := g.Do(fail); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	wg.Go(do)
	<-begun
	for range 10 {
		wg.Go(do)
	}
	close(proceed)
	wg.Wait()
	if err := g.Do(func() error { return nil }); !errors.Is(err, want) {
		t.Errorf("later: got %v, want %v", err, want)
	}
	if got := runs.Load(); got != 1 {
		t.Errorf("%d runs, want 1", got)
	}
}
