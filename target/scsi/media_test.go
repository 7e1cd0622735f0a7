package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

func TestWriteAndVerify(t *testing.T) {
	for _, size := range []int{512, 4096} {
		for _, op := range []byte{0x2e, 0xae, 0x8e} {
			for _, bytchk := range []byte{0, 0x02} {
				t.Run(fmt.Sprintf("%d/%#02x/%d", size, op, bytchk), func(t *testing.T) {
					r := newRig(t, memdev.Options{LogicalBlock: size}, UnitOptions{})
					r.fault.Volatile()
					data := pattern(300 * size)
					if got := r.do(transfer(op, 7, 300, bytchk|0x10), data); got.Status != Good {
						t.Fatalf("%v, sense %x", got.Status, got.Sense)
					}
					if r.fault.Unflushed() != 0 {
						t.Error("what was verified isn't on stable storage")
					}
					if got := r.do(transfer(0x88, 7, 300, 0), nil); !bytes.Equal(got.Data, data) {
						t.Error("not what was written")
					}
					if got := r.do(transfer(op, 0, 0, bytchk), nil); got.Status != Good {
						t.Errorf("no blocks: %v", got.Status)
					}
					wantSense(t, r.do(transfer(op, 7, 1, bytchk), data[:100]), illegalRequest, invalidFieldInIU)
				})
			}
		}
	}
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for _, flags := range []byte{0x04, 0x06, 0x08, 0x01, 0x20} { // other values of BYTCHK; FUA; WRPROTECT
		wantSense(t, r.do(transfer(0x8e, 0, 1, flags), make([]byte, 512)), illegalRequest, invalidFieldInCDB)
	}
}

// liar is a device that reads back other bytes than were written.
type liar struct{ block.Device }

func (d liar) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	if n > 700 {
		p[700] ^= 1
	}
	return n, err
}

func TestVerifyNotices(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{LogicalBlock: 512})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dev: NewDevice(testName)}
	if err := r.dev.Attach(0, newTestUnit(t, liar{mem}, "liar", UnitOptions{})); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.newNexus(t)
	wantSense(t, r.do(transfer(0x8e, 0, 2, 0), make([]byte, 1024)), mediumError, writeError)
	got := r.do(transfer(0x8e, 0, 2, 2), make([]byte, 1024))
	wantSense(t, got, miscompare, miscompareDuringVerify)
	if at := binary.BigEndian.Uint32(got.Sense[3:]); got.Sense[0] != 0xf0 || at != 700 {
		t.Errorf("sense %x does not say byte 700", got.Sense)
	}
}

