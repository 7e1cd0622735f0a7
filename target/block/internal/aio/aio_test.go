package aio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aligned returns n bytes that begin where direct I/O wants them to.
func aligned(n int) []byte {
	const align = 4096
	p := make([]byte, n+align)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(p))) & (align - 1))
	return p[skip : skip+n : skip+n]
}

// newDisk returns a file of size bytes, open for direct I/O. It lies where the
// sources do: temporary files may be in RAM.
func newDisk(t *testing.T, size int64) *os.File {
	t.Helper()
	dir, err := os.MkdirTemp(".", "aio-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f, err := os.OpenFile(filepath.Join(dir, "disk"), os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

// Each of many goroutines has a part of the file, and finds there what it has
// written.
func TestIntegrity(t *testing.T) {
	const (
		goroutines = Limit + 32
		part       = 256 << 10
		rounds     = 12
		unit       = 4096
	)
	disk := newDisk(t, goroutines*part)
	f := mustOpen(t, disk, nil)
	want := make([]byte, goroutines*part)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			mine := want[g*part : (g+1)*part]
			p := aligned(part)
			for range rounds {
				n := (1 + r.IntN(part/unit/4)) * unit
				off := r.IntN((part-n)/unit+1) * unit
				if r.IntN(2) == 0 {
					first := byte(r.Uint32())
					for i := range n {
						p[i] = first + byte(i>>9)
					}
					copy(mine[off:], p[:n])
					if done, err := f.WriteAt(p[:n], int64(g*part+off)); done != n || err != nil {
						t.Errorf("WriteAt: %d of %d bytes, %v", done, n, err)
						return
					}
				}
				clear(p[:n])
				if done, err := f.ReadAt(p[:n], int64(g*part+off)); done != n || err != nil {
					t.Errorf("ReadAt: %d of %d bytes, %v", done, n, err)
					return
				}
				if !bytes.Equal(p[:n], mine[off:off+n]) {
					t.Errorf("part %d: %d bytes at %d are not what was written", g, n, off)
					return
				}
			}
		})
	}
	wg.Wait()
	got := aligned(len(want))
	if _, err := disk.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the file as a whole is not what was written")
	}
}

// What a call returns is what os.File returns.
func TestLikeOSFile(t *testing.T) {
	disk := newDisk(t, 8192)
	readOnly, err := os.OpenFile(disk.Name(), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) {
			for _, tt := range []struct {
				name   string
				file   *os.File
				write  bool
				length int
				off    int64
			}{
				{"read", disk, false, 4096, 4096},
				{"read over the end", disk, false, 8192, 4096},
				{"read behind the end", disk, false, 4096, 8192},
				{"read far behind the end", disk, false, 4096, 1 << 30},
				{"read nothing", disk, false, 0, 0},
				{"read before the start", disk, false, 4096, -4096},
				{"read where no block begins", disk, false, 4096, 100},
				{"read part of a block", disk, false, 100, 0},
				{"write", disk, true, 4096, 0},
				{"write nothing", disk, true, 0, 0},
				{"write before the start", disk, true, 4096, -4096},
				{"write where no block begins", disk, true, 4096, 100},
				{"write read-only", readOnly, true, 4096, 0},
				{"read read-only", readOnly, false, 4096, 0},
			} {
				t.Run(tt.name, func(t *testing.T) {
					f := mustOpen(t, tt.file, nil)
					if !alone {
						notAlone(t, f)
					}
					p := aligned(tt.length)
					got := f.ReadAt
					want := tt.file.ReadAt
					if tt.write {
						got, want = f.WriteAt, tt.file.WriteAt
					}
					wantN, wantErr := want(p, tt.off)
					gotN, gotErr := got(p, tt.off)
					if gotN != wantN || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
						t.Errorf("got %d, %v, want %d, %v", gotN, gotErr, wantN, wantErr)
					}
					var g, w unix.Errno
					if errors.As(gotErr, &g) != errors.As(wantErr, &w) || g != w || errors.Is(gotErr, io.EOF) != errors.Is(wantErr, io.EOF) {
						t.Errorf("got error %#v, want %#v", gotErr, wantErr)
					}
				})
			}
		})
	}
}

// What the kernel says of a transfer reaches the caller; what it leaves undone
// is done.
func TestResults(t *testing.T) {
	const size = 8192
	for _, tt := range []struct {
		name   string
		result int64
		want   error // nil: all is moved
	}{
		{"all", size, nil},
		{"a part", 4096, nil},
		{"nothing", 0, nil},
		{"interrupted", -int64(unix.EINTR), nil},
		{"again", -int64(unix.EAGAIN), nil},
		{"I/O error", -int64(unix.EIO), unix.EIO},
		{"full", -int64(unix.ENOSPC), unix.ENOSPC},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := newDisk(t, size)
			f := mustOpen(t, disk, &fakeKernel{at: func(*controlBlock) int64 { return tt.result }})
			notAlone(t, f)
			p := aligned(size)
			for i := range p {
				p[i] = 1
			}
			n, err := f.WriteAt(p, 0)
			if tt.want != nil {
				if n != 0 || !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), "write ") {
					t.Errorf("WriteAt: %d, %v, want %v", n, err, tt.want)
				}
				if n, err := f.ReadAt(p, 0); n != 0 || !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), "read ") {
					t.Errorf("ReadAt: %d, %v, want %v", n, err, tt.want)
				}
				return
			}
			if n != size || err != nil {
				t.Errorf("WriteAt: %d, %v", n, err)
			}
			want := make([]byte, size) // the fake kernel has moved nothing
			for i := max(0, tt.result); i < size; i++ {
				want[i] = 1
			}
			if _, err := disk.ReadAt(p, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p, want) {
				t.Error("not all that was left has been written")
			}
		})
	}
}

