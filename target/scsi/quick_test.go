package scsi

import (
	"bytes"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

func none(int) []byte { return nil }

// Try does what needs no waiting just as Run does it, and leaves the rest to
// Run, which comes to the same.
func TestTry(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	data := pattern(1 << 20)
	r.good(t, "2a 00 00000000 00 0800 00", data)
	share := func() func() {
		h, _ := r.unit.share(0, 4096)
		return h.release
	}
	for _, tt := range []struct {
		name, cdb string
		prepare   func() func()
		alloc     AllocFunc
		quick, ok bool
	}{
		{"READ (6)", "08 00 00 01 04 00", nil, nil, true, true},
		{"READ (10)", "28 00 00000001 00 0008 00", nil, nil, true, true},
		{"READ (12)", "a8 00 00000001 00000008 00 00", nil, nil, true, true},
		{"READ (16)", "88 00 0000000000000001 00000008 00 00", nil, nil, true, true},
		{"at most so much", "28 00 00000000 00 0080 00", nil, nil, true, true},
		{"more", "28 00 00000000 00 0081 00", nil, nil, false, false},
		{"nothing", "28 00 00000000 00 0000 00", nil, nil, true, false},
		{"FUA, which flushes", "28 08 00000001 00 0008 00", nil, nil, true, false},
		{"no memory", "28 00 00000001 00 0008 00", nil, none, true, false},
		{"others read", "28 00 00000001 00 0008 00", share, nil, true, true},
		{"somebody has the range alone", "28 00 00000001 00 0008 00", func() func() {
			h, _ := r.unit.exclude(0, 4096)
			return h.release
		}, nil, true, false},
		{"the device would wait", "28 00 00000001 00 0008 00", func() func() {
			_, release := r.fault.Hold(faultdev.Read)
			return release
		}, nil, true, false},
		{"another command", "25 00 00000000 00 0000 00 00", nil, nil, false, false},
		{"out of range", "28 00 7fffffff 00 0001 00", nil, nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := r.nexus.NewTask([8]byte{}, cdb(tt.cdb)).Run(nil, nil)
			release := func() {}
			if tt.prepare != nil {
				release = tt.prepare()
			}
			task := r.nexus.NewTask([8]byte{}, cdb(tt.cdb))
			if task.Quick() != tt.quick {
				t.Errorf("Quick is %v", !tt.quick)
			}
			if !tt.quick {
				release()
				return
			}
			buffers := 0
			alloc := tt.alloc
			if alloc == nil {
				alloc = func(n int) []byte {
					buffers++
					return bytes.Repeat([]byte{0xee}, n)
				}
			}
			got, ok := task.Try(alloc)
			release()
			if ok != tt.ok {
				t.Fatalf("Try: %v", ok)
			}
			if !ok {
				got = task.Run(nil, AllocFunc(func(n int) []byte {
					buffers++
					return make([]byte, n)
				}))
			}
			if got.Status != want.Status || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Sense, want.Sense) {
				t.Errorf("got %v and %d bytes, Run alone %v and %d", got.Status, len(got.Data), want.Status, len(want.Data))
			}
			if buffers > 1 {
				t.Errorf("%d buffers for one command", buffers)
			}
		})
	}
}

// What has happened since a task was made counts for Try as it does for Run.
func TestTryComesTooLate(t *testing.T) {
	for name, happen := range map[string]func(*rig){
		"reserved by another": func(r *rig) {
			other := r.dev.NewNexus("iqn.2006-12.example:other,i,0x2", testPort, nil)
			run(other, 0, "00", nil)
			if got := run(other, 0, "16 00 00 00 00 00", nil); got.Status != Good {
				panic(got.Status)
			}
		},
		"detached": func(r *rig) {
			if err := r.dev.Detach(0); err != nil {
				panic(err)
			}
		},
		"closed": func(r *rig) {
			if err := r.unit.Close(); err != nil {
				panic(err)
			}
		},
	} {
		r := newRig(t, memdev.Options{}, UnitOptions{})
		task := r.nexus.NewTask([8]byte{}, cdb("28 00 00000001 00 0008 00"))
		happen(r)
		if _, ok := task.Try(AllocFunc(func(n int) []byte { return make([]byte, n) })); ok {
			t.Errorf("%s: done all the same", name)
		}
		if got := task.Run(nil, nil); got.Status == Good {
			t.Errorf("%s: Run says GOOD", name)
		}
	}
}

// A device that can't tell what it has at hand is never tried.
func TestQuickNeedsADeviceThatKnows(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u := newTestUnit(t, struct{ block.Device }{mem}, "plain", UnitOptions{})
	d := NewDevice(testName)
	if err := d.Attach(0, u); err != nil {
		t.Fatal(err)
	}
	n := d.NewNexus("iqn.2006-12.example:host,i,0x1", testPort, nil)
	run(n, 0, "00", nil)
	if n.NewTask([8]byte{}, cdb("28 00 00000001 00 0008 00")).Quick() {
		t.Error("Quick")
	}
}