func TestPrefetch(t *testing.T) {
	r := newSizedRig(t, 1<<30, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	for _, tt := range []struct {
		command string
		reads   int
	}{
		{"34 00 00000005 00 0001 00", 1},
		{"34 02 00000005 00 0101 00", 2},
		{"34 00 001fffff 00 0000 00", 1},                     // to the end
		{"34 00 00200000 00 0000 00", 0},                     // at the end
		{"90 00 0000000000000000 00000000 00 00", 128},       // as much as is read at once
		{"90 00 0000000000000000 00008000 00 00", 128},       // all that may be asked for
		{"90 00 00000000001ffff0 00000010 1f 00", 1},         // group number
		{"90 02 0000000000100000 00000000 00 00", 128},       // IMMED
		{"34 02 00000000 1f 0000 00", maxPrefetch / scratch}, // all of it
	} {
		before := r.fault.Calls(faultdev.Read)
		r.good(t, tt.command, nil)
		if got := r.fault.Calls(faultdev.Read) - before; got != tt.reads {
			t.Errorf("%s: %d reads, want %d", tt.command, got, tt.reads)
		}
	}
	wantSense(t, r.run("90 00 0000000000000000 00008001 00 00", nil), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.run("34 00 001fffff 00 0002 00", nil), illegalRequest, lbaOutOfRange)
	wantSense(t, r.run("34 00 00200001 00 0000 00", nil), illegalRequest, lbaOutOfRange)
}

func TestOrWrite(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	was, sent := pattern(600*512), bytes.Repeat([]byte{0x81}, 600*512)
	want := make([]byte, len(was))
	for i := range want {
		want[i] = was[i] | sent[i]
	}
	r.do(transfer(0x8a, 3, 600, 0), was)
	if got := r.do(transfer(0x8b, 3, 600, 0x18), sent); got.Status != Good {
		t.Fatalf("%v, sense %x", got.Status, got.Sense)
	}
	if r.fault.Calls(faultdev.Flush) != 1 {
		t.Error("FUA, but not flushed")
	}
	if got := r.do(transfer(0x88, 3, 600, 0), nil); !bytes.Equal(got.Data, want) {
		t.Error("not the one or the other")
	}
	for _, n := range []int{0, 100, 512} { // less than it is about: nothing is done
		wantSense(t, r.do(transfer(0x8b, 3, 2, 0), bytes.Repeat([]byte{0xff}, n)), illegalRequest, invalidFieldInIU)
	}
	if got := r.do(transfer(0x88, 3, 600, 0), nil); !bytes.Equal(got.Data, want) {
		t.Error("a part was written")
	}
}

func TestCompareAndWrite(t *testing.T) {
	for _, size := range []int{512, 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t, memdev.Options{LogicalBlock: size}, UnitOptions{})
			caw := func(lba uint64, blocks, flags byte, out []byte) Result {
				b := transfer(0x89, lba, 0, flags)
				b[13] = blocks
				return r.do(b, out)
			}
			read := func(lba uint64, blocks int) []byte { return r.do(transfer(0x88, lba, uint32(blocks), 0), nil).Data }
			b0 := r.good(t, "12 01 b0 0040 00", nil)
			most := int(b0[5])
			if most == 0 {
				t.Fatal("page B0 says that there is no COMPARE AND WRITE")
			}
			zero, data := make([]byte, most*size), pattern(most*size)
			if got := caw(5, byte(most), 0, append(bytes.Clone(zero), data...)); got.Status != Good {
				t.Fatalf("%v, sense %x", got.Status, got.Sense)
			}
			if !bytes.Equal(read(5, most), data) {
				t.Error("not what was written")
			}
			if r.fault.Calls(faultdev.Flush) != 0 {
				t.Error("flushed without FUA")
			}
			// Bytes in the first, a middle and the last place differ.
			for _, at := range []int{0, 1, size, most*size - 1} {
				other := bytes.Clone(data)
				other[at] ^= 0x10
				got := caw(5, byte(most), 0, append(other, zero...))
				wantSense(t, got, miscompare, miscompareDuringVerify)
				if info := binary.BigEndian.Uint32(got.Sense[3:]); got.Sense[0] != 0xf0 || info != uint32(at) {
					t.Errorf("sense %x does not say byte %d", got.Sense, at)
				}
			}
			for _, n := range []int{0, 100, most * size, 2*most*size - 1, 2*most*size + 1} {
				wantSense(t, caw(5, byte(most), 0, make([]byte, n)), illegalRequest, invalidFieldInIU)
			}
			wantSense(t, caw(5, byte(most+1), 0, make([]byte, 2*(most+1)*size)), illegalRequest, invalidFieldInCDB)
			wantSense(t, caw(5, 0, 0, make([]byte, 1)), illegalRequest, invalidFieldInCDB) // data for nothing
			wantSense(t, caw(uint64(testSize/size), 1, 0, nil), illegalRequest, lbaOutOfRange)
			wantSense(t, caw(uint64(testSize/size-1), 2, 0, nil), illegalRequest, lbaOutOfRange)
			if got := caw(5, 0, 0, nil); got.Status != Good {
				t.Errorf("no blocks: %v", got.Status)
			}
			if !bytes.Equal(read(5, most), data) {
				t.Error("one that failed has written")
			}
			if got := caw(5, byte(most), 0x18, append(data, zero...)); got.Status != Good || r.fault.Calls(faultdev.Flush) != 1 {
				t.Errorf("FUA: %v, %d flushes", got.Status, r.fault.Calls(faultdev.Flush))
			}
		})
	}
}

