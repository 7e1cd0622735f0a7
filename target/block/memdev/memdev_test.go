package memdev_test

import (
	"errors"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/blocktest"
	"sanstick/target/block/memdev"
)

func TestConformance(t *testing.T) {
	for _, size := range []int{512, 4096} {
		blocktest.Run(t, func(t *testing.T, readOnly bool) block.Device {
			d, err := memdev.New(blocktest.MinSize+int64(size), memdev.Options{LogicalBlock: size, ReadOnly: readOnly})
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		size int64
		o    memdev.Options
	}{
		{0, memdev.Options{}},
		{-512, memdev.Options{}},
		{513, memdev.Options{}},
		{512, memdev.Options{LogicalBlock: 4096}},
		{4096, memdev.Options{LogicalBlock: 1024}},
		{4096, memdev.Options{LogicalBlock: 4096, PhysicalBlock: 512}},
		{4096, memdev.Options{PhysicalBlock: 3 * 512}},
	} {
		if d, err := memdev.New(tt.size, tt.o); err == nil {
			t.Errorf("New(%d, %+v) = %v, want an error", tt.size, tt.o, d)
		}
	}
}

func TestSparse(t *testing.T) {
	const size = 16 << 40
	d, err := memdev.New(size, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	buf[0] = 1
	for _, off := range []int64{0, size / 2, size - 1<<20} {
		if _, err := d.WriteAt(buf, off); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := d.Allocated(), int64(3<<20); got != want {
		t.Errorf("allocated %d bytes, want %d", got, want)
	}
	if err := d.Unmap(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got, want := d.Allocated(), int64(2<<20); got != want {
		t.Errorf("after Unmap: allocated %d bytes, want %d", got, want)
	}
}

func TestGrow(t *testing.T) {
	d, err := memdev.New(1024, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Grow(2048); err != nil {
		t.Fatal(err)
	}
	if got := d.Info().Size; got != 2048 {
		t.Errorf("size is %d, want 2048", got)
	}
	for _, size := range []int64{1024, 2049} {
		if err := d.Grow(size); !errors.Is(err, block.ErrRange) {
			t.Errorf("Grow(%d): got %v, want ErrRange", size, err)
		}
	}
}

func TestUnmapped(t *testing.T) {
	d, err := memdev.New(blocktest.MinSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	blocktest.Unmapped(t, d)
}
