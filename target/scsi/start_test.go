package scsi

import (
	"bytes"
	"errors"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// runStarted starts a task, and returns what becomes of it, if that worked.
func runStarted(t *Task, out []byte) (Result, bool) {
	var b Batch
	done := make(chan error, 1)
	ok := t.Starts() && b.Start(t, out, AllocFunc(func(n int) []byte { return make([]byte, n) }), func(err error) { done <- err })
	b.Submit()
	if !ok {
		return Result{}, false
	}
	return t.End(<-done), true
}

// runOrStart runs a task, or starts it if that is possible.
func runOrStart(t *Task, out []byte, start bool) Result {
	if start {
		if r, ok := runStarted(t, out); ok {
			return r
		}
	}
	return t.Run(out, nil)
}

// doOr is do, by starting the command if that is wanted and possible.
func (r *rig) doOr(start bool, b, out []byte) Result {
	return runOrStart(r.nexus.NewTask([8]byte{}, b), out, start)
}

// What can be started comes to the same as when it is run; the rest can't be.
func TestBatch(t *testing.T) {
	for _, tt := range []struct {
		name, cdb string
		out       int
		starts    bool // Starts
		ok        bool // Start
		op        faultdev.Op
		flushes   int
	}{
		{"READ (6)", "08 00 00 01 04 00", 0, true, true, faultdev.Read, 0},
		{"READ (10)", "28 00 00000001 00 0008 00", 0, true, true, faultdev.Read, 0},
		{"READ (12)", "a8 00 00000001 00000008 00 00", 0, true, true, faultdev.Read, 0},
		{"READ (16)", "88 00 0000000000000001 00000008 00 00", 0, true, true, faultdev.Read, 0},
		{"READ (10) of nothing", "28 00 00000001 00 0000 00", 0, true, false, faultdev.Read, 0},
		{"READ (10) FUA", "28 08 00000001 00 0008 00", 0, true, false, faultdev.Read, 1},
		{"WRITE (6)", "0a 00 00 01 02 00", 1024, true, true, faultdev.Write, 0},
		{"WRITE (10)", "2a 00 00000001 00 0002 00", 1024, true, true, faultdev.Write, 0},
		{"WRITE (10) of too little", "2a 00 00000001 00 0002 00", 512, true, true, faultdev.Write, 0},
		{"WRITE (10) of part of a block", "2a 00 00000001 00 0002 00", 700, true, false, faultdev.Write, 0},
		{"WRITE (10) of nothing", "2a 00 00000001 00 0000 00", 0, true, false, faultdev.Write, 0},
		{"WRITE (10) FUA", "2a 08 00000001 00 0002 00", 1024, true, true, faultdev.Write, 1},
		{"WRITE (12) FUA", "aa 08 00000001 00000002 00 00", 1024, true, true, faultdev.Write, 1},
		{"WRITE (16) FUA_NV", "8a 02 0000000000000001 00000002 00 00", 1024, true, true, faultdev.Write, 1},
		{"SYNCHRONIZE CACHE (10)", "35", 0, true, true, faultdev.Flush, 1},
		{"SYNCHRONIZE CACHE (16)", "91", 0, true, true, faultdev.Flush, 1},
		{"WRITE SAME (10)", "41 00 00000001 00 0002 00", 512, false, false, faultdev.Write, 0},
		{"VERIFY (10)", "2f 00 00000001 00 0002 00", 0, false, false, faultdev.Read, 1},
		{"out of range", "28 00 7fffffff 00 0001 00", 0, false, false, faultdev.Read, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var results [2]Result
			var disks [2][]byte
			for i := range results {
				r := newRig(t, memdev.Options{}, UnitOptions{})
				r.fault.Volatile()
				r.good(t, "2a 00 00000000 00 0080 00", pattern(64<<10))
				flushes, calls := r.fault.Calls(faultdev.Flush), r.fault.Calls(tt.op)
				task := r.nexus.NewTask([8]byte{}, cdb(tt.cdb))
				out := bytes.Repeat([]byte{0x5a}, tt.out)
				if i == 0 {
					results[i] = task.Run(out, nil)
				} else {
					if task.Starts() != tt.starts {
						t.Fatalf("Starts is %v", !tt.starts)
					}
					res, ok := runStarted(task, out)
					if ok != tt.ok {
						t.Fatalf("Start: %v", ok)
					}
					if !ok {
						res = task.Run(out, nil)
					}
					results[i] = res
				}
				if n := r.fault.Calls(faultdev.Flush) - flushes; n != tt.flushes {
					t.Errorf("%d flushes, want %d", n, tt.flushes)
				}
				if n := r.fault.Calls(tt.op) - calls; tt.ok && n != 1 {
					t.Errorf("%d calls of the device", n)
				}
				disks[i] = r.good(t, "28 00 00000000 00 0080 00", nil)
				idle(t, r)
			}
			if results[0].Status != results[1].Status || !bytes.Equal(results[0].Data, results[1].Data) || !bytes.Equal(results[0].Sense, results[1].Sense) {
				t.Errorf("Run: %+v\nStart: %+v", results[0], results[1])
			}
			if !bytes.Equal(disks[0], disks[1]) {
				t.Error("the disks differ")
			}
		})
	}
}

