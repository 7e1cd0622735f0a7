package load_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"sanstick/target"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsitest/load"
	"sanstick/target/scsi"
)

const iqn = "iqn.2026-01.org.example:load"

// serve serves RAM until the test ends.
func serve(t testing.TB) string {
	dev, err := memdev.New(64<<20, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(dev, scsi.UnitOptions{Identity: scsi.Identity{Serial: "1", NAA: [16]byte{0x60}}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Add(target.Config{IQN: iqn, LUNs: []target.LUN{{Unit: unit}}, Initiators: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestRun(t *testing.T) {
	addr := serve(t)
	for _, tc := range []struct {
		name string
		spec load.Spec
	}{
		{"random reads", load.Spec{Depth: 8, Size: 4096, Random: true}},
		{"large sequential writes", load.Spec{Depth: 2, Size: 1 << 20, WritePercent: 100}},
		{"a mix with flushes", load.Spec{Sessions: 4, Depth: 4, Size: 8192, Random: true, WritePercent: 30, FlushEvery: 5}},
		{"FUA", load.Spec{Depth: 4, Size: 4096, WritePercent: 100, FUA: true}},
		{"digests", load.Spec{Depth: 4, Size: 65536, WritePercent: 50, HeaderDigest: true, DataDigest: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.spec.Addr, tc.spec.Target, tc.spec.Duration = addr, iqn, 100*time.Millisecond
			r, err := load.Run(context.Background(), tc.spec)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ops == 0 || r.Bytes == 0 || len(r.PerSession) != max(tc.spec.Sessions, 1) || r.Latency.Quantile(0.5) == 0 {
				t.Errorf("nothing was done: %d commands, %d bytes, sessions %v, median %v",
					r.Ops, r.Bytes, r.PerSession, r.Latency.Quantile(0.5))
			}
		})
	}
}

func TestCount(t *testing.T) {
	r, err := load.Run(context.Background(), load.Spec{
		Addr: serve(t), Target: iqn, Sessions: 2, Depth: 7, Size: 4096, WritePercent: 50, Count: 100, Duration: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops != 200 {
		t.Errorf("%d commands in two sessions of 100", r.Ops)
	}
}

func TestRunRefuses(t *testing.T) {
	addr := serve(t)
	for _, s := range []load.Spec{
		{Addr: addr, Target: iqn, Size: 4096},
		{Addr: addr, Target: iqn, Size: 100, Duration: time.Second},
		{Addr: addr, Target: iqn, Size: 4096, WritePercent: 101, Duration: time.Second},
		{Addr: addr, Target: iqn + "x", Size: 4096, Duration: time.Second},
		{Addr: addr, Target: iqn, Size: 4096, LUN: 3, Duration: time.Second},
	} {
		if _, err := load.Run(context.Background(), s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h load.Histogram
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	for _, tc := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Millisecond}, {0.5, 500 * time.Millisecond}, {0.99, 990 * time.Millisecond}, {1, time.Second}} {
		got := h.Quantile(tc.q)
		if got < tc.want || got > tc.want+tc.want/8 {
			t.Errorf("quantile %v is %v, want about %v", tc.q, got, tc.want)
		}
	}
}

// BenchmarkPath is the whole way of a command over loopback, with a RAM disk.
// The initiator, which runs in the same process, allocates nothing for a
// command, so allocations are the target's.
func BenchmarkPath(b *testing.B) {
	for _, bc := range []struct {
		name string
		spec load.Spec
	}{
		{"read 4 KiB", load.Spec{Depth: 32, Size: 4096, Random: true}},
		{"write 4 KiB", load.Spec{Depth: 32, Size: 4096, Random: true, WritePercent: 100}},
		{"read 4 KiB with digests", load.Spec{Depth: 32, Size: 4096, Random: true, HeaderDigest: true, DataDigest: true}},
		{"read 256 KiB", load.Spec{Depth: 16, Size: 256 << 10}},
		{"write 256 KiB", load.Spec{Depth: 16, Size: 256 << 10, WritePercent: 100}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			bc.spec.Addr, bc.spec.Target = serve(b), iqn
			bc.spec.Count, bc.spec.Duration = 2000, time.Minute
			if _, err := load.Run(context.Background(), bc.spec); err != nil { // fills the pools
				b.Fatal(err)
			}
			bc.spec.Count = int64(b.N)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.SetBytes(int64(bc.spec.Size))
			b.ResetTimer()
			if _, err := load.Run(context.Background(), bc.spec); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "allocs/command")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N), "B/command")
		})
	}
}
