package aio

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const benchSize = 1 << 30

// openBench opens a file of benchSize bytes in build/, whose blocks have all
// been written, for direct I/O. It stays there for the next run.
func openBench(b *testing.B) *os.File {
	b.Helper()
	dir := filepath.Join("..", "..", "..", "..", "build")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, "aio-bench")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if st, err := f.Stat(); err != nil {
		b.Fatal(err)
	} else if st.Size() == benchSize {
		return f
	}
	p := aligned(1 << 20)
	for off := int64(0); off < benchSize; off += int64(len(p)) {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return f
}

type readWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// BenchmarkFile compares blocking calls with requests to the kernel: by load,
// goroutines and way.
func BenchmarkFile(b *testing.B) {
	for _, load := range []load{
		{"read4k", 4 << 10, false, false},
		{"write4k", 4 << 10, true, false},
		{"read256k", 256 << 10, false, true},
		{"write256k", 256 << 10, true, true},
	} {
		for _, goroutines := range []int{1, 16, 32, 64} {
			b.Run(fmt.Sprintf("%s/%d/block", load.name, goroutines), func(b *testing.B) {
				load.run(b, openBench(b), goroutines)
			})
			b.Run(fmt.Sprintf("%s/%d/aio", load.name, goroutines), func(b *testing.B) {
				f, err := open(openBench(b), setup)
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				load.run(b, f, goroutines)
			})
		}
	}
}

type load struct {
	name       string
	size       int64 // of each transfer, in bytes
	write      bool
	sequential bool
}

func (l load) run(b *testing.B, f readWriterAt, goroutines int) {
	var count atomic.Int64
	var wg sync.WaitGroup
	work := func() {
		p := aligned(int(l.size))
		for {
			i := count.Add(1)
			if i > int64(b.N) {
				return
			}
			off := i % (benchSize / l.size) * l.size
			if !l.sequential {
				off = rand.Int64N(benchSize/l.size) * l.size
			}
			var err error
			if l.write {
				_, err = f.WriteAt(p, off)
			} else {
				_, err = f.ReadAt(p, off)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	}
	b.SetBytes(l.size)
	b.ReportAllocs()
	b.ResetTimer()
	start, used := time.Now(), cpu(b)
	for range goroutines {
		wg.Go(work)
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "ops/s")
	b.ReportMetric((cpu(b)-used).Seconds()/float64(b.N)*1e6, "cpu-s/Mop")
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
