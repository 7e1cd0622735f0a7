package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/memdev"
)

// torn is a device on which a write of several blocks is done block by block,
// with others let in between, and a read too.
type torn struct{ block.Device }

func (d torn) WriteAt(p []byte, off int64) (int, error) {
	return pieces(p, off, d.Device.WriteAt)
}

func (d torn) ReadAt(p []byte, off int64) (int, error) {
	return pieces(p, off, d.Device.ReadAt)
}

func pieces(p []byte, off int64, do func([]byte, int64) (int, error)) (int, error) {
	for at := 0; at < len(p); at += 512 {
		if _, err := do(p[at:at+512], off+int64(at)); err != nil {
			return at, err
		}
		runtime.Gosched()
	}
	return len(p), nil
}

// tornRig is a unit on a torn device, and some nexuses.
func tornRig(t *testing.T, nexuses int) (all []*Nexus) {
	t.Helper()
	mem, err := memdev.New(testSize, memdev.Options{LogicalBlock: 512})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dev: NewDevice(testName)}
	if err := r.dev.Attach(0, newTestUnit(t, torn{mem}, "torn", UnitOptions{Thin: true})); err != nil {
		t.Fatal(err)
	}
	for range nexuses {
		all = append(all, r.newNexus(t))
	}
	return all
}

func compareAndWriteCDB(lba uint64, blocks byte) []byte {
	b := transfer(0x89, lba, 0, 0)
	b[13] = blocks
	return b
}

// Each round of a race for a lock on the disk has exactly one winner.
func TestOneWinner(t *testing.T) {
	const nexuses, workers, rounds, blocks = 4, 2, 400, 3
	// All locks are near each other, so that they share a range lock.
	word := func(v uint64) []byte {
		b := make([]byte, blocks*512)
		for at := 0; at < len(b); at += 8 {
			binary.BigEndian.PutUint64(b[at:], v)
		}
		return b
	}
	var winners [rounds]atomic.Int32
	var wg sync.WaitGroup
	for i, n := range tornRig(t, nexuses) {
		for w := range workers {
			me := uint64(i*workers + w + 1)
			wg.Go(func() {
				for round := range rounds {
					// Round by round the word goes from the round's number up by
					// a thousand; whoever does that has won.
					out := append(word(uint64(round)<<32), word(uint64(round)<<32|me)...)
					for {
						got := n.NewTask([8]byte{}, compareAndWriteCDB(9, blocks)).Run(out, nil)
						if got.Status == Good {
							winners[round].Add(1)
							// The winner starts the next round.
							next := append(word(uint64(round)<<32|me), word(uint64(round+1)<<32)...)
							if got := n.NewTask([8]byte{}, compareAndWriteCDB(9, blocks)).Run(next, nil); got.Status != Good {
								t.Errorf("round %d: the lock of %d is gone: %x", round, me, got.Sense)
							}
							break
						}
						if got.Sense[2] != byte(miscompare) {
							t.Errorf("round %d: %v, sense %x", round, got.Status, got.Sense)
						}
						is := n.NewTask([8]byte{}, transfer(0x88, 9, blocks, 0)).Run(nil, nil).Data
						if v := binary.BigEndian.Uint64(is) >> 32; v > uint64(round) {
							break // another has won, and begun the next
						}
						runtime.Gosched()
					}
				}
			})
		}
	}
	wg.Wait()
	for round := range winners {
		if got := winners[round].Load(); got != 1 {
			t.Errorf("round %d has %d winners", round, got)
		}
	}
}