func TestWriteAtomic(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	b0 := r.good(t, "12 01 b0 0040 00", nil)
	most, align, granularity := binary.BigEndian.Uint32(b0[44:]), binary.BigEndian.Uint32(b0[48:]), binary.BigEndian.Uint32(b0[52:])
	if most != 2048 || align != 1 || granularity != 1 || !bytes.Equal(b0[56:], make([]byte, 8)) {
		t.Fatalf("page B0: %x", b0[44:])
	}
	atomic := func(lba uint64, blocks uint16, boundary uint16, flags byte) []byte {
		b := transfer(0x9c, lba, 0, flags)
		binary.BigEndian.PutUint16(b[10:], boundary)
		binary.BigEndian.PutUint16(b[12:], blocks)
		return b
	}
	data := pattern(2048 * 512)
	if got := r.do(atomic(3, 2048, 0, 0x08), data); got.Status != Good || r.fault.Calls(faultdev.Flush) != 1 {
		t.Fatalf("%v, sense %x, %d flushes", got.Status, got.Sense, r.fault.Calls(faultdev.Flush))
	}
	if got := r.do(transfer(0x88, 3, 2048, 0), nil); !bytes.Equal(got.Data, data) {
		t.Error("not what was written")
	}
	if got := r.fault.Calls(faultdev.Write); got != 1 {
		t.Errorf("written by %d calls", got)
	}
	if got := r.do(atomic(3, 0, 0, 0), nil); got.Status != Good {
		t.Errorf("no blocks: %v", got.Status)
	}
	wantSense(t, r.do(atomic(3, 2049, 0, 0), make([]byte, 2049*512)), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.do(atomic(3, 8, 8, 0), make([]byte, 8*512)), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.do(atomic(3, 8, 0, 0x20), make([]byte, 8*512)), illegalRequest, invalidFieldInCDB) // WRPROTECT
	wantSense(t, r.do(atomic(3, 8, 0, 0), make([]byte, 7*512)), illegalRequest, invalidFieldInIU)
	wantSense(t, r.do(atomic(testSize/512, 1, 0, 0), nil), illegalRequest, lbaOutOfRange)
	if got := r.fault.Calls(faultdev.Write); got != 1 {
		t.Errorf("%d more writes", got-1)
	}
}

// aligned is a device that promises atomic writes as a disk does.
type aligned struct {
	block.Device
	atomic int
}

func (d aligned) Info() block.Info {
	i := d.Device.Info()
	i.AtomicWrite, i.AtomicAlign = d.atomic, d.atomic
	return i
}

// What the device can't promise isn't offered, nor told.
func TestWriteAtomicPromise(t *testing.T) {
	for _, tt := range []struct {
		block, atomic int
		most          uint32
	}{{512, 4096, 8}, {4096, 4096, 1}, {4096, 512, 0}, {512, 0, 0}, {512, 1 << 30, MaxTransfer / 512}} {
		t.Run(fmt.Sprint(tt.block, tt.atomic), func(t *testing.T) {
			mem, err := memdev.New(testSize, memdev.Options{LogicalBlock: tt.block})
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{dev: NewDevice(testName)}
			if err := r.dev.Attach(0, newTestUnit(t, aligned{mem, tt.atomic}, "x", UnitOptions{})); err != nil {
				t.Fatal(err)
			}
			r.nexus = r.newNexus(t)
			b0 := r.good(t, "12 01 b0 0040 00", nil)
			if got := binary.BigEndian.Uint32(b0[44:]); got != tt.most {
				t.Errorf("at most %d blocks, want %d", got, tt.most)
			}
			one := cdb("9c 00 0000000000000000 0000 0001 00 00")
			if tt.most == 0 {
				wantSense(t, r.do(one, make([]byte, tt.block)), illegalRequest, invalidOperationCode)
				wantBytes(t, "opcode", r.good(t, "a3 0c 01 9c 0000 0000ffff 00 00", nil), "00 01 0000")
				return
			}
			if got := r.do(one, make([]byte, tt.block)); got.Status != Good {
				t.Errorf("%v, sense %x", got.Status, got.Sense)
			}
			if align := binary.BigEndian.Uint32(b0[48:]); align > 1 {
				wantSense(t, r.run("9c 00 0000000000000001 0000 0001 00 00", make([]byte, tt.block)), illegalRequest, invalidFieldInCDB)
			}
		})
	}
}

