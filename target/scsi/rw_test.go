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

// pattern returns n bytes in which every block differs.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>9) ^ byte(i*7)
	}
	return b
}

// transfer builds a READ or WRITE of each length.
func transfer(op byte, lba uint64, blocks uint32, flags byte) []byte {
	b := make([]byte, 16)
	b[0], b[1] = op, flags
	switch op >> 5 {
	case 0:
		binary.BigEndian.PutUint32(b, uint32(lba))
		b[0], b[4] = op, byte(blocks)
	case 1, 2:
		binary.BigEndian.PutUint32(b[2:], uint32(lba))
		binary.BigEndian.PutUint16(b[7:], uint16(blocks))
	case 5:
		binary.BigEndian.PutUint32(b[2:], uint32(lba))
		binary.BigEndian.PutUint32(b[6:], blocks)
	default:
		binary.BigEndian.PutUint64(b[2:], lba)
		binary.BigEndian.PutUint32(b[10:], blocks)
	}
	return b
}

func (r *rig) do(b, out []byte) Result { return r.nexus.NewTask([8]byte{}, b).Run(out, nil) }

func TestReadWrite(t *testing.T) {
	for _, size := range []int{512, 4096} {
		for _, op := range []struct{ read, write byte }{{0x08, 0x0a}, {0x28, 0x2a}, {0xa8, 0xaa}, {0x88, 0x8a}} {
			t.Run(fmt.Sprintf("%d/%#02x", size, op.read), func(t *testing.T) {
				r := newRig(t, memdev.Options{LogicalBlock: size}, UnitOptions{})
				last := uint64(testSize/size - 1)
				for i, e := range []struct {
					lba    uint64
					blocks uint32
				}{{0, 1}, {3, 5}, {last, 1}, {last - 1, 2}, {100, 200}} {
					data := pattern(int(e.blocks) * size)
					data[0] = byte(i)
					task := r.nexus.NewTask([8]byte{}, transfer(op.write, e.lba, e.blocks, 0))
					if task.Direction() != DataOut || task.DataOutLength() != len(data) {
						t.Fatalf("wants %d bytes, direction %d", task.DataOutLength(), task.Direction())
					}
					if got := task.Run(data, nil); got.Status != Good {
						t.Fatalf("write %+v: %v, %x", e, got.Status, got.Sense)
					}
					got := r.do(transfer(op.read, e.lba, e.blocks, 0), nil)
					if got.Status != Good || !bytes.Equal(got.Data, data) {
						t.Fatalf("read %+v: %v, %d bytes, not what was written", e, got.Status, len(got.Data))
					}
					direct := make([]byte, len(data))
					if _, err := r.mem.ReadAt(direct, int64(e.lba)*int64(size)); err != nil || !bytes.Equal(direct, data) {
						t.Fatalf("write %+v: landed elsewhere", e)
					}
				}
			})
		}
	}
}

func TestRead6Of256Blocks(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	if got := r.good(t, "08 00 0000 00 00", nil); len(got) != 256*512 {
		t.Errorf("got %d bytes, want %d", len(got), 256*512)
	}
	wantSense(t, r.run("08 00 1f01 00 00", nil), illegalRequest, lbaOutOfRange)
}

func TestExtents(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	const n = testSize / 512
	for _, op := range []byte{0x28, 0x2a, 0x2f, 0x35, 0x41, 0xa8, 0xaa, 0xaf, 0x88, 0x8a, 0x8f, 0x91, 0x93} {
		extents := []struct {
			lba    uint64
			blocks uint32
		}{{n, 1}, {n - 1, 2}, {n + 1, 0}, {0, n + 1}, {1 << 31, 1}, {1<<32 - 1, 0}}
		if op>>5 == 4 {
			extents = append(extents, struct {
				lba    uint64
				blocks uint32
			}{1<<64 - 1, 2}, struct {
				lba    uint64
				blocks uint32
			}{1 << 63, 1<<32 - 1})
		}
		for _, e := range extents {
			task := r.nexus.NewTask([8]byte{}, transfer(op, e.lba, e.blocks, 0))
			if got := task.DataOutLength(); got != 0 {
				t.Errorf("%#02x %+v: wants %d bytes", op, e, got)
			}
			wantSense(t, task.Run(nil, nil), illegalRequest, lbaOutOfRange)
		}
	}
}

