package scsi

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
)

// start runs a copy on a goroutine of its own.
func (r *copyRig) start(list []byte) (*Task, <-chan Result) {
	task := r.nexus.NewTask([8]byte{}, cdb(copyCDB(len(list))))
	done := make(chan Result, 1)
	go func() { done <- task.Run(list, nil) }()
	return task, done
}

func TestCopyListIdentifiers(t *testing.T) {
	r := newCopyRig(t)
	arrived, release := r.faults[1].Hold(faultdev.Write)
	s := r.spec(copySegmentOf(0, 0, 1, 4096, 0, 0))
	_, done := r.start(s.encode())
	<-arrived
	wantSense(t, r.copy(s.encode()), illegalRequest, operationInProgress)
	wantBytes(t, "status of one that runs", r.good(t, "84 00 01 00000000000000 000000ff 00 00", nil), "00000008 00 0000 00 00000000")
	wantBytes(t, "its failures", r.good(t, "84 04 01 00000000000000 000000ff 00 00", nil), "00000000")
	wantSense(t, run(r.newNexus(t), 0, "84 00 01 00000000000000 000000ff 00 00", nil), illegalRequest, invalidFieldInCDB)
	elsewhere := r.spec(copySegmentOf(0, 0, 2, 8, 0, 0))
	elsewhere.id = 2
	if res := r.copy(elsewhere.encode()); res.Status != Good {
		t.Errorf("another identifier: %x", res.Sense)
	}
	elsewhere.id, elsewhere.flags = 0, 0x18 // none
	if res := r.copy(elsewhere.encode()); res.Status != Good {
		t.Errorf("no identifier: %x", res.Sense)
	}
	wantSense(t, r.run("84 00 00 00000000000000 000000ff 00 00", nil), illegalRequest, invalidFieldInCDB)
	release()
	if res := <-done; res.Status != Good {
		t.Errorf("the first copy: %x", res.Sense)
	}
	s.flags = 0x10 // may be discarded
	if res := r.copy(s.encode()); res.Status != Good {
		t.Errorf("the identifier again: %x", res.Sense)
	}
	r.dev.ResetUnit([8]byte{}, nil)
	r.run("00", nil)
	wantSense(t, r.run("84 00 01 00000000000000 000000ff 00 00", nil), illegalRequest, invalidFieldInCDB)
}

func TestCopiesAtOnce(t *testing.T) {
	r := newCopyRig(t)
	arrived, release := r.faults[1].Hold(faultdev.Write)
	var all []<-chan Result
	for i := range byte(maxCopies) {
		s := r.spec(copySegmentOf(0, 0, 1, 1, 0, uint64(i)))
		s.id = i
		_, done := r.start(s.encode())
		all = append(all, done)
		<-arrived
	}
	s := r.spec()
	s.flags, s.id = 0x18, 0
	if res := r.copy(s.encode()); res.Status != Busy {
		t.Errorf("one more: %v", res.Status)
	}
	release()
	for _, done := range all {
		if res := <-done; res.Status != Good {
			t.Errorf("%v, %x", res.Status, res.Sense)
		}
	}
	if res := r.copy(s.encode()); res.Status != Good {
		t.Errorf("after them: %v", res.Status)
	}
}

