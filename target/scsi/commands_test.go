package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

func TestTableIsSound(t *testing.T) {
	lengths := map[byte]int{0: 6, 1: 10, 2: 10, 4: 16, 5: 12}
	names := make(map[string]bool)
	for _, c := range rows() {
		if want := lengths[c.usage[0]>>5]; len(c.usage) != want {
			t.Errorf("%s: %d bytes, its group has %d", c.name, len(c.usage), want)
		}
		if names[c.name] || c.name == "" || c.run == nil {
			t.Errorf("%q: name is taken or missing, or there is no handler", c.name)
		}
		names[c.name] = true
		for i, b := range c.ignored {
			if b&c.usage[i] != 0 {
				t.Errorf("%s: byte %d has bits both used and ignored", c.name, i)
			}
		}
		if (c.direction == DataOut) != (c.want != nil) {
			t.Errorf("%s: direction %d, but want is set: %t", c.name, c.direction, c.want != nil)
		}
		if c.flags&transfers != 0 && c.flags&extent == 0 {
			t.Errorf("%s: transfers blocks without an extent", c.name)
		}
		if c.flags&alone != 0 && c.flags&extent == 0 {
			t.Errorf("%s: alone without an extent", c.name)
		}
		if c.allocation.size != 0 && c.direction != DataIn {
			t.Errorf("%s: an allocation length, but no data-in", c.name)
		}
		for i := c.allocation.at; i < c.allocation.at+c.allocation.size; i++ {
			if c.usage[i] != all {
				t.Errorf("%s: byte %d of the allocation length is not in the usage data", c.name, i)
			}
		}
	}
}

func TestUnknownCommands(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	for op := range 256 {
		for _, action := range []byte{0, 0x0c, 0x10, 0x1f} {
			b := make([]byte, 16)
			b[0], b[1] = byte(op), action
			if commands.find([16]byte(b)) != nil {
				continue
			}
			task := r.nexus.NewTask([8]byte{}, b)
			if task.Direction() != NoData || task.DataOutLength() != 0 {
				t.Errorf("%#02x/%#02x: direction %d, wants %d bytes", op, action, task.Direction(), task.DataOutLength())
			}
			want := invalidOperationCode
			if commands[op].actions != nil { // it is the service action that doesn't exist
				want = invalidFieldInCDB
			}
			wantSense(t, task.Run(nil, nil), illegalRequest, want)
		}
	}
}

// Each bit that a command has no use for is refused, and the sense data points
// at it.
func TestReservedBits(t *testing.T) {
	for _, c := range rows() {
		r := rigWith(t, &c)
		for i := range c.usage {
			for bit := range 8 {
				used := c.usage[i]
				if i < len(c.ignored) {
					used |= c.ignored[i]
				}
				last := i == len(c.usage)-1
				switch {
				case i == 0, i == 1 && c.flags&action != 0 && bit < 5:
					continue // another command
				case last && bit >= 6:
					continue // vendor specific
				case !last && used>>bit&1 != 0:
					continue
				}
				b := make([]byte, 16)
				b[0] = c.usage[0]
				if c.flags&action != 0 {
					b[1] = c.action()
				}
				b[i] |= 1 << bit
				got := r.do(b, nil)
				wantSense(t, got, illegalRequest, invalidFieldInCDB)
				if want := [3]byte{0xc8 | byte(bit), 0, byte(i)}; [3]byte(got.Sense[15:18]) != want {
					t.Errorf("%s, byte %d bit %d: field pointer %x, want %x", c.name, i, bit, got.Sense[15:18], want)
				}
			}
		}
	}
}

// What follows a CDB in its 16 bytes is no concern of the command.
func TestBytesAfterTheCDB(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	b := bytes.Repeat([]byte{0xff}, 16)
	copy(b, make([]byte, 6))
	if got := r.do(b, nil); got.Status != Good {
		t.Errorf("TEST UNIT READY: %v", got.Status)
	}
	if got := r.nexus.NewTask([8]byte{}, []byte{0}).Run(nil, nil); got.Status != Good {
		t.Errorf("CDB of one byte: %v", got.Status)
	}
	if got := r.nexus.NewTask([8]byte{}, nil).Run(nil, nil); got.Status != Good {
		t.Errorf("CDB of no bytes: %v", got.Status)
	}
}