func TestMaxTransfer(t *testing.T) {
	r := newSizedRig(t, 1<<30, memdev.Options{}, UnitOptions{})
	const most = MaxTransfer / 512
	if got := r.nexus.NewTask([8]byte{}, transfer(0x8a, 0, most, 0)).DataOutLength(); got != MaxTransfer {
		t.Errorf("wants %d bytes, want %d", got, MaxTransfer)
	}
	for _, op := range []byte{0xa8, 0xaa, 0xaf, 0x88, 0x8a, 0x8f} {
		wantSense(t, r.do(transfer(op, 0, most+1, 0), nil), illegalRequest, invalidFieldInCDB)
	}
}

// What page B0 tells is what the commands keep to, and no initiator finds it
// unreasonable.
func TestLimits(t *testing.T) {
	for _, size := range []int{512, 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newSizedRig(t, 1<<40, memdev.Options{LogicalBlock: size}, UnitOptions{Thin: true})
			b0 := r.good(t, "12 01 b0 0040 00", nil)
			maxTransfer := binary.BigEndian.Uint32(b0[8:])
			maxUnmap, maxDescriptors := binary.BigEndian.Uint32(b0[20:]), binary.BigEndian.Uint32(b0[24:])
			maxSame := binary.BigEndian.Uint64(b0[36:])
			if maxUnmap == 0 || maxUnmap > 1<<20 || maxDescriptors == 0 || maxDescriptors > 1<<20 {
				t.Errorf("UNMAP of %d blocks in %d descriptors, want at most 2^20", maxUnmap, maxDescriptors)
			}
			// There are initiators that take the larger of the two for both.
			if maxSame == 0 || maxSame > uint64(maxTransfer) {
				t.Errorf("WRITE SAME of %d blocks, want at most as many as WRITE (%d)", maxSame, maxTransfer)
			}
			list := func(n uint32) []byte { return unmapList(blockRange{0, uint64(n)}) }
			r.good(t, "42 00 00000000 00 0018 00", list(maxUnmap))
			wantSense(t, r.run("42 00 00000000 00 0018 00", list(maxUnmap+1)), illegalRequest, invalidFieldInParameter)
			const ndob = 0x01
			if got := r.do(transfer(0x93, 0, uint32(maxSame), ndob), nil); got.Status != Good {
				t.Errorf("WRITE SAME of %d blocks: %v, sense %x", maxSame, got.Status, got.Sense)
			}
			wantSense(t, r.do(transfer(0x93, 0, uint32(maxSame)+1, ndob), nil), illegalRequest, invalidFieldInCDB)
		})
	}
}

func TestNoBlocks(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for _, op := range []byte{0x28, 0x2a, 0x2f, 0x35, 0xa8, 0xaa, 0xaf, 0x88, 0x8a, 0x8f, 0x91} {
		for _, lba := range []uint64{0, testSize / 512} { // the end is still in range
			task := r.nexus.NewTask([8]byte{}, transfer(op, lba, 0, 0))
			if got := task.Run(nil, nil); got.Status != Good || len(got.Data) != 0 || task.DataOutLength() != 0 {
				t.Errorf("%#02x at %d: %v, %d bytes, wants %d", op, lba, got.Status, len(got.Data), task.DataOutLength())
			}
		}
		wantSense(t, r.do(transfer(op, testSize/512+1, 0, 0), nil), illegalRequest, lbaOutOfRange)
	}
	for _, op := range []byte{0x41, 0x93} { // page B0 says WSNZ
		for _, lba := range []uint64{0, testSize / 512} {
			wantSense(t, r.do(transfer(op, lba, 0, 0), make([]byte, 512)), illegalRequest, invalidFieldInCDB)
		}
	}
}

