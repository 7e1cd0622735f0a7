package flush

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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

// A flush waits for those who are writing, and then serves them too.
func TestWritesShareAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Group{took: time.Hour}
		var syncs atomic.Int32
		sync1 := func() error {
			syncs.Add(1)
			return nil
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				err := g.Write(func() error { time.Sleep(time.Duration(i+1) * time.Second); return nil }, sync1)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := syncs.Load(); n != 1 {
			t.Errorf("%d flushes for 10 writes", n)
		}
	})
}

// It doesn't wait for longer than a flush takes, and not for writes that fail.
func TestFlushWaitsNotTooLong(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want time.Duration
	}{
		{"a slow write", nil, 10 * time.Millisecond},
		{"a write that fails", errors.New("test"), 5 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := Group{took: 10 * time.Millisecond}
				sync1 := func() error { return nil }
				slow := 5 * time.Millisecond
				if tt.err == nil {
					slow = time.Hour
				}
				other := make(chan error)
				go func() {
					other <- g.Write(func() error { time.Sleep(slow); return tt.err }, sync1)
				}()
				synctest.Wait()
				begun := time.Now()
				if err := g.Write(func() error { return nil }, sync1); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
				if err := <-other; !errors.Is(err, tt.err) {
					t.Errorf("the other: got %v, want %v", err, tt.err)
				}
			})
		})
	}
}

// No write may return before a flush that started after it has ended.
func TestWriteIsCovered(t *testing.T) {
	var g Group
	var written, synced atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				var mine int64
				err := g.Write(func() error { mine = written.Add(1); return nil }, func() error {
					synced.Store(written.Load())
					return nil
				})
				if got := synced.Load(); err != nil || got < mine {
					t.Errorf("write %d acknowledged, only %d synced, %v", mine, got, err)
				}
			}
		})
	}
	wg.Wait()
	if n := g.coming.Load(); n != 0 {
		t.Errorf("%d writes are still expected", n)
	}
}

// The same for those who don't wait, beside those who do.
func TestStart(t *testing.T) {
	var g Group
	var written, synced atomic.Int64
	sync1 := func() error { synced.Store(written.Load()); return nil }
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 500 {
				done := make(chan error, 1)
				if (n+w)%5 == 0 {
					g.Coming()
					g.Gone()
				}
				if w == 0 {
					done <- g.Write(func() error { written.Add(1); return nil }, sync1)
				} else if n%2 == 0 {
					g.Coming()
				}
				mine := written.Add(1)
				switch {
				case w == 0:
					mine = 0 // another write than that which was flushed
				case n%2 == 0:
					g.Written(nil, sync1, func(err error) { done <- err })
				default:
					g.Start(sync1, func(err error) { done <- err })
				}
				err := <-done
				if got := synced.Load(); err != nil || got < mine {
					t.Errorf("write %d acknowledged, only %d synced, %v", mine, got, err)
				}
			}
		})
	}
	wg.Wait()
	if n := g.coming.Load(); n != 0 {
		t.Errorf("%d writes are still expected", n)
	}
}

// A failed flush is what all are told who asked for it, and all later ones.
func TestStartFails(t *testing.T) {
	var g Group
	want := errors.New("test")
	runs := 0
	fail := func() error { runs++; return want }
	told := make(chan error, 10)
	g.Start(fail, func(err error) { told <- err })
	if err := <-told; !errors.Is(err, want) {
		t.Errorf("first: got %v", err)
	}
	g.Start(fail, func(err error) { told <- err })
	g.Coming()
	g.Written(nil, fail, func(err error) { told <- err })
	for range 2 {
		if err := <-told; !errors.Is(err, want) {
			t.Errorf("later: got %v", err)
		}
	}
	other := errors.New("write")
	g.Coming()
	g.Written(other, fail, func(err error) { told <- err })
	if err := <-told; !errors.Is(err, other) {
		t.Errorf("a write that failed: got %v", err)
	}
	if runs != 1 {
		t.Errorf("%d flushes, want 1", runs)
	}
}
