package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// overwriteList is a parameter list of SANITIZE, OVERWRITE.
func overwriteList(flags byte, pattern []byte) []byte {
	return append([]byte{flags, 0, byte(len(pattern) >> 8), byte(len(pattern))}, pattern...)
}

func sanitizeCDB(actionAndFlags byte, list []byte) []byte {
	return []byte{0x48, actionAndFlags, 0, 0, 0, 0, 0, byte(len(list) >> 8), byte(len(list)), 0}
}

func TestSanitize(t *testing.T) {
	other := bytes.Repeat([]byte{0xa5, 0x01, 0x02}, 171)[:512] // no whole number of patterns in a block
	inverse := make([]byte, 512)
	for i, b := range other {
		inverse[i] = ^b
	}
	for _, tt := range []struct {
		name   string
		thin   bool
		action byte
		list   []byte
		want   []byte // each block
		writes int    // of a medium of 4 MiB, in pieces
	}{
		{"overwrite", true, sanitizeOverwrite, overwriteList(1, other[:3]), other, 4},
		{"overwrite with a block", false, sanitizeOverwrite, overwriteList(1, other), other, 4},
		{"overwrite, three passes", false, sanitizeOverwrite, overwriteList(3, other[:3]), other, 12},
		{"overwrite, inverting", false, sanitizeOverwrite, overwriteList(0x82, other[:3]), inverse, 8},
		{"overwrite, inverting back", false, sanitizeOverwrite, overwriteList(0x9f, other[:3]), other, 31 * 4},
		{"erase, thin", true, sanitizeErase, nil, make([]byte, 512), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: tt.thin})
			r.good(t, "2a 00 00000003 00 0008 00", pattern(8*512))
			before := r.fault.Calls(faultdev.Write)
			if got := r.do(sanitizeCDB(tt.action, tt.list), tt.list); got.Status != Good {
				t.Fatalf("%v, sense %x", got.Status, got.Sense)
			}
			if got := r.good(t, "28 00 00000000 00 2000 00", nil); !bytes.Equal(got, bytes.Repeat(tt.want, testSize/512)) {
				t.Error("not every block holds what it should")
			}
			if got := r.fault.Calls(faultdev.Write) - before; got != tt.writes {
				t.Errorf("%d writes, want %d", got, tt.writes)
			}
			if r.fault.Calls(faultdev.Flush) == 0 {
				t.Error("not flushed")
			}
			if got := r.mem.Allocated(); tt.name == "erase, thin" && got != 0 {
				t.Errorf("%d bytes are still allocated", got)
			}
		})
	}
}

func TestSanitizeRefuses(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	list := overwriteList(1, make([]byte, 512))
	change := func(at int, b byte) []byte {
		l := bytes.Clone(list)
		l[at] = b
		return l
	}
	for _, tt := range []struct {
		name string
		cdb  []byte
		out  []byte
		code code
	}{
		{"cryptographic erase", sanitizeCDB(0x03, nil), nil, invalidFieldInCDB},
		{"service action 0", sanitizeCDB(0x00, nil), nil, invalidFieldInCDB},
		{"ZNR", sanitizeCDB(0x40|sanitizeErase, nil), nil, invalidFieldInCDB},
		{"erase with a list", sanitizeCDB(sanitizeErase, list), list, invalidFieldInCDB},
		{"exit with a list", sanitizeCDB(sanitizeExit, list), list, invalidFieldInCDB},
		{"no list", sanitizeCDB(sanitizeOverwrite, nil), nil, invalidFieldInCDB},
		{"list of four bytes", sanitizeCDB(sanitizeOverwrite, list[:4]), list[:4], invalidFieldInCDB},
		{"list of more than a block", sanitizeCDB(sanitizeOverwrite, append(list, 0)), append(list, 0), invalidFieldInCDB},
		{"less sent than told", sanitizeCDB(sanitizeOverwrite, list), list[:100], parameterListLength},
		{"count 0", sanitizeCDB(sanitizeOverwrite, list), change(0, 0), invalidFieldInParameter},
		{"test", sanitizeCDB(sanitizeOverwrite, list), change(0, 0x21), invalidFieldInParameter},
		{"reserved byte", sanitizeCDB(sanitizeOverwrite, list), change(1, 1), invalidFieldInParameter},
		{"pattern beyond the list", sanitizeCDB(sanitizeOverwrite, list), change(3, 1), invalidFieldInParameter},
		{"pattern of nothing", sanitizeCDB(sanitizeOverwrite, list), change(2, 0), invalidFieldInParameter},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantSense(t, r.do(tt.cdb, tt.out), illegalRequest, tt.code)
			if got := r.fault.Calls(faultdev.Write); got != 0 {
				t.Errorf("%d writes", got)
			}
		})
	}
	r.good(t, "48 1f", nil) // nothing has failed
	thick := newRig(t, memdev.Options{}, UnitOptions{})
	wantSense(t, thick.run("48 02", nil), illegalRequest, invalidFieldInCDB)
	protected := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true, ReadOnly: true})
	wantSense(t, protected.do(sanitizeCDB(sanitizeErase, nil), nil), dataProtect, writeProtected)
	wantSense(t, protected.do(sanitizeCDB(sanitizeOverwrite, list), list), dataProtect, writeProtected)
}