// A copy ends between two chunks when it is cancelled, and when somebody ends
// the tasks of a unit that it uses.
func TestCopyEndsEarly(t *testing.T) {
	for name, end := range map[string]func(r *copyRig, task *Task) []<-chan struct{}{
		"cancelled": func(_ *copyRig, task *Task) []<-chan struct{} { task.Cancel(); return nil },
		"destination reset": func(r *copyRig, _ *Task) []<-chan struct{} {
			wait, _ := r.dev.ResetUnit([8]byte{0, 1}, nil)
			return wait
		},
		"tasks of the destination cleared": func(r *copyRig, _ *Task) []<-chan struct{} {
			wait, _ := r.dev.ClearTaskSet([8]byte{0, 1}, nil)
			return wait
		},
		"preempted at the destination": func(r *copyRig, _ *Task) []<-chan struct{} {
			// The copy's initiator has the key 1, from before it began.
			n := r.newNexusOf(t, "iqn.2006-12.example:other,i,0x1")
			list := make([]byte, 24)
			list[15] = 2
			if res := run(n, 1, "5f 00 00 0000 00000018 00", list); res.Status != Good {
				t.Fatalf("REGISTER: %x", res.Sense)
			}
			list[7], list[15] = 2, 1
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res := run(n, 1, "5f 05 01 0000 00000018 00", list); res.Status != Good {
					t.Errorf("PREEMPT AND ABORT: %x", res.Sense)
				}
			}()
			for r.units[1].guestsKilled() == 0 {
				time.Sleep(time.Millisecond)
			}
			return []<-chan struct{}{done}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newCopyRig(t)
			key := make([]byte, 24)
			key[15] = 1
			if res := run(r.nexus, 1, "5f 00 00 0000 00000018 00", key); res.Status != Good {
				t.Fatalf("REGISTER: %x", res.Sense)
			}
			arrived, release := r.faults[1].Hold(faultdev.Write)
			task, done := r.start(r.spec(copySegmentOf(0, 0, 1, 8192, 0, 0), copySegmentOf(0, 0, 1, 1, 0, 0)).encode())
			<-arrived
			before := content(t, r.faults[1])
			wait := end(r, task)
			for _, c := range wait {
				select {
				case <-c:
					t.Error("said to be over with a write under way")
				case <-afterMoment():
				}
			}
			release()
			res := <-done
			wantSense(t, res, copyAborted, commandsCleared)
			for _, c := range wait {
				<-c
			}
			got := content(t, r.faults[1])
			if !bytes.Equal(got[copyChunk:], before[copyChunk:]) {
				t.Error("went on after the end")
			}
			if n := len(r.units[1].guests); n != 0 {
				t.Errorf("%d guests left", n)
			}
		})
	}
}

// guestsKilled counts the copies that have been told to end.
func (u *Unit) guestsKilled() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for g := range u.guests {
		if g.killed.Load() {
			n++
		}
	}
	return n
}

// newNexusOf is newNexus for another initiator port.
func (r *copyRig) newNexusOf(t testing.TB, initiator string) *Nexus {
	t.Helper()
	n := r.dev.NewNexus(initiator, testPort, nil)
	for lun := range uint16(3) {
		wantSense(t, run(n, lun, "00", nil), unitAttention, powerOnReset)
	}
	return n
}