// A write gets less, or more, than it wants (RFC 7143 section 11.4.5.2).
func TestWriteResiduals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		out     int
		written int // blocks
		bad     bool
	}{
		{"nothing", 0, 0, false},
		{"one block of two", 512, 1, false},
		{"more than all", 4096, 2, false},
		{"a part of a block", 200, 0, true},
		{"a block and a part", 700, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, memdev.Options{}, UnitOptions{})
			got := r.run("2a 00 00000000 00 0002 00", bytes.Repeat([]byte{'b'}, tt.out))
			if tt.bad {
				wantSense(t, got, illegalRequest, invalidFieldInIU)
			} else if got.Status != Good {
				t.Errorf("%v, sense %x", got.Status, got.Sense)
			}
			want := append(bytes.Repeat([]byte{'b'}, tt.written*512), make([]byte, 4096-tt.written*512)...)
			if is := r.good(t, "28 00 00000000 00 0008 00", nil); !bytes.Equal(is, want) {
				t.Errorf("%d bytes written, want %d", bytes.Count(is, []byte{'b'}), tt.written*512)
			}
		})
	}
}

// What is acknowledged with FUA, or before a flush, survives a power cut.
func TestFlushing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command string
		out     int
		flushes int
	}{
		{"WRITE (10)", "2a 00 00000000 00 0001 00", 512, 0},
		{"WRITE (10) DPO", "2a 10 00000000 00 0001 00", 512, 0},
		{"WRITE (10) FUA", "2a 08 00000000 00 0001 00", 512, 1},
		{"WRITE (10) FUA_NV", "2a 02 00000000 00 0001 00", 512, 1},
		{"WRITE (12) FUA", "aa 08 00000000 00000001 00 00", 512, 1},
		{"WRITE (16) FUA", "8a 08 0000000000000000 00000001 00 00", 512, 1},
		{"WRITE (6)", "0a 00 0000 01 00", 512, 0},
		{"READ (10)", "28 00 00000000 00 0001 00", 0, 0},
		{"READ (10) FUA", "28 08 00000000 00 0001 00", 0, 1},
		{"SYNCHRONIZE CACHE (10)", "35 00 00000000 00 0000 00", 0, 1},
		{"SYNCHRONIZE CACHE (10), one block, IMMED", "35 02 00000001 00 0001 00", 0, 1},
		{"SYNCHRONIZE CACHE (16)", "91", 0, 1},
	} {
		for _, forces := range []bool{true, false} {
			r := newRig(t, memdev.Options{}, UnitOptions{})
			r.fault.Volatile()
			if !forces { // the device is no block.ForceWriter
				r.dev = NewDevice(testName)
				if err := r.dev.Attach(0, newTestUnit(t, struct{ block.Device }{r.fault}, "plain", UnitOptions{})); err != nil {
					t.Fatal(err)
				}
				r.nexus = r.newNexus(t)
			}
			r.good(t, tt.command, make([]byte, tt.out))
			if got := r.fault.Calls(faultdev.Flush); got != tt.flushes {
				t.Errorf("%s: %d flushes, want %d", tt.name, got, tt.flushes)
			}
			if left := r.fault.Unflushed(); tt.flushes > 0 && left > 0 {
				t.Errorf("%s: %d writes not flushed", tt.name, left)
			}
		}
	}
}

func TestNoFlushWithoutCache(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := faultdev.New(durable{mem, false})
	d := NewDevice(testName)
	if err := d.Attach(0, newTestUnit(t, f, "x", UnitOptions{})); err != nil {
		t.Fatal(err)
	}
	r := &rig{dev: d}
	r.nexus = r.newNexus(t)
	r.good(t, "2a 08 00000000 00 0001 00", make([]byte, 512))
	r.good(t, "35", nil)
	if got := f.Calls(faultdev.Flush); got != 0 {
		t.Errorf("%d flushes of a device without a write cache", got)
	}
}

func TestReadOnly(t *testing.T) {
	for name, r := range map[string]*rig{
		"unit":   newRig(t, memdev.Options{}, UnitOptions{ReadOnly: true, Thin: true}),
		"device": newRig(t, memdev.Options{ReadOnly: true}, UnitOptions{Thin: true}),
	} {
		for _, command := range []string{
			"0a 00 0000 01 00", "2a 00 00000000 00 0001 00", "aa 00 00000000 00000001 00 00",
			"8a 00 0000000000000000 00000001 00 00", "41 00 00000000 00 0001 00",
			"93 00 0000000000000000 00000001 00 00", "42 00 00000000 00 0018 00",
		} {
			task := r.nexus.NewTask([8]byte{}, cdb(command))
			if got := task.DataOutLength(); got != 0 {
				t.Errorf("%s: %s wants %d bytes", name, command, got)
			}
			wantSense(t, task.Run(nil, nil), dataProtect, writeProtected)
		}
		r.good(t, "28 00 00000000 00 0001 00", nil)
		r.good(t, "35", nil)
	}
}

