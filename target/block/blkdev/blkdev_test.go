package blkdev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/blocktest"
)

// newLoop makes a loop device over a new file of size bytes, with blocks of
// logical bytes. It needs root.
func newLoop(t *testing.T, size int64, logical int) (device, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices need root: run the tests as root")
	}
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", fmt.Sprint(logical), file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device, file
}

func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name string
		disk int
		o    Options
	}{
		{"512", 512, Options{ReadsZero: true}},
		{"4096", 4096, Options{ReadsZero: true}},
		{"4096 on 512", 512, Options{LogicalBlock: 4096}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
				device, _ := newLoop(t, blocktest.MinSize+4096, tt.disk)
				o := tt.o
				o.ReadOnly = readOnly
				d, err := Open(device, o)
				if err != nil {
					t.Fatal(err)
				}
				return d
			})
		})
	}
}

func TestInfo(t *testing.T) {
	device, file := newLoop(t, 8<<20, 512)
	d, err := Open(device, Options{PhysicalBlock: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	i := d.Info()
	if i.Size != 8<<20 || i.LogicalBlock != 512 || i.PhysicalBlock != 4096 || !i.WriteCache || !i.CanUnmap || i.ReadsZero || i.AtomicWrite != 512 || i.AtomicAlign != 512 {
		t.Errorf("got %+v", i)
	}
	// The device grows while it is open.
	if err := os.Truncate(file, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "--set-capacity", device).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	d.start = d.start.Add(-2 * sizeAge) // as if time had passed
	if got := d.Info().Size; got != 16<<20 {
		t.Errorf("size is %d after growing, want %d", got, 16<<20)
	}
}

func TestExclusive(t *testing.T) {
	device, _ := newLoop(t, 1<<20, 512)
	d, err := Open(device, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if second, err := Open(device, Options{ReadOnly: true}); err == nil {
		second.Close()
		t.Error("opened twice")
	} else if !strings.Contains(err.Error(), device) {
		t.Errorf("%q does not name the device", err)
	}
}

func TestLimit(t *testing.T) {
	device, _ := newLoop(t, 1<<20, 512)
	var limit atomic.Int64
	limit.Store(512<<10 + 100)
	d, err := Open(device, Options{Limit: limit.Load})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 4096)
	if n := d.Info().Size; n != 512<<10 {
		t.Errorf("size %d", n)
	}
	if _, err := d.ReadAt(b, 512<<10); !errors.Is(err, block.ErrRange) {
		t.Errorf("beyond the limit: %v", err)
	}
	limit.Store(-1)
	for end := time.Now().Add(10 * sizeAge); d.Info().Size != 1<<20; time.Sleep(sizeAge / 10) {
		if time.Now().After(end) {
			t.Fatal("the limit isn't asked again")
		}
	}
	if _, err := d.ReadAt(b, 512<<10); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	big, _ := newLoop(t, 1<<20, 4096)
	for _, tt := range []struct {
		path string
		o    Options
		want string
	}{
		{file + "-none", Options{}, "no such file"},
		{file, Options{}, "not a block device"},
		{big, Options{LogicalBlock: 512}, "blocks of 4096 bytes can't be presented as blocks of 512"},
	} {
		d, err := Open(tt.path, tt.o)
		if err == nil {
			d.Close()
			t.Errorf("Open(%q, %+v) worked", tt.path, tt.o)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q): %q does not say %q", tt.path, err, tt.want)
		}
	}
}

// used returns the bytes that a file takes on disk.
func used(t *testing.T, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

// Unmapping gives space back to the file below, and zeroing need not take any.
func TestFreesSpace(t *testing.T) {
	device, file := newLoop(t, 4<<20, 512)
	d, err := Open(device, Options{ReadsZero: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fill := func() {
		t.Helper()
		p := make([]byte, 4<<20)
		for i := range p {
			p[i] = 0xa5
		}
		if _, err := d.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for name, free := range map[string]func(off, length int64) error{"Unmap": d.Unmap, "WriteZeroes": d.WriteZeroes} {
		fill()
		full := used(t, file)
		if err := free(1<<20, 2<<20); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
		if now := used(t, file); now > full-1<<20 {
			t.Errorf("%s: the file takes %d bytes, %d before", name, now, full)
		}
	}
}

// A discard may do nothing, in whole or in part, and still succeed.
func TestWriteZeroesWhereDiscardDoesNot(t *testing.T) {
	device, _ := newLoop(t, 4<<20, 512)
	d, err := Open(device, Options{ReadsZero: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	discarded := int64(0)
	d.discard = func(_, length int64) error { discarded += length; return nil }
	want := bytes.Repeat([]byte{0xa5}, 4<<20)
	if _, err := d.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	const off, length = 512, 3<<20 + 1024
	if err := d.WriteZeroes(off, length); err != nil {
		t.Fatal(err)
	}
	if discarded == 0 {
		t.Error("nothing was discarded")
	}
	clear(want[off : off+length])
	got := make([]byte, len(want))
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what the discard left out is not zero, or something else is")
	}
}

func TestInner(t *testing.T) {
	for _, tt := range []struct{ off, length, unit, wantOff, wantLength int64 }{
		{0, 100, 10, 0, 100},
		{5, 100, 10, 10, 90},
		{5, 4, 10, 5, 0},
		{5, 10, 10, 5, 0},
		{5, 15, 10, 10, 10},
		{0, 0, 10, 0, 0},
	} {
		off, length := inner(tt.off, tt.length, tt.unit)
		if off != tt.wantOff || length != tt.wantLength {
			t.Errorf("inner(%d, %d, %d) = %d, %d, want %d, %d", tt.off, tt.length, tt.unit, off, length, tt.wantOff, tt.wantLength)
		}
	}
}

func TestDiscardGranularity(t *testing.T) {
	sys := t.TempDir()
	put := func(name, value string) {
		t.Helper()
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("devices/sda/queue/discard_max_bytes", "2147450880")
	put("devices/sda/queue/discard_granularity", "65536")
	put("devices/sda/sda1/partition", "1")
	put("devices/sdb/queue/discard_max_bytes", "0")
	put("devices/sdb/queue/discard_granularity", "4096")
	if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"8:0": "sda", "8:1": "sda/sda1", "8:16": "sdb"} {
		if err := os.Symlink("../../devices/"+to, filepath.Join(sys, "dev/block", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name         string
		major, minor uint32
		want         int64
	}{
		{"disk", 8, 0, 65536},
		{"partition", 8, 1, 65536},
		{"disk that can't", 8, 16, 0},
		{"unknown", 9, 9, 0},
	} {
		if got := discardGranularity(sys, tt.major, tt.minor); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// What a disk can't read fails for every one of those who read, and what it
// can is right.
func TestMediumErrors(t *testing.T) {
	const size, readable, goroutines = 1 << 20, 512 << 10, 32
	device, file := newLoop(t, size, 512)
	d, err := Open(device, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt(bytes.Repeat([]byte{0xa5}, size), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, readable); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range 20 {
				p := make([]byte, 4096)
				off := int64(g) * size / goroutines
				_, err := d.ReadAt(p, off)
				if off >= readable {
					if !errors.Is(err, block.ErrMedium) || !errors.Is(err, syscall.EIO) {
						t.Errorf("ReadAt(%d): got %v, want ErrMedium and EIO", off, err)
					}
				} else if err != nil || !bytes.Equal(p, bytes.Repeat([]byte{0xa5}, len(p))) {
					t.Errorf("ReadAt(%d): %v, or other bytes", off, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestErrorsNameWhatTheyAre(t *testing.T) {
	device, _ := newLoop(t, 1<<20, 512)
	d, err := Open(device, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.info.CanUnmap = false
	if err := d.Unmap(0, 512); !errors.Is(err, block.ErrNotSupported) {
		t.Errorf("Unmap: got %v, want ErrNotSupported", err)
	}
}