// A request that the kernel doesn't take is done all the same.
func TestRefused(t *testing.T) {
	for _, k := range []*fakeKernel{
		{refusal: unix.EAGAIN},
		{refusal: unix.EINVAL},
		{accept: 1, at: func(c *controlBlock) int64 { return 0 }},
		{accept: 3, at: func(c *controlBlock) int64 { return 0 }},
	} {
		const goroutines = 64
		disk := newDisk(t, goroutines*4096)
		f := mustOpen(t, disk, k)
		notAlone(t, f)
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				p := aligned(4096)
				p[0] = byte(g + 1)
				if n, err := f.WriteAt(p, int64(g)*4096); n != 4096 || err != nil {
					t.Errorf("WriteAt: %d, %v", n, err)
				}
			})
		}
		wg.Wait()
		p := aligned(goroutines * 4096)
		if _, err := disk.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		for g := range goroutines {
			if p[g*4096] != byte(g+1) {
				t.Errorf("block %d was not written", g)
			}
		}
	}
}

func TestLimit(t *testing.T) {
	k := &fakeKernel{}
	f := mustOpen(t, newDisk(t, 4096), k)
	const goroutines = 2*Limit + 10
	notAlone(t, f) // takes one place
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			if n, err := f.ReadAt(aligned(4096), 0); n != 4096 || err != nil {
				t.Errorf("ReadAt: %d, %v", n, err)
			}
		})
	}
	taken := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.taken)
	}
	for deadline := time.Now().Add(10 * time.Second); taken() < Limit-1; {
		if time.Now().After(deadline) {
			t.Fatalf("the kernel has %d requests, want %d", taken(), Limit-1)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // more of them would have come
	k.mu.Lock()
	k.at = func(c *controlBlock) int64 { return int64(c.length) }
	k.end(k.at)
	k.mu.Unlock()
	wg.Wait()
	if k.most > Limit-1 {
		t.Errorf("the kernel had %d requests at a time, want at most %d", k.most, Limit-1)
	}
}

func TestWithoutAIO(t *testing.T) {
	for _, e := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EAGAIN, unix.ENOMEM} {
		f := newFile(newDisk(t, 64*4096), func(int) (kernel, error) { return nil, e })
		if f.kernel != nil {
			t.Fatalf("%v: there is a kernel", e)
		}
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				p, got := aligned(4096), aligned(4096)
				p[0] = byte(g + 1)
				if n, err := f.WriteAt(p, int64(g)*4096); n != 4096 || err != nil {
					t.Errorf("WriteAt: %d, %v", n, err)
				}
				if n, err := f.ReadAt(got, int64(g)*4096); n != 4096 || err != nil || got[0] != byte(g+1) {
					t.Errorf("ReadAt: %d, %v", n, err)
				}
			})
		}
		wg.Wait()
		if n, err := f.ReadAt(aligned(4096), 64*4096); n != 0 || err != io.EOF {
			t.Errorf("ReadAt: %d, %v, want EOF", n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Nothing is left after Close, and the file below stays open.
func TestClose(t *testing.T) {
	disk := newDisk(t, 4096)
	f := New(disk)
	if f.kernel == nil {
		t.Fatal("this kernel has no AIO, or fs.aio-max-nr is reached")
	}
	if n, err := f.kernel.submit(nil); n != 0 || err != nil {
		t.Fatalf("submit of nothing: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-f.ended:
	default:
		t.Error("a goroutine still waits for events")
	}
	if _, err := f.kernel.submit(nil); !errors.Is(err, unix.EINVAL) {
		t.Errorf("submit after Close: got %v, want EINVAL", err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Close: got %v, want ErrClosed", err)
	}
	if _, err := disk.ReadAt(aligned(4096), 0); err != nil {
		t.Error(err)
	}
	k := &fakeKernel{}
	f, err := open(disk, k.setup)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil || !k.destroyed {
		t.Errorf("Close: %v, destroyed: %v", err, k.destroyed)
	}
}

func TestAllocations(t *testing.T) {
	f := mustOpen(t, newDisk(t, 4096), nil)
	notAlone(t, f)
	p := aligned(4096)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := f.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations for each request", n)
	}
}