func TestLBAStatus(t *testing.T) {
	r := newSizedRig(t, 4<<40, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true}) // 2^33 blocks
	type span struct {
		lba    uint64
		blocks uint32
		status byte
	}
	status := func(t *testing.T, r *rig, lba uint64, allocation uint32) []span {
		t.Helper()
		b := transfer(0x9e, lba, allocation, 0x12)
		got := r.do(b, nil)
		if got.Status != Good || len(got.Data) < 24 || int(binary.BigEndian.Uint32(got.Data))+4 < len(got.Data) || len(got.Data)%16 != 8 {
			t.Fatalf("LBA %d: %v, %x", lba, got.Status, got.Data)
		}
		var runs []span
		for at := 8; at < len(got.Data); at += 16 {
			d := got.Data[at : at+16]
			runs = append(runs, span{binary.BigEndian.Uint64(d), binary.BigEndian.Uint32(d[8:]), d[12]})
			if next := lba; runs[len(runs)-1].lba != next || d[13]|d[14]|d[15] != 0 {
				t.Fatalf("descriptor %x does not go on at %d", d, next)
			}
			lba += uint64(binary.BigEndian.Uint32(d[8:]))
		}
		return runs
	}
	r.do(transfer(0x8a, 1<<32+1, 1, 0), make([]byte, 512))
	// memdev takes space in chunks of 128 blocks, and doesn't look far at once.
	first := status(t, r, 1<<32-256, 0xffff)
	if want := (span{1<<32 - 256, 256, 1}); first[0] != want {
		t.Errorf("before what is mapped: %v, want %v", first[0], want)
	}
	if want := (span{1 << 32, 128, 0}); first[1] != want {
		t.Errorf("mapped: %v, want %v", first[1], want)
	}
	if got, want := status(t, r, 1<<32+5, 24), (span{1<<32 + 5, 123, 0}); len(got) != 1 || got[0] != want {
		t.Errorf("in the middle of it: %v, want %v", got, want)
	}
	if got, want := status(t, r, 1<<33-1, 24), (span{1<<33 - 1, 1, 1}); got[0] != want {
		t.Errorf("the last one: %v, want %v", got, want)
	}
	wantSense(t, r.do(transfer(0x9e, 1<<33, 24, 0x12), nil), illegalRequest, lbaOutOfRange)
	wantSense(t, r.do(transfer(0x9e, 1<<63, 24, 0x12), nil), illegalRequest, lbaOutOfRange)

	// More runs than there is room for: the initiator goes on where they end.
	many := newSizedRig(t, 64<<20, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	for lba := uint64(0); lba < 64<<11; lba += 512 {
		many.do(transfer(0x8a, lba, 1, 0), make([]byte, 512))
	}
	lba, all := uint64(0), 0
	for lba < 64<<11 {
		runs := status(t, many, lba, 0xffffffff)
		if len(runs) > maxStatus {
			t.Fatalf("%d descriptors", len(runs))
		}
		for _, run := range runs {
			if want := byte(all % 2); run.status != want {
				t.Fatalf("run %d: %+v", all, run)
			}
			all++
			lba = run.lba + uint64(run.blocks)
		}
	}
	if all != 512 {
		t.Errorf("%d runs, want 512", all)
	}

	// All of a thick unit is mapped, whatever its device says.
	thick := newSizedRig(t, 4<<40, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	got := status(t, thick, 0, 0xffff)
	if len(got) != 3 || got[0] != (span{0, 0xffffffff, 0}) || got[1].status != 0 || got[2].blocks != 2 {
		t.Errorf("thick: %v", got)
	}
}

func TestReadDefects(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for format := range byte(8) {
		for _, lists := range []byte{0, 0x08, 0x10, 0x18} {
			ten := []byte{0x37, 0, lists | format, 0, 0, 0, 0, 0xff, 0xff, 0}
			twelve := []byte{0xb7, lists | format, 0, 0, 0, 9, 0, 0, 0xff, 0xff, 0, 0}
			if format > 5 {
				wantSense(t, r.do(ten, nil), illegalRequest, invalidFieldInCDB)
				wantSense(t, r.do(twelve, nil), illegalRequest, invalidFieldInCDB)
				continue
			}
			if got, want := r.do(ten, nil).Data, []byte{0, lists | format, 0, 0}; !bytes.Equal(got, want) {
				t.Errorf("(10): %x, want %x", got, want)
			}
			if got, want := r.do(twelve, nil).Data, []byte{0, lists | format, 0, 0, 0, 0, 0, 0}; !bytes.Equal(got, want) {
				t.Errorf("(12): %x, want %x", got, want)
			}
		}
	}
}