// idle checks that nobody holds anything of the unit.
func idle(t *testing.T, r *rig) {
	t.Helper()
	if !r.unit.running.TryLock() {
		t.Fatal("the unit is still in use")
	}
	r.unit.running.Unlock()
	if !r.unit.writing.TryLock() {
		t.Fatal("somebody is still writing")
	}
	r.unit.writing.Unlock()
	for i := range r.unit.ranges.stripes {
		if !r.unit.ranges.stripes[i].TryLock() {
			t.Fatalf("stripe %d is still locked", i)
		}
		r.unit.ranges.stripes[i].Unlock()
	}
}

// Whatever a task would have to wait for, or is refused for, is left to Run.
func TestBatchDoesNotWait(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(r *rig) (undo func())
	}{
		{"somebody has the range alone", func(r *rig) func() { h, _ := r.unit.exclude(0, 4096); return h.release }},
		{"writes are waited for", func(r *rig) func() { r.unit.writing.Lock(); return r.unit.writing.Unlock }},
		{"the unit is being closed", func(r *rig) func() { r.unit.running.Lock(); return r.unit.running.Unlock }},
		{"it is read-only by now", func(r *rig) func() {
			r.unit.readOnly.Store(true)
			return func() { r.unit.readOnly.Store(false) }
		}},
		{"there is no space by now", func(r *rig) func() { r.unit.SetFull(true); return func() { r.unit.SetFull(false) } }},
		{"another has reserved the unit by now", func(r *rig) func() {
			other := r.dev.NewNexus("iqn.2006-12.example:other,i,0x1", testPort, nil)
			run(other, 0, "00", nil) // tells of a reset
			if got := run(other, 0, "16", nil); got.Status != Good {
				panic(got.Status)
			}
			return other.Close
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, memdev.Options{}, UnitOptions{})
			task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00"))
			undo := tt.prepare(r)
			_, ok := runStarted(task, make([]byte, 1024))
			undo()
			if ok {
				t.Error("it was started")
			}
			idle(t, r)
		})
	}
}

// A write of an initiator that wants no write cache is durable, also if it has
// said so while the write was under way.
func TestBatchWriteThrough(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	r.fault.Volatile()
	through := func() { r.unit.mode.Store(r.unit.mode.Load() | uint32(writeThrough)) }
	var b Batch
	done := make(chan error, 1)
	task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00"))
	if !b.Start(task, make([]byte, 1024), nil, func(err error) { done <- err }) {
		t.Fatal("not started")
	}
	arrived, release := r.fault.Hold(faultdev.Write)
	b.Submit()
	<-arrived
	through()
	release()
	if got := task.End(<-done); got.Status != Good || r.fault.Unflushed() != 0 {
		t.Errorf("%v, %d writes are not durable", got.Status, r.fault.Unflushed())
	}
	if got, ok := runStarted(r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00")), make([]byte, 1024)); !ok || got.Status != Good || r.fault.Unflushed() != 0 {
		t.Errorf("%v, %v, %d writes are not durable", ok, got.Status, r.fault.Unflushed())
	}
	r.fault.FailAll(faultdev.Flush, errors.New("test"))
	if got, ok := runStarted(r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00")), make([]byte, 1024)); !ok || got.Status != CheckCondition {
		t.Errorf("a flush that fails: %v, %v", ok, got.Status)
	}
}

