package blocktest

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"sanstick/target/block"
)

// mapped compares what a block.Mapper says with what was written.
func mapped(t *testing.T, d block.Device) {
	m, ok := d.(block.Mapper)
	if !ok {
		t.Skip("doesn't know what takes space")
	}
	i := d.Info()
	b := int64(i.LogicalBlock)
	for _, r := range []struct{ off, length int64 }{{-b, b}, {0, 0}, {1, b}, {0, 1}, {i.Size, b}, {0, i.Size + b}, {b, math.MaxInt64 - b + 1}} {
		if _, _, err := m.Mapped(r.off, r.length); !errors.Is(err, block.ErrRange) {
			t.Errorf("Mapped(%d, %d): got %v, want ErrRange", r.off, r.length, err)
		}
	}
	if got := runs(t, m, i); i.CanUnmap && len(got) > 0 {
		t.Errorf("a new device: %d ranges take space", len(got))
	}
	write(t, d, 300<<10, noise(1, 200<<10/i.LogicalBlock*i.LogicalBlock))
	write(t, d, i.Size-b, noise(2, int(b)))
	covered := func(off int64) bool {
		yes, n, err := m.Mapped(off, b)
		if n != b || err != nil {
			t.Fatalf("Mapped(%d, %d) = %d, %v", off, b, n, err)
		}
		return yes
	}
	for off := int64(300 << 10); off < 500<<10/b*b; off += b {
		if !covered(off) {
			t.Errorf("block at %d was written and takes no space", off)
		}
	}
	if !covered(i.Size - b) {
		t.Error("the last block was written and takes no space")
	}
	// What takes none reads as zero, and asking block by block or for all of
	// it is the same.
	taken := make(map[int64]bool)
	for _, r := range runs(t, m, i) {
		for off := r[0]; off < r[1]; off += b {
			taken[off] = true
		}
	}
	buf := make([]byte, b)
	for off := int64(0); off < i.Size; off += b {
		if covered(off) != taken[off] {
			t.Errorf("block at %d: asked alone takes space: %t, with others: %t", off, !taken[off], taken[off])
		}
		if _, err := d.ReadAt(buf, off); err != nil {
			t.Fatal(err)
		}
		if !taken[off] && !bytes.Equal(buf, make([]byte, b)) {
			t.Errorf("block at %d takes no space and isn't zero", off)
		}
	}
}

// runs returns the beginnings and ends of what takes space.
func runs(t *testing.T, m block.Mapper, i block.Info) (taken [][2]int64) {
	t.Helper()
	for off := int64(0); off < i.Size; {
		yes, n, err := m.Mapped(off, i.Size-off)
		if err != nil || n <= 0 || n > i.Size-off || n%int64(i.LogicalBlock) != 0 {
			t.Fatalf("Mapped(%d, %d): %d bytes, %v", off, i.Size-off, n, err)
		}
		if yes {
			taken = append(taken, [2]int64{off, off + n})
		}
		off += n
	}
	return taken
}

// Unmapped tests that what is unmapped takes no space any more, on a device of
// MinSize bytes that gives it back in units of at most 64 KiB and tells to the
// byte.
func Unmapped(t *testing.T, d interface {
	block.Device
	block.Mapper
}) {
	if _, err := d.WriteAt(make([]byte, MinSize), 0); err != nil {
		t.Fatal(err)
	}
	if mapped, n, err := d.Mapped(0, MinSize); !mapped || n != MinSize || err != nil {
		t.Errorf("written: %t, %d bytes, %v", mapped, n, err)
	}
	if err := d.Unmap(64<<10, 128<<10); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		off, n int64
		mapped bool
	}{{0, 64 << 10, true}, {64 << 10, 128 << 10, false}, {100 << 10, 92 << 10, false}, {192 << 10, 832 << 10, true}} {
		if mapped, n, err := d.Mapped(r.off, MinSize-r.off); mapped != r.mapped || n != r.n || err != nil {
			t.Errorf("at %d: %t, %d bytes, %v, want %t, %d", r.off, mapped, n, err, r.mapped, r.n)
		}
	}
}
