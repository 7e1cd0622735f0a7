package scsi

import (
	"bytes"
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
	} {
		t.Run(name, func(t *testing.T) {
			r := newCopyRig(t)
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
