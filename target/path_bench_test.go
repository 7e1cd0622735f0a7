package target_test

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
			bc.spec.Addr, bc.spec.Target = serveRAM(b), "iqn.2026-01.org.example:path"
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

func serveRAM(b *testing.B) string {
	dev, err := memdev.New(256<<20, memdev.Options{})
	if err != nil {
		b.Fatal(err)
	}
	unit, err := scsi.NewUnit(dev, scsi.UnitOptions{Identity: scsi.Identity{Serial: "1", NAA: [16]byte{0x60}}})
	if err != nil {
		b.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := srv.Add(target.Config{IQN: "iqn.2026-01.org.example:path", LUNs: []target.LUN{{Unit: unit}}, Initiators: []string{"*"}}); err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return l.Addr().String()
}