// What goes wrong is told like that of Run, and a device stays open as long as
// something was started.
func TestBatchFails(t *testing.T) {
	for _, c := range []struct {
		name, cdb string
		op        faultdev.Op
		out       int
	}{
		{"read", "28 00 00000001 00 0002 00", faultdev.Read, 0},
		{"write", "2a 00 00000001 00 0002 00", faultdev.Write, 1024},
		{"flush", "35", faultdev.Flush, 0},
	} {
		r := newRig(t, memdev.Options{}, UnitOptions{})
		r.fault.Volatile()
		r.fault.FailAll(c.op, block.ErrMedium)
		got, ok := runStarted(r.nexus.NewTask([8]byte{}, cdb(c.cdb)), make([]byte, c.out))
		want := r.nexus.NewTask([8]byte{}, cdb(c.cdb)).Run(make([]byte, c.out), nil)
		if !ok || got.Status != CheckCondition || !bytes.Equal(got.Sense, want.Sense) {
			t.Errorf("%s: started %v, %v %x, want %x", c.name, ok, got.Status, got.Sense, want.Sense)
		}
		idle(t, r)
	}
	r := newRig(t, memdev.Options{}, UnitOptions{})
	var b Batch
	done := make(chan error, 1)
	task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00"))
	if !b.Start(task, make([]byte, 1024), nil, func(err error) { done <- err }) {
		t.Fatal("not started")
	}
	if r.unit.running.TryLock() {
		t.Error("nobody has the unit in use before Submit")
	}
	b.Submit()
	err := <-done
	if r.unit.running.TryLock() {
		t.Error("nobody has the unit in use before End")
	}
	task.End(err)
	idle(t, r)
}

// panicking is a device that is broken.
type panicking struct{ *memdev.Device }

func (panicking) CanStart() bool             { return true }
func (panicking) Start(*block.Transfer) bool { panic("test") }
func (panicking) Submit()                    {}

// A panic leaves nothing locked.
func TestBatchPanic(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	u := newTestUnit(t, panicking{r.mem}, "broken", UnitOptions{})
	r.unit, r.dev = u, NewDevice(testName)
	if err := r.dev.Attach(0, u); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.newNexus(t)
	for _, c := range []string{"2a 00 00000001 00 0002 00", "28 00 00000001 00 0002 00"} {
		var b Batch
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			b.Start(r.nexus.NewTask([8]byte{}, cdb(c)), make([]byte, 1024), AllocFunc(func(n int) []byte { return make([]byte, n) }), nil)
		}()
		b.Submit()
		idle(t, r)
	}
}

// There is an end to what waits for Submit.
func TestBatchLimit(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	var b Batch
	done := make(chan error, mostBegun)
	var tasks []*Task
	for n := range mostBegun + 1 {
		task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00"))
		if ok := b.Start(task, make([]byte, 1024), nil, func(err error) { done <- err }); ok != (n < mostBegun) {
			t.Fatalf("task %d was started: %v", n, ok)
		}
		tasks = append(tasks, task)
	}
	b.Submit()
	for _, task := range tasks[:mostBegun] {
		task.End(<-done)
	}
	idle(t, r)
}

// A batch is of one unit: what is started on another would wait for its device.
func TestBatchOfOneUnit(t *testing.T) {
	a, z := newRig(t, memdev.Options{}, UnitOptions{}), newRig(t, memdev.Options{}, UnitOptions{})
	var b Batch
	done := make(chan error, 1)
	start := func(r *rig) (*Task, bool) {
		task := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000001 00 0002 00"))
		return task, b.Start(task, make([]byte, 1024), nil, func(err error) { done <- err })
	}
	for _, r := range [][2]*rig{{a, z}, {z, a}} {
		task, ok := start(r[0])
		if !ok {
			t.Fatal("not started")
		}
		if _, ok := start(r[1]); ok {
			t.Error("a task of another unit was started")
		}
		b.Submit()
		task.End(<-done)
	}
	idle(t, a)
	idle(t, z)
}
