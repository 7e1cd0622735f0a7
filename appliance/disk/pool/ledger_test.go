package pool

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// book is a Ledger in memory.
type book struct {
	entries map[string]Entry
	writes  int
	err     error
	off     func() bool // power is off
}

func (b *book) Entry(group string) Entry { return b.entries[group] }

func (b *book) Keep(group string, e Entry) error {
	if b.off() {
		return errPower
	}
	if b.err == nil {
		b.writes++
		b.entries[group] = e
	}
	return b.err
}

// again is a start of the daemon, or with reboot of the machine.
func (b *bench) again(reboot bool) {
	b.t.Helper()
	if reboot {
		b.restart()
	}
	b.start()
	b.look()
}

func TestWaitGoesOnAfterRestart(t *testing.T) {
	for _, reboot := range []bool{false, true} {
		b := newBench(t, "ab", nil)
		b.unplug("b")
		b.write()
		b.look()
		b.clock.t = b.clock.t.Add(6 * time.Minute)
		b.commands()
		b.again(reboot)
		b.wants(Absent, "in 3m5", "goes on without it")
		b.clock.t = b.clock.t.Add(3 * time.Minute)
		b.look()
		b.wants(Absent)
		b.clock.t = b.clock.t.Add(time.Minute)
		b.look()
		b.wants(Cut)
	}
}

// A machine that was off for longer than a lost disk is waited for still gives it a
// moment to come back; and a clock that was put back doesn't make it wait longer
// than a new loss.
func TestWaitAfterLongOff(t *testing.T) {
	for off, most := range map[time.Duration]time.Duration{24 * time.Hour: startWait, -24 * time.Hour: 10 * time.Minute} {
		b := newBench(t, "ab", nil)
		b.unplug("b")
		b.write()
		b.look()
		b.clock.t = b.clock.t.Add(off)
		b.again(true)
		b.wants(Absent, "in ")
		b.clock.t = b.clock.t.Add(most - 30*time.Second)
		b.look()
		b.wants(Absent)
		b.clock.t = b.clock.t.Add(40 * time.Second)
		b.look()
		b.wants(Cut)
	}
}

// A disk that failed as often as it is tried isn't trusted again after a restart.
func TestTriesAreKept(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.broken["/dev/vdb"] = true
	b.write()
	for range 5 {
		b.clock.t = b.clock.t.Add(tryDistance)
		b.look()
		b.world.sync()
	}
	b.clock.t = b.clock.t.Add(ledgerPeriod)
	b.look()
	b.ran(refreshed, refreshed, refreshed)
	for range 2 {
		b.again(false)
		b.wants(LegFailed, "disk B has failed")
		b.ran()
	}
}

// Power fails while a working disk is being replaced by command: it goes on.
func TestReplacementIsKept(t *testing.T) {
	for at := 1; at < 20; at++ { // at 0 the command isn't even noted
		b := newBench(t, "abc", nil)
		b.left = at
		_, err := b.ReplaceDisk(t.Context(), Replacement{"B", "C"})
		b.again(true)
		for range 3 { // one volume may be filled only once the other is
			b.world.sync()
			b.look()
		}
		b.write()
		b.wants(Healthy)
		b.whole("/dev/vda", "/dev/vdc")
		if e := b.book.entries["uuid-0"]; !e.IsZero() {
			b.clock.t = b.clock.t.Add(ledgerPeriod)
			b.look()
			if e = b.book.entries["uuid-0"]; !e.IsZero() {
				t.Errorf("cut at %d: %+v is left", at, e)
			}
		}
		if t.Failed() {
			t.Fatalf("cut at change %d", at)
		}
		if err == nil {
			return
		}
	}
	t.Error("no end")
}

func TestMismatchesAreKept(t *testing.T) {
	b := newBench(t, "ab", nil)
	scrub := func(differ int) {
		if err := b.ScrubPool(t.Context(), "tank"); err != nil {
			t.Fatal(err)
		}
		b.look()
		b.wants(Checking)
		b.differ = differ
		b.world.sync()
		b.look()
		b.clock.t = b.clock.t.Add(ledgerPeriod)
		b.look()
	}
	scrub(8)
	b.again(true)
	b.wants(Healthy, "16 sectors differ") // 8 of each volume
	if diff := cmp.Diff(map[string]int64{"thinpool_tdata": 8, "thinpool_tmeta": 8}, b.book.entries["uuid-0"].Mismatches); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	scrub(0)
	if _, p := b.state(); p.Mismatches != 0 || !b.book.entries["uuid-0"].IsZero() {
		t.Errorf("%d sectors still differ; kept %+v", p.Mismatches, b.book.entries["uuid-0"])
	}

	// One that a restart of the machine broke off is done again, one that goes on
	// while the daemon restarts isn't; even if what is known was kept just before.
	b.unplug("b")
	b.write()
	b.look()
	b.plug("b")
	b.look()
	b.world.sync()
	b.look()
	if err := b.ScrubPool(t.Context(), "tank"); err != nil {
		t.Fatal(err)
	}
	b.look()
	for _, tt := range []struct {
		reboot bool
		want   int
	}{{true, 2}, {false, 0}, {true, 2}} {
		before := b.scrubs
		b.again(tt.reboot)
		if n := b.scrubs - before; n != tt.want {
			t.Errorf("reboot %v: %d volumes compared, want %d", tt.reboot, n, tt.want)
		}
		b.compare = true
		b.look()
	}
}

// A disk that comes and goes doesn't wear out the stick, and a stick that can't be
// written changes nothing until the next start.
func TestFewWrites(t *testing.T) {
	b := newBench(t, "ab", nil)
	before := b.book.writes
	for range 20 {
		b.unplug("b")
		b.write()
		b.look()
		b.plug("b")
		b.look()
		b.world.sync()
		b.look()
	}
	span := 20 * 12 * time.Second
	if n := b.book.writes - before; n == 0 || n > int(span/ledgerPeriod)+1 {
		t.Errorf("%d writes in %v", n, span)
	}
	b.book.err = errors.New("read-only")
	b.unplug("b")
	b.write()
	b.look()
	b.wants(Absent)
	b.clock.t = b.clock.t.Add(11 * time.Minute)
	b.look()
	if s, p := b.state(); s != string(Cut) || strings.Contains(p.Detail, "read-only") {
		t.Errorf("state %s: %s", s, p.Detail)
	}
}