func TestReportOpcodes(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	thick := newRig(t, memdev.Options{}, UnitOptions{})
	for _, timeouts := range []bool{false, true} {
		size, command := 8, "a3 0c 00 00 0000 00010000 00 00"
		if timeouts {
			size, command = 20, "a3 0c 80 00 0000 00010000 00 00"
		}
		got := r.good(t, command, nil)
		if n := int(binary.BigEndian.Uint32(got)); n != len(got)-4 || n != size*offeredBy(r) {
			t.Fatalf("all: says %d bytes, has %d, want %d", n, len(got)-4, size*offeredBy(r))
		}
		if n, want := len(thick.good(t, command, nil)), len(got)-2*size; n != want {
			t.Errorf("thick: %d bytes, want %d: UNMAP and SANITIZE, BLOCK ERASE are missing", n, want)
		}
		last := -1
		for at := 4; at < len(got); at += size {
			d := got[at : at+size]
			key := int(d[0])<<16 | int(binary.BigEndian.Uint16(d[2:]))
			if key <= last {
				t.Errorf("%x comes after %06x", d, last)
			}
			last = key
			c := commands.find([16]byte{d[0], d[3]})
			if c == nil || len(c.usage) != int(binary.BigEndian.Uint16(d[6:])) ||
				(d[5]&1 != 0) != (c.flags&action != 0) || (d[5]&2 != 0) != timeouts {
				t.Errorf("descriptor %x is not what the table has", d)
			}
		}
	}
	for _, tt := range []struct{ name, command, want string }{
		{"READ (10)", "a3 0c 01 28 0000 0000ffff 00 00", "00 03 000a 28 1a ffffffff 00 ffff 04"},
		{"READ (10), timeouts", "a3 0c 81 28 0000 0000ffff 00 00", "00 83 000a 28 1a ffffffff 00 ffff 04 000a 00000000000000000000"},
		{"READ CAPACITY (16)", "a3 0c 02 9e 0010 0000ffff 00 00", "00 03 0010 9e 10 0000000000000000 ffffffff 00 04"},
		{"READ CAPACITY (16), either", "a3 0c 03 9e 0010 0000ffff 00 00", "00 03 0010 9e 10 0000000000000000 ffffffff 00 04"},
		{"TEST UNIT READY, either", "a3 0c 03 00 0000 0000ffff 00 00", "00 03 0006 00 00 00 00 00 04"},
		{"TEST UNIT READY, no such action", "a3 0c 03 00 0001 0000ffff 00 00", "00 01 0000"},
		{"unknown", "a3 0c 01 ff 0000 0000ffff 00 00", "00 01 0000"},
		{"unknown action", "a3 0c 02 9e 0011 0000ffff 00 00", "00 01 0000"},
		{"action of more than five bits", "a3 0c 02 9e 0110 0000ffff 00 00", "00 01 0000"},
		{"cut", "a3 0c 01 28 0000 00000006 00 00", "00 03 000a 28 1a"},
	} {
		wantBytes(t, tt.name, r.good(t, tt.command, nil), tt.want)
	}
	wantBytes(t, "UNMAP", r.good(t, "a3 0c 01 42 0000 0000ffff 00 00", nil), "00 03 000a 42 00 00000000 00 ffff 04")
	wantBytes(t, "UNMAP, thick", thick.good(t, "a3 0c 01 42 0000 0000ffff 00 00", nil), "00 01 0000")
	for _, command := range []string{
		"a3 0c 01 9e 0000 0000ffff 00 00", // has actions
		"a3 0c 02 28 0000 0000ffff 00 00", // has none
		"a3 0c 04 28 0000 0000ffff 00 00",
		"a3 0c 07 28 0000 0000ffff 00 00",
	} {
		wantSense(t, r.run(command, nil), illegalRequest, invalidFieldInCDB)
	}
}