// No command sees a part of an atomic one, and no bit that ORWRITE sets is
// lost.
func TestNothingIsTorn(t *testing.T) {
	const blocks, lba, steps = 16, stripeSize/512 - 8, 300 // across two stripes
	all := tornRig(t, 4)
	fill := func(b byte) []byte { return bytes.Repeat([]byte{b}, blocks*512) }
	var wg sync.WaitGroup
	for i, n := range all {
		wg.Go(func() { // an atomic writer
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for range steps {
				var got Result
				v := byte(rng.Uint32())
				switch rng.IntN(3) {
				case 0:
					b := transfer(0x9c, lba, 0, 0)
					b[13] = blocks
					got = n.NewTask([8]byte{}, b).Run(fill(v), nil)
				case 1:
					got = n.NewTask([8]byte{}, transfer(0x8b, lba, blocks, 0)).Run(fill(v), nil)
				default:
					got = n.NewTask([8]byte{}, compareAndWriteCDB(lba, blocks)).Run(append(fill(v&3), fill(v)...), nil)
					if got.Status == CheckCondition && got.Sense[2] == byte(miscompare) {
						continue
					}
				}
				if got.Status != Good {
					t.Errorf("%v, sense %x", got.Status, got.Sense)
				}
			}
		})
		wg.Go(func() { // a reader
			for range steps {
				is := n.NewTask([8]byte{}, transfer(0x88, lba, blocks, 0)).Run(nil, nil).Data
				if len(is) != blocks*512 || !bytes.Equal(is, fill(is[0])) {
					t.Errorf("torn: begins with %x, ends with %x", is[0], is[len(is)-1])
				}
				// VERIFY sees one value everywhere, or doesn't find the one it wants.
				got := n.NewTask([8]byte{}, transfer(0x8f, lba, blocks, 2)).Run(fill(is[0]), nil)
				if got.Status != Good && binary.BigEndian.Uint32(got.Sense[3:]) != 0 {
					t.Errorf("torn: VERIFY finds a difference at byte %d", binary.BigEndian.Uint32(got.Sense[3:]))
				}
			}
		})
	}
	wg.Wait()
}

func TestOrWriteLosesNothing(t *testing.T) {
	var wg sync.WaitGroup
	all := tornRig(t, 8)
	for bit, n := range all {
		wg.Go(func() {
			for lba := range uint64(200) {
				out := bytes.Repeat([]byte{1 << bit}, 2*512)
				if got := n.NewTask([8]byte{}, transfer(0x8b, lba, 2, 0)).Run(out, nil); got.Status != Good {
					t.Errorf("%v, sense %x", got.Status, got.Sense)
				}
			}
		})
	}
	wg.Wait()
	is := all[0].NewTask([8]byte{}, transfer(0x88, 0, 201, 0)).Run(nil, nil).Data
	if !bytes.Equal(is, bytes.Repeat([]byte{0xff}, 201*512)) {
		t.Error("bits are missing")
	}
}

// After a power cut that loses any part of what wasn't flushed, a WRITE ATOMIC
// is there as a whole or not at all, if the device promises that.
func TestAtomicPowerCuts(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newSizedRig(t, 64<<10, memdev.Options{LogicalBlock: 512}, UnitOptions{})
		r.fault.Volatile() // which promises 512 bytes
		b0 := r.good(t, "12 01 b0 0040 00", nil)
		if most := binary.BigEndian.Uint32(b0[44:]); most != 1 {
			t.Fatalf("at most %d blocks, want 1", most)
		}
		for range 20 {
			b := transfer(0x9c, rng.Uint64N(16), 0, 0)
			b[13] = 1
			if got := r.do(b, bytes.Repeat([]byte{byte(rng.Uint32())}, 512)); got.Status != Good {
				t.Fatalf("%v, sense %x", got.Status, got.Sense)
			}
		}
		if err := r.fault.PowerCut(func(int, int) bool { return rng.IntN(2) == 0 }); err != nil {
			t.Fatal(err)
		}
		r.fault.PowerOn()
		for lba := range uint64(16) {
			if is := r.do(transfer(0x88, lba, 1, 0), nil).Data; !bytes.Equal(is, bytes.Repeat(is[:1], 512)) {
				t.Fatalf("seed %d: block %d is torn", seed, lba)
			}
		}
	}
	r := newSizedRig(t, 64<<10, memdev.Options{LogicalBlock: 4096}, UnitOptions{})
	r.fault.Volatile()
	wantSense(t, r.run("9c 00 0000000000000000 0000 0001 00 00", make([]byte, 4096)), illegalRequest, invalidOperationCode)
}

