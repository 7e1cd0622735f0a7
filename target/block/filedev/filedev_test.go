package filedev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
	"sanstick/target/block/blocktest"
)

func newFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t *testing.T, path string, o Options) *Device {
	t.Helper()
	d, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	for _, size := range []int{512, 4096} {
		blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
			return mustOpen(t, newFile(t, blocktest.MinSize+int64(size)), Options{LogicalBlock: size, ReadOnly: readOnly})
		})
	}
}

// Direct I/O, on whatever file system the sources lie: temporary files may be
// in RAM.
func TestConformanceDirect(t *testing.T) {
	dir, err := os.MkdirTemp(".", "direct-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
		path := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, blocktest.MinSize+4096); err != nil {
			t.Fatal(err)
		}
		return mustOpen(t, path, Options{LogicalBlock: 4096, ReadOnly: readOnly, Direct: true})
	})
}

// A file system that can't punch holes.
func TestConformanceWithoutHoles(t *testing.T) {
	blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
		d := mustOpen(t, newFile(t, blocktest.MinSize), Options{ReadOnly: readOnly})
		d.info.CanUnmap, d.info.ReadsZero, d.info.UnmapGranularity = false, false, 0
		return d
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := newFile(t, 1<<20)
	for _, tt := range []struct {
		path string
		o    Options
		want string
	}{
		{filepath.Join(dir, "none"), Options{}, "no such file"},
		{dir, Options{ReadOnly: true}, "not a regular file"},
		{newFile(t, 0), Options{}, "not a positive multiple"},
		{newFile(t, 1<<20+512), Options{LogicalBlock: 4096}, "not a positive multiple of the block size 4096"},
		{file, Options{LogicalBlock: 520}, "neither 512 nor 4096"},
		{file, Options{PhysicalBlock: 5000}, "not a power of two"},
	} {
		d, err := Open(tt.path, tt.o)
		if err == nil {
			d.Close()
			t.Errorf("Open(%q, %+v) worked", tt.path, tt.o)
		} else if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("Open(%q): %q does not say %q and the path", tt.path, err, tt.want)
		}
	}
}

func TestOneWriter(t *testing.T) {
	path := newFile(t, 1<<20)
	d := mustOpen(t, path, Options{})
	if second, err := Open(path, Options{}); err == nil {
		second.Close()
		t.Error("opened twice for writing")
	}
	if second, err := Open(path, Options{ReadOnly: true}); err == nil {
		second.Close()
		t.Error("opened for reading while open for writing")
	}
	d.Close()
	one := mustOpen(t, path, Options{ReadOnly: true})
	defer one.Close()
	two := mustOpen(t, path, Options{ReadOnly: true})
	defer two.Close()
}

func TestGrows(t *testing.T) {
	path := newFile(t, 1<<20)
	d := mustOpen(t, path, Options{})
	defer d.Close()
	if err := os.Truncate(path, 2<<20+100); err != nil {
		t.Fatal(err)
	}
	d.start = d.start.Add(-2 * sizeAge) // as if time had passed
	if got := d.Info().Size; got != 2<<20 {
		t.Errorf("size is %d, want %d", got, 2<<20)
	}
}

// A file that has lost its end must not read as anything.
func TestShrunk(t *testing.T) {
	path := newFile(t, 1<<20)
	d := mustOpen(t, path, Options{})
	defer d.Close()
	if err := os.Truncate(path, 512); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(make([]byte, 4096), 0); !errors.Is(err, block.ErrMedium) {
		t.Errorf("ReadAt: got %v, want ErrMedium", err)
	}
}

func TestFlushFailureStays(t *testing.T) {
	d := mustOpen(t, newFile(t, 1<<20), Options{})
	defer d.Close()
	works := d.sync
	d.sync = func() error { return unix.EIO }
	first := d.Flush()
	if !errors.Is(first, block.ErrMedium) || !errors.Is(first, unix.EIO) {
		t.Errorf("Flush: got %v, want ErrMedium and EIO", first)
	}
	d.sync = works
	if err := d.Flush(); err == nil || err.Error() != first.Error() {
		t.Errorf("later Flush: got %v, want %v", err, first)
	}
	if _, err := d.WriteForced(make([]byte, 512), 0); err == nil || err.Error() != first.Error() {
		t.Errorf("later WriteForced: got %v, want %v", err, first)
	}
}

func TestFullFileSystem(t *testing.T) {
	d := mustOpen(t, newFile(t, 1<<20), Options{})
	defer d.Close()
	d.sync = func() error { return unix.ENOSPC }
	if err := d.Flush(); !errors.Is(err, block.ErrNoSpace) {
		t.Errorf("Flush: got %v, want ErrNoSpace", err)
	}
}

// Flushes that wait for a running one are served by one more.
func TestFlushesShare(t *testing.T) {
	d := mustOpen(t, newFile(t, 1<<20), Options{})
	defer d.Close()
	var runs atomic.Int32
	begun, proceed := make(chan struct{}, 100), make(chan struct{})
	d.sync = func() error {
		runs.Add(1)
		begun <- struct{}{}
		<-proceed
		return nil
	}
	var wg sync.WaitGroup
	flush := func() {
		if err := d.Flush(); err != nil {
			t.Error(err)
		}
	}
	wg.Go(flush)
	<-begun
	for range 20 {
		wg.Go(flush)
	}
	time.Sleep(20 * time.Millisecond) // most of them wait by now
	close(proceed)
	wg.Wait()
	if got := runs.Load(); got >= 21 {
		t.Errorf("%d runs for 21 flushes: none was shared", got)
	}
}

func TestUnmapped(t *testing.T) {
	d := mustOpen(t, newFile(t, blocktest.MinSize), Options{})
	defer d.Close()
	blocktest.Unmapped(t, d)
}

// What was just written is in the page cache, or in RAM, and is read at once;
// past the page cache nothing is.
func TestReadNow(t *testing.T) {
	dir, err := os.MkdirTemp(".", "now-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	onDisk, inRAM := filepath.Join(dir, "disk"), filepath.Join("/dev/shm", "sanstick-"+filepath.Base(dir))
	t.Cleanup(func() { os.Remove(inRAM) })
	for _, tt := range []struct {
		name, path string
		direct     bool
		want       bool
	}{
		{"page cache", onDisk, false, true},
		{"RAM", inRAM, false, true},
		{"direct", onDisk, true, false},
	} {
		if err := os.WriteFile(tt.path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, tt.path, Options{LogicalBlock: 4096, Direct: tt.direct})
		p := make([]byte, 8192)
		p[0] = 7
		if _, err := d.WriteAt(p, 4096); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8192)
		if ok := d.ReadNow(got, 4096); ok != tt.want || ok && got[0] != 7 {
			t.Errorf("%s: ReadNow is %v, %d", tt.name, ok, got[0])
		}
		d.Close()
	}
}