// Whatever the allocation length, the answer is the beginning of the whole
// answer.
func TestAllocationLengths(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	for _, command := range []string{
		"03 00", "03 01", "12 00", "12 01 00", "12 01 80", "12 01 83", "12 01 b0", "12 01 b1", "12 01 b2",
		"1a 00 3f", "1a 08 08", "5a 00 3f", "5a 10 3f ff", "9e 10", "a0 00 00", "a0 00 01",
		"37 00 18", "b7 1d", "9e 12", "a3 0c 00", "a3 0c 80", "a3 0c 01 28", "a3 0c 81 28",
		"12 01 85", "12 01 86", "12 01 87", "12 01 88", "1a 00 3f ff", "a0 00 02",
		"a3 0a", "a3 2a", "a3 0d", "a3 0d 80", "1c 01", "4d 00 40", "4d 00 40 ff", "4d 00 43",
	} {
		b := cdb(command)
		c := commands.find([16]byte(b))
		most := uint64(1)<<(8*c.allocation.size) - 1
		set := func(n uint64) {
			for i := range c.allocation.size {
				b[c.allocation.at+i] = byte(n >> (8 * (c.allocation.size - 1 - i)))
			}
		}
		set(most)
		whole := r.do(b, nil)
		if whole.Status != Good || len(whole.Data) == 0 {
			t.Fatalf("%s: %v, %d bytes", command, whole.Status, len(whole.Data))
		}
		for n := uint64(0); n <= min(most, 65535); n++ {
			if n > uint64(len(whole.Data))+64 && n < most-64 {
				n = min(n+40, most-64) // nothing changes any more: not each one
			}
			set(n)
			got := r.do(b, nil)
			if want := whole.Data[:min(n, uint64(len(whole.Data)))]; got.Status != Good || !bytes.Equal(got.Data, want) {
				t.Fatalf("%s, allocation length %d: %v, %s", command, n, got.Status, cmp.Diff(want, got.Data))
			}
		}
	}
}

