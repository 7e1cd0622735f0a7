package iscsi

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks, however many and how often: what is granted in a second is the
// limit, within 5 %.
func TestLimiterRate(t *testing.T) {
	const seconds = 10
	for _, tt := range []struct {
		name   string
		limit  Limit
		askers int
		size   int64
		want   float64 // commands a second
	}{
		{"commands, one at a time", Limit{IOPS: 1000}, 1, 4096, 1000},
		{"commands, many at a time", Limit{IOPS: 1000}, 64, 4096, 1000},
		{"few commands", Limit{IOPS: MinIOPS}, 4, 1 << 20, MinIOPS},
		{"many commands", Limit{IOPS: 200_000}, 64, 512, 200_000},
		{"bytes", Limit{Bytes: 100_000_000}, 8, 100_000, 1000},
		{"few bytes, long commands", Limit{Bytes: 10_000_000}, 8, 1_000_000, 10},
		{"both, commands count", Limit{IOPS: 100, Bytes: 100_000_000}, 8, 4096, 100},
		{"both, bytes count", Limit{IOPS: 1000, Bytes: 10_000_000}, 8, 100_000, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(tt.limit)
				time.Sleep(time.Hour) // what isn't used is lost
				end := time.Now().Add(seconds * time.Second)
				var n atomic.Int64
				var wg sync.WaitGroup
				for range tt.askers {
					wg.Go(func() {
						for {
							time.Sleep(l.wait(l.grant(tt.size)))
							if time.Now().After(end) {
								return
							}
							n.Add(1)
							time.Sleep(time.Microsecond) // the device
						}
					})
				}
				wg.Wait()
				if got := float64(n.Load()) / seconds; got < tt.want*0.95 || got > tt.want*1.05 {
					t.Errorf("%.1f a second, want %.1f", got, tt.want)
				}
			})
		})
	}
}

// Grants are in the order of the asking, so nobody waits forever.
func TestLimiterOrder(t *testing.T) {
	l := newLimiter(Limit{IOPS: 100, Bytes: MinBytes})
	var last time.Duration
	for i := range 1000 {
		due := l.grant(int64(i % 7 * 4096))
		if due < last {
			t.Fatalf("grant %d is due at %v, the one before at %v", i, due, last)
		}
		last = due
	}
}

func TestLimiterDepth(t *testing.T) {
	for _, tt := range []struct {
		limit    Limit
		sessions int
		want     int
	}{
		{Limit{}, 1, 128},
		{Limit{IOPS: 1000}, 1, 128},
		{Limit{IOPS: 10}, 1, 20},
		{Limit{IOPS: 10}, 4, 5},
		{Limit{IOPS: 10}, 64, 2},
		{Limit{Bytes: 20 << 20}, 1, 40},
		{Limit{Bytes: MinBytes}, 1, 2},
		{Limit{IOPS: 50, Bytes: 5 << 20}, 1, 10},
	} {
		if got := newLimiter(tt.limit).depth(128, tt.sessions); got != tt.want {
			t.Errorf("%+v, %d sessions: %d commands, want %d", tt.limit, tt.sessions, got, tt.want)
		}
	}
}
