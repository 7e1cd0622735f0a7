package scsi

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"sanstick/target/block/memdev"
)

// After a power cut that loses any part of what wasn't flushed, every sector
// holds what was last acknowledged as durable, or something written later.
func TestPowerCuts(t *testing.T) {
	const (
		blocks = 16
		size   = 4096
	)
	for seed := range uint64(400) {
		starts := seed%2 == 1
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newSizedRig(t, blocks*size, memdev.Options{LogicalBlock: size}, UnitOptions{Thin: true})
		r.fault.Volatile()
		var written [blocks]uint64 // the number of the last write
		var durable [blocks]uint64 // the last one that must survive
		for n := uint64(1); n <= 40; n++ {
			lba := rng.Uint64N(blocks)
			count := 1 + rng.Uint64N(min(3, blocks-lba))
			kind := rng.IntN(8)
			if kind == 0 {
				if got := r.doOr(starts, cdb("35"), nil); got.Status != Good {
					t.Fatalf("flush: %v", got.Status)
				}
				durable = written
				continue
			}
			flags := byte(0)
			if kind == 1 {
				flags = 0x08 // FUA
			}
			r.writeNumbered(t, lba, count, n, flags, starts)
			for i := lba; i < lba+count; i++ {
				written[i] = n
				if kind == 1 {
					durable[i] = n
				}
			}
		}
		if err := r.fault.PowerCut(func(int, int) bool { return rng.IntN(2) == 0 }); err != nil {
			t.Fatal(err)
		}
		r.fault.PowerOn()
		for lba := range uint64(blocks) {
			got := r.do(transfer(0x88, lba, 1, 0), nil).Data
			for at := 0; at < size; at += 512 {
				n, of := binary.BigEndian.Uint64(got[at:]), binary.BigEndian.Uint64(got[at+8:])
				if n < durable[lba] || n > written[lba] || (n != 0 && of != lba) {
					t.Fatalf("seed %d: block %d, byte %d: holds write %d (block %d), must be of %d to %d",
						seed, lba, at, n, of, durable[lba], written[lba])
				}
			}
		}
	}
}

// writeNumbered writes blocks whose sectors say which write they are of.
func (r *rig) writeNumbered(t *testing.T, lba, count, n uint64, flags byte, starts bool) {
	t.Helper()
	data := make([]byte, count*4096)
	for at := 0; at < len(data); at += 512 {
		binary.BigEndian.PutUint64(data[at:], n)
		binary.BigEndian.PutUint64(data[at+8:], lba+uint64(at/4096))
	}
	if got := r.doOr(starts, transfer(0x8a, lba, uint32(count), flags), data); got.Status != Good {
		t.Fatalf("write: %v", got.Status)
	}
}
