package faultdev_test

import (
	"bytes"
	"errors"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/blocktest"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

var errTest = errors.New("test")

func newDevice(t *testing.T, o memdev.Options) *faultdev.Device {
	t.Helper()
	d, err := memdev.New(blocktest.MinSize, o)
	if err != nil {
		t.Fatal(err)
	}
	return faultdev.New(d)
}

func TestConformance(t *testing.T) {
	for _, volatile := range []bool{false, true} {
		blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
			d := newDevice(t, memdev.Options{ReadOnly: readOnly})
			if volatile {
				d.Volatile()
			}
			return d
		})
		blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
			d := newDevice(t, memdev.Options{ReadOnly: readOnly})
			if volatile {
				d.Volatile()
			}
			return faultdev.Starter{Device: d}
		})
	}
}

func TestFailNth(t *testing.T) {
	d := newDevice(t, memdev.Options{})
	d.FailNth(faultdev.Read, 2, errTest)
	p := make([]byte, 512)
	for i, want := range []error{nil, errTest, nil} {
		if _, err := d.ReadAt(p, 0); !errors.Is(err, want) {
			t.Errorf("read %d: got %v, want %v", i, err, want)
		}
	}
	if got := d.Calls(faultdev.Read); got != 3 {
		t.Errorf("%d reads, want 3", got)
	}
}

func TestFailRange(t *testing.T) {
	d := newDevice(t, memdev.Options{})
	d.FailRange(faultdev.Write, 1024, 512, errTest)
	for _, tt := range []struct {
		off    int64
		length int
		want   error
	}{{0, 1024, nil}, {0, 1536, errTest}, {1024, 512, errTest}, {1536, 512, nil}, {512, 4096, errTest}} {
		if _, err := d.WriteAt(make([]byte, tt.length), tt.off); !errors.Is(err, tt.want) {
			t.Errorf("write of %d at %d: got %v, want %v", tt.length, tt.off, err, tt.want)
		}
	}
	d.Heal()
	if _, err := d.WriteAt(make([]byte, 512), 1024); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestFlushFailureStays(t *testing.T) {
	d := newDevice(t, memdev.Options{})
	d.FailNth(faultdev.Flush, 1, errTest)
	for range 3 {
		if err := d.Flush(); !errors.Is(err, errTest) {
			t.Errorf("got %v, want %v", err, errTest)
		}
	}
}

func TestHold(t *testing.T) {
	d := newDevice(t, memdev.Options{})
	arrived, release := d.Hold(faultdev.Write)
	done := make(chan error)
	go func() {
		_, err := d.WriteAt(bytes.Repeat([]byte{1}, 512), 0)
		done <- err
	}()
	<-arrived
	p := make([]byte, 512)
	if _, err := d.ReadAt(p, 0); err != nil || p[0] != 0 {
		t.Errorf("while held: read %d, %v", p[0], err)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPowerCut(t *testing.T) {
	d := newDevice(t, memdev.Options{LogicalBlock: 4096})
	d.Volatile()
	write := func(b byte, off int64) {
		t.Helper()
		if _, err := d.WriteAt(bytes.Repeat([]byte{b}, 4096), off); err != nil {
			t.Fatal(err)
		}
	}
	read := func(off int64) []byte {
		t.Helper()
		p := make([]byte, 4096)
		if _, err := d.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write(1, 0)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	write(2, 0)
	write(3, 4096)
	write(4, 8192)
	if got := d.Unflushed(); got != 3 {
		t.Errorf("%d unflushed writes, want 3", got)
	}
	if read(0)[0] != 2 {
		t.Error("a cached write is not read back")
	}
	// The first write is lost, the second is torn, the third survives.
	err := d.PowerCut(func(write, sector int) bool { return write == 2 || write == 1 && sector < 3 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(make([]byte, 4096), 0); !errors.Is(err, faultdev.ErrPowerCut) {
		t.Errorf("without power: got %v, want ErrPowerCut", err)
	}
	d.PowerOn()
	torn := append(bytes.Repeat([]byte{3}, 3*512), make([]byte, 5*512)...)
	for off, want := range map[int64][]byte{
		0: bytes.Repeat([]byte{1}, 4096), 4096: torn, 8192: bytes.Repeat([]byte{4}, 4096),
	} {
		if got := read(off); !bytes.Equal(got, want) {
			t.Errorf("bytes at %d are not as they should be after the cut", off)
		}
	}
}