// LUNs of every geometry, at and beyond the ends of the address ranges of CDBs
// and of what READ CAPACITY (10) can tell.
func TestLargeUnits(t *testing.T) {
	for _, tt := range []struct {
		size              int64
		logical, physical int
		exponent          byte
	}{
		{3 << 40, 512, 512, 0},
		{3 << 40, 512, 4096, 3},
		{1 << 41, 512, 4096, 3},     // 2^32 blocks
		{1<<41 - 512, 512, 4096, 3}, // one fewer
		{17 << 40, 4096, 4096, 0},
		{15 << 40, 4096, 4096, 0},
	} {
		t.Run(fmt.Sprintf("%d/%d/%d", tt.size, tt.logical, tt.physical), func(t *testing.T) {
			r := newSizedRig(t, tt.size, memdev.Options{LogicalBlock: tt.logical, PhysicalBlock: tt.physical}, UnitOptions{Thin: true})
			last := uint64(tt.size)/uint64(tt.logical) - 1
			ten, sixteen := r.good(t, "25", nil), r.good(t, "9e 10 0000000000000000 00000020", nil)
			if got, want := uint64(binary.BigEndian.Uint32(ten)), min(last, 0xffffffff); got != want {
				t.Errorf("READ CAPACITY (10): last LBA %d, want %d", got, want)
			}
			if got := binary.BigEndian.Uint64(sixteen); got != last {
				t.Errorf("READ CAPACITY (16): last LBA %d, want %d", got, last)
			}
			if binary.BigEndian.Uint32(ten[4:]) != uint32(tt.logical) || binary.BigEndian.Uint32(sixteen[8:]) != uint32(tt.logical) ||
				sixteen[13] != tt.exponent || sixteen[14] != 0xc0 || sixteen[15] != 0 {
				t.Errorf("READ CAPACITY: %x, %x", ten, sixteen)
			}
			for i, lba := range []uint64{0, 1<<32 - 2, 1<<32 - 1, 1 << 32, last - 1, last} {
				for _, op := range []struct{ read, write byte }{{0x28, 0x2a}, {0xa8, 0xaa}, {0x88, 0x8a}, {0x88, 0x8e}} {
					if (op.read != 0x88 && lba >= 1<<32) || lba > last {
						continue
					}
					data := bytes.Repeat([]byte{byte(i) ^ op.write}, tt.logical)
					if got := r.do(transfer(op.write, lba, 1, 0), data); got.Status != Good {
						t.Errorf("%#x at %d: %v, %x", op.write, lba, got.Status, got.Sense)
					}
					if got := r.do(transfer(op.read, lba, 1, 0), nil); !bytes.Equal(got.Data, data) {
						t.Errorf("%#x at %d: not what was written", op.read, lba)
					}
					direct := make([]byte, tt.logical)
					if _, err := r.mem.ReadAt(direct, int64(lba)*int64(tt.logical)); err != nil || !bytes.Equal(direct, data) {
						t.Errorf("%#x at %d: landed elsewhere", op.write, lba)
					}
				}
			}
			for _, op := range []byte{0x88, 0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91, 0x93} {
				wantSense(t, r.do(transfer(op, last+1, 1, 0), nil), illegalRequest, lbaOutOfRange)
				wantSense(t, r.do(transfer(op, last, 2, 0), nil), illegalRequest, lbaOutOfRange)
				wantSense(t, r.do(transfer(op, 1<<63, 1, 0), nil), illegalRequest, lbaOutOfRange)
				wantSense(t, r.do(transfer(op, 1<<64-1, 1, 0), nil), illegalRequest, lbaOutOfRange)
			}
			if last > 1<<32 { // the range of a 10-byte CDB may end beyond what its LBA can say
				if got := r.do(transfer(0x28, 1<<32-1, 3, 0), nil); got.Status != Good || len(got.Data) != 3*tt.logical {
					t.Errorf("READ (10) across 2^32: %v, %d bytes", got.Status, len(got.Data))
				}
			}
			list := unmapList(blockRange{last, 1})
			if got := r.do(cdb("42 00 00000000 00 0018 00"), list); got.Status != Good {
				t.Errorf("UNMAP of the last block: %v", got.Status)
			}
			if got := r.do(transfer(0x88, last, 1, 0), nil); !bytes.Equal(got.Data, make([]byte, tt.logical)) {
				t.Error("the last block is not unmapped")
			}
		})
	}
}