// Copies, resets, reservations, and a LUN that comes and goes, all at once:
// everything ends, and every copy says GOOD or why not.
func TestCopyStorm(t *testing.T) {
	r := newCopyRig(t)
	other := r.newNexusOf(t, "iqn.2006-12.example:other,i,0x1")
	end := time.Now().Add(700 * time.Millisecond)
	var others, copiers sync.WaitGroup
	good := 0
	var mu sync.Mutex
	for i := range 4 {
		copiers.Go(func() {
			s := r.spec(copySegmentOf(0, uint16(i%3), uint16((i+1)%3), 2048, 0, 0), copySegmentOf(0, 1, 1, 3000, 0, 8))
			s.id = byte(i)
			for time.Now().Before(end) {
				switch res := r.copy(s.encode()); res.Status {
				case Good:
					mu.Lock()
					good++
					mu.Unlock()
				case CheckCondition:
					if k := senseKey(res.Sense[2] & 15); k != unitAttention && k != copyAborted {
						t.Errorf("sense %x", res.Sense)
					}
				default:
					t.Errorf("%v", res.Status)
				}
			}
		})
	}
	others.Go(func() {
		for time.Now().Before(end) {
			wait, _ := r.dev.ResetUnit([8]byte{0, 2}, nil)
			for _, c := range wait {
				<-c
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	others.Go(func() {
		for time.Now().Before(end) {
			if err := r.dev.Detach(1); err != nil {
				t.Error(err)
			}
			if err := r.dev.Attach(1, r.units[1]); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	others.Go(func() {
		for time.Now().Before(end) {
			run(other, 2, "16 00 00 00 00 00", nil) // RESERVE
			time.Sleep(2 * time.Millisecond)
			run(other, 2, "17 00 00 00 00 00", nil)
			time.Sleep(5 * time.Millisecond)
		}
	})
	copiers.Wait()
	others.Wait()
	for i, u := range r.units {
		if len(u.guests) != 0 || u.copying.Load() != 0 {
			t.Errorf("unit %d: something of a copy is left", i)
		}
	}
	if good == 0 {
		t.Error("no copy has come through")
	}
}

// A LUN that a copy writes to can be taken away; the copy fails.
func TestCopyAndDetach(t *testing.T) {
	r := newCopyRig(t)
	arrived, release := r.faults[1].Hold(faultdev.Write)
	_, done := r.start(r.spec(copySegmentOf(0, 0, 1, 8192, 0, 0)).encode())
	<-arrived
	detached := make(chan error, 1)
	go func() { detached <- r.dev.Detach(1) }()
	select {
	case <-detached:
		t.Error("detached with a write under way")
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if err := <-detached; err != nil {
		t.Error(err)
	}
	if res := <-done; res.Status != CheckCondition || res.Sense[2] != byte(copyAborted) {
		t.Errorf("%v, sense %x", res.Status, res.Sense)
	}
	if err := r.units[1].Close(); err != nil {
		t.Error(err)
	}
}

// Sense data in descriptor format has the segment, and what the end of the
// copy said.
func TestCopyDescriptorSense(t *testing.T) {
	s := sense{key: copyAborted, where: inSegment, byte: 4, bit: noBit, copy: &copySense{segment: 0x102}}
	wantBytes(t, "a wrong index", s.encode(true), "720a0000 00000014  0206 0000 a00004 00  010a 0000 00000000 0000 0102")
	r := Result{Status: CheckCondition, Sense: illegal(lbaOutOfRange).encode(true)}
	s = (&segment{number: 3}).forward(ofDestination, r)
	wantBytes(t, "forwarded", s.encode(true), "720a0000 00000018  010a 0000 00000000 0000 0003  0c0a 02 02 72052100 00000000")
}

// Whatever the list, the copy comes back, and touches nothing but what it
// names.
func FuzzExtendedCopy(f *testing.F) {
	r := newCopyRig(f)
	f.Add(r.spec(copySegmentOf(0, 0, 1, 8, 0, 0)).encode())
	f.Add(r.spec(copySegmentOf(2, 0, 2, 8, 7, 1), copySegmentOf(0, 1, 1, 8, 0, 4)).encode())
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, list []byte) {
		res := r.copy(list)
		if l, bad := decodeCopyList(list); bad.failed() && len(list) > 0 && res.Status == Good {
			t.Errorf("a bad list is GOOD: %x", list)
		} else if !bad.failed() && (len(l.targets) > maxCopyTargets || len(l.segments) > maxCopySegments) {
			t.Errorf("%d targets, %d segments", len(l.targets), len(l.segments))
		}
		if n := len(r.unit.guests); n != 0 || r.unit.copying.Load() != 0 {
			t.Errorf("%d guests left", n)
		}
	})
}

func BenchmarkExtendedCopy(b *testing.B) {
	r := newCopyRig(b)
	list := r.spec(copySegmentOf(0, 0, 1, 8192, 0, 0)).encode()
	b.SetBytes(testSize)
	for b.Loop() {
		if res := r.copy(list); res.Status != Good {
			b.Fatalf("%x", res.Sense)
		}
	}
}