// Every error of the device shows, as what it is.
func TestDeviceErrors(t *testing.T) {
	unmapOne := []byte{0, 22, 0, 16, 7: 0, 15: 0, 19: 1, 23: 0}
	for _, tt := range []struct {
		name    string
		command string
		out     []byte
		op      faultdev.Op
		err     error
		key     senseKey
		code    code
	}{
		{"READ", "28 00 00000000 00 0001 00", nil, faultdev.Read, block.ErrMedium, mediumError, unrecoveredReadError},
		{"READ FUA, flush", "28 08 00000000 00 0001 00", nil, faultdev.Flush, block.ErrMedium, mediumError, writeError},
		{"WRITE", "2a 00 00000000 00 0001 00", make([]byte, 512), faultdev.Write, block.ErrMedium, mediumError, writeError},
		{"WRITE, full", "2a 00 00000000 00 0001 00", make([]byte, 512), faultdev.Write, block.ErrNoSpace, dataProtect, spaceAllocationFailed},
		{"WRITE FUA, flush", "2a 08 00000000 00 0001 00", make([]byte, 512), faultdev.Flush, block.ErrMedium, mediumError, writeError},
		{"SYNC", "35", nil, faultdev.Flush, block.ErrMedium, mediumError, writeError},
		{"SYNC, full", "91", nil, faultdev.Flush, block.ErrNoSpace, dataProtect, spaceAllocationFailed},
		{"VERIFY", "2f 00 00000000 00 0001 00", nil, faultdev.Read, block.ErrMedium, mediumError, unrecoveredReadError},
		{"VERIFY, flush", "2f 00 00000000 00 0001 00", nil, faultdev.Flush, block.ErrMedium, mediumError, writeError},
		{"VERIFY of bytes", "2f 02 00000000 00 0001 00", make([]byte, 512), faultdev.Read, block.ErrMedium, mediumError, unrecoveredReadError},
		{"WRITE SAME", "41 00 00000000 00 0001 00", bytes.Repeat([]byte{1}, 512), faultdev.Write, block.ErrMedium, mediumError, writeError},
		{"WRITE SAME, zeroes", "41 00 00000000 00 0001 00", make([]byte, 512), faultdev.WriteZeroes, block.ErrMedium, mediumError, writeError},
		{"WRITE SAME, UNMAP", "93 09 0000000000000000 00000001 00 00", nil, faultdev.WriteZeroes, block.ErrNoSpace, dataProtect, spaceAllocationFailed},
		{"UNMAP", "42 00 00000000 00 0018 00", unmapOne, faultdev.Unmap, block.ErrMedium, mediumError, writeError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
			r.fault.FailNth(tt.op, 1, fmt.Errorf("test: %w", tt.err))
			wantSense(t, r.run(tt.command, tt.out), tt.key, tt.code)
			if tt.op == faultdev.Flush { // what the device holds is unknown from now on
				wantSense(t, r.run("35", nil), tt.key, tt.code)
			} else if got := r.run(tt.command, tt.out); got.Status != Good {
				t.Errorf("healed: %v, sense %x", got.Status, got.Sense)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{})
	data := pattern(2 * 512)
	r.good(t, "2a 00 00000005 00 0002 00", data)
	r.good(t, "2f 00 00000005 00 0002 00", nil)
	r.good(t, "2f 10 00000005 00 0002 00", nil)
	r.good(t, "2f 02 00000005 00 0002 00", data)
	r.good(t, "8f 02 0000000000000005 00000002 00 00", data)
	r.good(t, "af 02 00000005 00000002 00 00", data)
	wantSense(t, r.run("2f 02 00000005 00 0002 00", data[:512]), illegalRequest, invalidFieldInIU) // the initiator has sent one block
	r.good(t, "2f 06 00000005 00 0001 00", data[:512])
	r.good(t, "2f 06 00000100 00 1000 00", make([]byte, 512)) // more than one chunk

	wantSense(t, r.run("2f 04 00000005 00 0002 00", data), illegalRequest, invalidFieldInCDB)
	wantSense(t, r.run("2f 06 00000005 00 0001 00", nil), illegalRequest, invalidFieldInIU)
	wantSense(t, r.run("2f 02 00000005 00 0002 00", data[:700]), illegalRequest, invalidFieldInIU)
	wantSense(t, r.run("2f 20 00000005 00 0002 00", nil), illegalRequest, invalidFieldInCDB)

	other := bytes.Clone(data)
	other[600]++
	got := r.run("2f 02 00000005 00 0002 00", other)
	wantSense(t, got, miscompare, miscompareDuringVerify)
	if at := binary.BigEndian.Uint32(got.Sense[3:]); got.Sense[0]&0x80 == 0 || at != 600 {
		t.Errorf("sense %x does not say byte 600", got.Sense)
	}
	wantSense(t, r.run("2f 06 00000005 00 0002 00", data[:512]), miscompare, miscompareDuringVerify)
}

func TestFirstDifference(t *testing.T) {
	for n := range 20 {
		if got := firstDifference(make([]byte, n), make([]byte, n+1)); got != -1 {
			t.Errorf("%d bytes, the same: %d", n, got)
		}
		for i := range n {
			b := make([]byte, n)
			for j := i; j < n; j += 2 { // more that differ don't matter
				b[j] = 1
			}
			if got := firstDifference(b, make([]byte, n+1)); got != i {
				t.Errorf("%d bytes, differing from %d on: %d", n, i, got)
			}
		}
	}
}

func TestWriteSame(t *testing.T) {
	one := bytes.Repeat([]byte{0xa6}, 512)
	for _, tt := range []struct {
		name, command string
		out           []byte
		want          []byte // the blocks 5, 6, 7
	}{
		{"(10)", "41 00 00000005 00 0003 00", one, one},
		{"(16)", "93 00 0000000000000005 00000003 00 00", one, one},
		{"(16) UNMAP, not zero", "93 08 0000000000000005 00000003 00 00", one, one},
		{"(10) UNMAP", "41 08 00000005 00 0003 00", make([]byte, 512), make([]byte, 512)},
		{"(16) NDOB", "93 01 0000000000000005 00000003 00 00", nil, make([]byte, 512)},
		{"(16) UNMAP NDOB", "93 09 0000000000000005 00000003 00 00", nil, make([]byte, 512)},
	} {
		r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
		before := bytes.Repeat([]byte{0x11}, 10*512)
		r.good(t, "2a 00 00000000 00 000a 00", before)
		r.good(t, tt.command, tt.out)
		copy(before[5*512:], bytes.Repeat(tt.want, 3))
		if got := r.good(t, "28 00 00000000 00 000a 00", nil); !bytes.Equal(got, before) {
			t.Errorf("%s: other bytes than wanted", tt.name)
		}
	}
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	r.good(t, "41 00 00000000 00 2000 00", one) // all of it, in several chunks
	if got := r.good(t, "28 00 00000000 00 2000 00", nil); !bytes.Equal(got, bytes.Repeat(one, testSize/512)) {
		t.Error("all of it: other bytes than wanted")
	}
	for _, out := range [][]byte{nil, one[:200], append(one, one...)} {
		wantSense(t, r.run("41 00 00000005 00 0003 00", out), illegalRequest, invalidFieldInIU)
	}
	wantSense(t, r.run("41 18 00000005 00 0003 00", one), illegalRequest, invalidFieldInCDB) // ANCHOR
	thick := newRig(t, memdev.Options{}, UnitOptions{})
	wantSense(t, thick.run("41 08 00000005 00 0003 00", make([]byte, 512)), illegalRequest, invalidFieldInCDB)
	large := newSizedRig(t, 1<<40, memdev.Options{}, UnitOptions{})
	wantSense(t, large.run("93 01 0000000000000000 00008001 00 00", nil), illegalRequest, invalidFieldInCDB)
}

func TestAllocatesFromTheTransport(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	pool := bytes.Repeat([]byte{0xee}, 4096) // as full of old data as a pool may be
	got := r.nexus.NewTask([8]byte{}, cdb("28 00 00000000 00 0002 00")).Run(nil, AllocFunc(func(n int) []byte { return pool[:n] }))
	if got.Status != Good || len(got.Data) != 1024 || &got.Data[0] != &pool[0] || got.Data[1023] != 0 {
		t.Errorf("%v, %d bytes", got.Status, len(got.Data))
	}
}