// Units are used by many nexuses at once, while LUNs come and go.
func TestConcurrency(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	extra := newTestUnit(t, r.mem, "extra", UnitOptions{})
	var wg sync.WaitGroup
	for w := range 4 {
		n := r.newNexus(t)
		wg.Go(func() {
			defer n.Close()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 300 {
				lba := uint64(w*1024 + rng.IntN(1000))
				data := bytes.Repeat([]byte{byte(rng.IntN(256))}, 512*8)
				if err := retry(n, transfer(0x8a, lba, 8, byte(rng.IntN(2)*8)), data, nil); err != nil {
					t.Error(err)
				}
				if err := retry(n, transfer(0x88, lba, 8, 0), nil, data); err != nil {
					t.Error(err)
				}
				run(n, 0, "a0 00 00 000000 00000100 00 00", nil)
				run(n, 9, "12 01 83 00ff 00", nil)
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			if err := r.dev.Attach(9, extra); err != nil {
				t.Error(err)
			}
			r.dev.ResetUnit([8]byte{}, nil)
			r.dev.NewNexus("short", testPort, nil).Close()
			if err := r.mem.Grow(testSize + int64(i+1)*512); err != nil {
				t.Error(err)
			}
			if err := r.dev.Detach(9); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := len(r.unit.paths); got != 1 {
		t.Errorf("the unit knows %d paths, want 1: closed nexuses leak", got)
	}
}

// retry does a command until it doesn't end in a unit attention.
func retry(n *Nexus, b, out, want []byte) error {
	for {
		got := n.NewTask([8]byte{}, b).Run(out, nil)
		switch {
		case got.Status == Good && bytes.Equal(got.Data, want):
			return nil
		case got.Status == Good:
			return fmt.Errorf("%x: other bytes than written", b)
		case senseKey(got.Sense[2]) != unitAttention:
			return fmt.Errorf("%x: sense %x", b, got.Sense)
		}
	}
}

// Any CDB with any data: no panic, bounded, and never GOOD with a device that
// fails.
func FuzzCommand(f *testing.F) {
	for _, c := range rows() {
		f.Add(c.usage, []byte{}, byte(0))
		f.Add(c.usage, make([]byte, 512), byte(1))
		f.Add(append([]byte{c.usage[0], c.usage[1] & 0x1f}, make([]byte, 14)...), unmapList(blockRange{1, 2}), byte(0xff))
	}
	f.Add(cdb("42 00 00000000 00 0018 00"), unmapList(blockRange{1, 2}), byte(1<<faultdev.Unmap))
	f.Add(cdb("28 00 00000000 00 0018 00"), []byte{}, byte(1<<faultdev.Read))
	f.Add(cdb("2a 08 00000000 00 0001 00"), make([]byte, 512), byte(1<<faultdev.Flush))
	f.Add(cdb("93 09 0000000000000001 00000001 00 00"), []byte{}, byte(1<<faultdev.WriteZeroes))
	f.Add(cdb("89 08 0000000000000001 000000 01 00 00"), make([]byte, 1024), byte(1<<faultdev.Flush))
	f.Add(cdb("48 01 0000000000 0005 00"), overwriteList(1, []byte{9}), byte(1<<faultdev.Write))
	f.Add(cdb("9e 12 0000000000000001 00000018 00 00"), []byte{}, byte(1<<faultdev.Mapped))
	f.Fuzz(func(t *testing.T, b, out []byte, faults byte) {
		r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: faults&0x80 == 0})
		var broken []faultdev.Op
		for op := faultdev.Read; op <= faultdev.Mapped; op++ {
			if faults>>op&1 != 0 {
				r.fault.FailAll(op, block.ErrMedium)
				broken = append(broken, op)
			}
		}
		defer r.unit.Close()
		if len(b) > 1 && b[0] == 0x48 {
			b[1] &^= sanitizeImmediate // its GOOD says nothing of what comes after it
		}
		task := r.nexus.NewTask([8]byte{}, b)
		want := task.DataOutLength()
		if want < 0 || want > MaxTransfer {
			t.Fatalf("wants %d bytes", want)
		}
		got := task.Run(out, nil)
		if len(got.Data) > MaxTransfer || (got.Status == CheckCondition) != (len(got.Sense) > 0) {
			t.Fatalf("%v with %d bytes and sense %x", got.Status, len(got.Data), got.Sense)
		}
		if got.Status != Good {
			if len(got.Data) > 0 {
				t.Fatalf("%v with %d bytes", got.Status, len(got.Data))
			}
			return
		}
		for _, op := range broken {
			if n := r.fault.Calls(op); n > 0 {
				t.Fatalf("GOOD although %d calls of kind %d failed", n, op)
			}
		}
	})
}

// An UNMAP list decodes to ranges inside the device, or fails.
func FuzzDecodeUnmap(f *testing.F) {
	f.Add(unmapList(blockRange{0, 1}, blockRange{7, 1}))
	f.Add([]byte{0, 0, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, list []byte) {
		const capacity = 1000
		ranges, bad := decodeUnmap(list, capacity, 512)
		if bad.failed() && ranges != nil {
			t.Fatal("both ranges and a failure")
		}
		for _, r := range ranges {
			if r.lba >= capacity || r.lba+r.blocks > capacity {
				t.Fatalf("range %+v", r)
			}
		}
	})
}

func BenchmarkRead4K(b *testing.B)  { benchmark4K(b, 0x88) }
func BenchmarkWrite4K(b *testing.B) { benchmark4K(b, 0x8a) }

func benchmark4K(b *testing.B, op byte) {
	r := newRig(b, memdev.Options{}, UnitOptions{})
	// faultdev has a lock of its own: measure without it.
	d := NewDevice(testName)
	if err := d.Attach(0, newTestUnit(b, r.mem, "bench", UnitOptions{})); err != nil {
		b.Fatal(err)
	}
	n := (&rig{dev: d}).newNexus(b)
	command := transfer(op, 8, 8, 0)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		buf := make([]byte, 4096)
		alloc := AllocFunc(func(n int) []byte { return buf[:n] })
		for p.Next() {
			if got := n.NewTask([8]byte{}, command).Run(buf, alloc); got.Status != Good {
				b.Error(got.Status)
			}
		}
	})
}