// While it runs, whoever asks is told so; neither the command's end nor a reset
// ends it.
func TestSanitizeInProgress(t *testing.T) {
	for _, immediate := range []bool{true, false} {
		t.Run(fmt.Sprint("IMMED ", immediate), func(t *testing.T) {
			r := newSizedRig(t, 64<<20, memdev.Options{}, UnitOptions{Thin: true})
			other := r.newNexus(t)
			// A write has passed its checks, and waits in the device.
			arrived, release := r.fault.Hold(faultdev.Write)
			write := make(chan Result)
			go func() { write <- r.run("2a 00 00000000 00 0001 00", bytes.Repeat([]byte{1}, 512)) }()
			<-arrived
			late := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000010 00 0001 00"))

			task := r.nexus.NewTask([8]byte{}, cdb("48 01 0000000000 0005 00"))
			if immediate {
				task = r.nexus.NewTask([8]byte{}, cdb("48 81 0000000000 0005 00"))
			}
			ended := make(chan Result, 1)
			go func() { ended <- task.Run(overwriteList(1, []byte{7}), nil) }()
			if immediate {
				if got := <-ended; got.Status != Good {
					t.Fatalf("%v, sense %x", got.Status, got.Sense)
				}
			}
			for r.unit.sanitizing.Load() == nil {
				time.Sleep(time.Millisecond)
			}
			select {
			case <-arrived:
				t.Error("it began to write while another was writing there")
			case <-afterMoment():
			}
			wantSense(t, late.Run(make([]byte, 512), nil), notReady, sanitizeInProgress)
			for _, n := range []*Nexus{r.nexus, other} {
				for _, c := range []string{
					"00", "28 00 00000000 00 0001 00", "2a 00 00000000 00 0001 00", "35", "48 02", "48 1f",
					"42 00 00000000 00 0018 00", "9e 10 0000000000000000 00000020", "1a 00 3f 00 ff 00",
				} {
					wantSense(t, run(n, 0, c, nil), notReady, sanitizeInProgress)
				}
				for _, c := range []string{"12 00 00 0060 00", "a0 00 00 000000 00000100"} {
					if got := run(n, 0, c, nil); got.Status != Good {
						t.Errorf("%s: %v", c, got.Status)
					}
				}
				got := run(n, 0, "03 00 00 00 ff 00", nil)
				if got.Status != Good || got.Data[2] != byte(notReady) || got.Data[12] != 4 || got.Data[13] != 0x1b || got.Data[15] != 0x80 {
					t.Errorf("REQUEST SENSE: %v, %x", got.Status, got.Data)
				}
				wantBytes(t, "REQUEST SENSE", run(n, 0, "03 01 00 00 ff 00", nil).Data, "72 02 041b 000000 08 02060000 80 0000 00")
			}
			r.dev.ResetUnit([8]byte{}, nil)
			wantSense(t, r.run("00", nil), unitAttention, deviceReset)
			task.Cancel()
			if !immediate {
				wantSense(t, <-ended, notReady, sanitizeInProgress)
			}
			wantSense(t, r.run("00", nil), notReady, sanitizeInProgress)
			release()
			if got := <-write; got.Status != Good {
				t.Errorf("the write before it: %v", got.Status)
			}
			for r.run("00", nil).Status != Good {
				time.Sleep(time.Millisecond)
			}
			if got := r.good(t, "28 00 00000000 00 0100 00", nil); !bytes.Equal(got, bytes.Repeat([]byte{7}, len(got))) {
				t.Error("the write that was under way has survived")
			}
		})
	}
}

