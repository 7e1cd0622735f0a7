package pool

import (
	"errors"
	"testing"
	"time"
)

// A pool has disks that it hasn't grown to yet. They aren't filled as soon as another
// one is away for a moment; only if a blank one comes, which is taken, or after a while.
func TestRoomToGrowWaits(t *testing.T) {
	b := newBench(t, "abcd", func(s *Spec) { s.Disks = []string{"A", "B", "C", "D"} })
	b.whole("/dev/vda", "/dev/vdb")
	if n := len(b.groups[0].Physical); n != 4 {
		t.Errorf("%d disks in the pool", n)
	}
	b.unplug("b")
	b.write()
	b.look()
	b.wants(Absent, "disk B is missing", "other disks of the pool take its place")
	b.ran()
	b.plug("b")
	b.look()
	b.ran(refreshed)
	b.world.sync()
	b.look()
	b.wants(Healthy)

	b.unplug("b")
	b.write()
	b.look()
	b.plug("e")
	b.look()
	b.wants(Rebuilding, "disk E")
	b.settles("/dev/vda", "/dev/vde")

	b.unplug("e")
	b.write()
	b.look()
	b.wants(Absent, "disk E is missing")
	b.clock.t = b.clock.t.Add(11 * time.Minute)
	b.look()
	b.wants(Rebuilding, "disk C")
	b.settles("/dev/vda", "/dev/vdc", "/dev/vdd")
}

// Of three copies two are lost. LVM forgets no missing disk while something lies on
// another one that is missing.
func TestTwoLost(t *testing.T) {
	for _, blanks := range []string{"x", "xy"} {
		b := newBench(t, "abc", func(s *Spec) { s.Disks = []string{"A", "B", "C"} })
		b.unplug("b")
		b.unplug("c")
		b.write()
		b.look()
		for _, l := range blanks {
			b.plug(string(l))
			b.look()
			b.world.sync()
			b.write()
			b.look()
		}
		b.clock.t = b.clock.t.Add(11 * time.Minute)
		b.look()
		b.world.sync()
		b.look()
		if len(blanks) == 2 {
			b.wants(Healthy)
			b.whole("/dev/vda", "/dev/vdx", "/dev/vdy")
		} else {
			b.wants(Cut)
		}
	}
}

// Just before a missing disk is given up, the last copy's disk goes, too.
func TestCutTooLate(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.unplug("a")
	if err := b.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := CutMissing{Pool: "tank", Disks: "B", PVs: []string{"pv-b"}}.do(t.Context(), b.Manager)
	b.unlock()
	if err == nil {
		t.Error("no error")
	}
	b.ran()
	b.plug("a")
	b.plug("b")
	b.look()
	b.world.sync()
	b.look()
	b.wants(Healthy)
}

// The power fails between a blank disk's joining the pool instead of a lost one and its
// being filled. What it is there for isn't forgotten.
func TestInsteadIsKept(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.plug("c")
	b.left = 4 // pvcreate, stamp and all that; see that it joined
	for ; len(b.groups[0].Physical) < 3; b.left++ {
		b.look()
	}
	b.left = 0
	b.restart()
	if n := len(b.groups[0].Physical); n != 3 || b.world.allocated(b.groups[0], b.groups[0].Physical[2].UUID) != 0 {
		t.Fatalf("%d disks in the pool", n)
	}
	b.start()
	b.look()
	b.wants(Rebuilding, "disk C")
	b.world.sync()
	b.look()
	b.wants(Healthy)
	if r := b.book.Entry("uuid-0"); len(r.Instead) != 0 {
		t.Errorf("kept for good: %+v", r)
	}
}

// A disk that was here before the loss, and not blank, is wiped after it: it is meant
// to be used, and isn't there to make the pool larger.
func TestWipedAfterTheLoss(t *testing.T) {
	b := newBench(t, "abc", nil)
	b.unplug("c")
	b.look()
	b.hold("c")
	b.plug("c")
	b.look()
	b.unplug("b")
	b.write()
	b.look()
	b.wants(Absent, "disk B is missing", "goes on without it")
	wipe := func(w Wipe) Wiped {
		t.Helper()
		for {
			done, err := b.Wipe(t.Context(), w)
			if err == nil {
				return done
			}
			if !errors.Is(err, errMute) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // it is still being looked at, on a busy machine
		}
	}
	wipe(Wipe{Disk: "C", Confirmed: wipe(Wipe{Disk: "C"}).Holds})
	b.look()
	b.wants(Rebuilding, "disk C")
	b.settles("/dev/vda", "/dev/vdc")
}

// The disk that took a lost one's place is lost, too, in the same run: LVM has left
// devices that are in its way.
func TestLostAgain(t *testing.T) {
	for _, blank := range []bool{true, false} {
		b := newBench(t, "ab", nil)
		b.unplug("b")
		b.write()
		b.look()
		for _, next := range []string{"c", "d"} {
			b.plug(next)
			b.look()
			b.settles("/dev/vda", "/dev/vd"+next)
			b.unplug(next)
			b.write()
			b.look()
			if !blank {
				b.clock.t = b.clock.t.Add(11 * time.Minute)
				b.look()
				b.wants(Cut)
			}
		}
	}
}

// A disk that takes no writes is replaced while it is here: LVM can't note anything on it.
func TestReplacedThoughItTakesNoWrites(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.broken["/dev/vdb"] = true
	b.sealed = map[string]bool{"/dev/vdb": true}
	b.write()
	for range 4 {
		b.look()
		b.clock.t = b.clock.t.Add(tryDistance)
		b.world.sync()
	}
	b.wants(LegFailed, "disk B has failed")
	b.plug("c")
	b.look()
	b.wants(Rebuilding, "disk C")
	b.settles("/dev/vda", "/dev/vdc")
	if p, _, _ := b.Status(t.Context()); len(p[0].Disks) != 2 || len(p[0].Missing) > 0 {
		t.Errorf("disks %v, missing %v", p[0].Disks, p[0].Missing)
	}
}

// A blank disk comes while one that has failed is still being tried.
func TestBlankComesBetweenTries(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.broken["/dev/vdb"] = true
	b.write()
	b.look()
	b.world.sync()
	b.look()
	b.wants(LegFailed, "disk B has failed")
	b.plug("c")
	// It works for a moment.
	b.broken["/dev/vdb"] = false
	b.clock.t = b.clock.t.Add(tryDistance)
	b.look()
	b.world.sync()
	b.look()
	b.wants(Healthy)
	b.broken["/dev/vdb"] = true
	b.write()
	for range 4 {
		b.clock.t = b.clock.t.Add(tryDistance)
		b.look()
		b.world.sync()
	}
	b.look()
	b.settles("/dev/vda", "/dev/vdc")
}

// A blank disk comes so soon after the loss that both are noticed at once.
func TestBlankComesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(b *bench)
	}{
		{"missing", func(b *bench) { b.unplug("b") }},
		{"failed", func(b *bench) { b.broken["/dev/vdb"] = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "ab", nil)
			tt.lose(b)
			b.write()
			b.plug("c")
			for range 1 + maxTries + 1 {
				b.look()
				b.world.sync()
				b.clock.t = b.clock.t.Add(tryDistance)
			}
			b.settles("/dev/vda", "/dev/vdc")
		})
	}
}