// A command that waits for its range while an operation begins doesn't get it.
func TestSanitizeBeginsWhileWaiting(t *testing.T) {
	u := newRig(t, memdev.Options{}, UnitOptions{}).unit
	h := u.ranges.lock(0, 512, true)
	got := make(chan sense)
	go func() {
		_, bad := u.share(0, 512)
		got <- bad
	}()
	<-afterMoment()
	u.sanitizing.Store(&sanitizing{})
	h.release()
	if bad := <-got; bad.code != sanitizeInProgress {
		t.Errorf("got %+v", bad)
	}
	u.ranges.lock(0, 512, true).release() // nothing is held
}

func TestSanitizeProgress(t *testing.T) {
	r := newSizedRig(t, 64<<20, memdev.Options{}, UnitOptions{Thin: true})
	var seen []uint16
	r.good(t, "48 81 0000000000 0005 00", overwriteList(2, []byte{7}))
	for {
		got := r.run("00", nil)
		if got.Status == Good {
			break
		}
		wantSense(t, got, notReady, sanitizeInProgress)
		if p := binary.BigEndian.Uint16(got.Sense[16:]); len(seen) == 0 || seen[len(seen)-1] != p {
			seen = append(seen, p)
		}
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] < seen[i-1] {
			t.Errorf("progress goes back: %v", seen)
		}
	}
}

// A failure stays until another operation succeeds, or until EXIT FAILURE MODE
// if that was allowed.
func TestSanitizeFails(t *testing.T) {
	for _, op := range []faultdev.Op{faultdev.Write, faultdev.Flush, faultdev.Unmap, faultdev.Mapped} {
		for _, unrestricted := range []bool{false, true} {
			t.Run(fmt.Sprint(op, unrestricted), func(t *testing.T) {
				r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
				r.good(t, "2a 00 00000000 00 0001 00", make([]byte, 512))
				r.fault.FailNth(op, 1, block.ErrMedium)
				flags := byte(0)
				if unrestricted {
					flags = sanitizeUnrestricted
				}
				wantSense(t, r.do(sanitizeCDB(sanitizeErase|flags, nil), nil), mediumError, sanitizeFailed)
				for range 2 {
					wantSense(t, r.run("00", nil), mediumError, sanitizeFailed)
					wantSense(t, r.run("28 00 00000000 00 0001 00", nil), mediumError, sanitizeFailed)
				}
				r.good(t, "12 00 00 0060 00", nil)
				wantBytes(t, "REQUEST SENSE", r.good(t, "03 01 00 00 ff 00", nil), "72 03 3103 000000 00")
				if unrestricted {
					r.good(t, "48 1f", nil)
					r.good(t, "00", nil)
					return
				}
				wantSense(t, r.run("48 1f", nil), illegalRequest, invalidFieldInCDB)
				if op == faultdev.Flush {
					return // such a device stays broken
				}
				r.good(t, "48 02", nil)
				r.good(t, "00", nil)
			})
		}
	}
}

// Closing the unit ends the operation, and waits for it.
func TestSanitizeStops(t *testing.T) {
	r := newSizedRig(t, 1<<40, memdev.Options{}, UnitOptions{})
	arrived, release := r.fault.Hold(faultdev.Write)
	ended := make(chan Result, 1)
	go func() { ended <- r.run("48 01 0000000000 0005 00", overwriteList(1, []byte{1})) }()
	<-arrived
	closed := make(chan error)
	go func() { closed <- r.unit.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the operation")
	case <-afterMoment():
	}
	release()
	wantSense(t, <-ended, mediumError, sanitizeFailed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// A parameter list decodes to an overwrite that fills whole blocks, or fails.
func FuzzDecodeOverwrite(f *testing.F) {
	f.Add(overwriteList(0x81, []byte{1, 2, 3}))
	f.Add([]byte{1, 0, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, list []byte) {
		o, bad := decodeOverwrite(list, 512)
		if bad.failed() != (o == nil) {
			t.Fatal("both a result and a failure, or neither")
		}
		if o != nil && (len(o.block) != 512 || o.passes < 1 || o.passes > 31) {
			t.Fatalf("%d bytes, %d passes", len(o.block), o.passes)
		}
	})
}
