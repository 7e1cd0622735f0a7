//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
)

// TestMendPowerCut cuts the power at random moments while a blank disk takes the place of
// one of a mirror's, under an initiator that writes: MEND_CUTS times (3), with the random
// numbers of MEND_SEED; with MEND_LEDGER, a line is added to that file. Each time the other disk is pulled, so what was rebuilt the time
// before is needed. All that was acknowledged and flushed is there after each cut, the
// copies are the same in the end, and LVM's command has left nothing behind.
func TestMendPowerCut(t *testing.T) {
	t.Parallel()
	cuts, seed := number(t, "MEND_CUTS", 3), uint64(number(t, "MEND_SEED", int(time.Now().UnixNano())))
	t.Logf("MEND_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, strings.Replace(redundantTOML, `"20m"`, `"5s"`, 1))
	b := &bench{site: s}
	pulled, stays := "R-1", "R-2"
	b.machine = s.boot(t, b.drive(t, pulled), b.drive(t, stays))
	b.awaitLUN(t, iqn)
	b.identity = b.machine.identity(t)
	b.write(t, blocks)
	b.reaches(t, "healthy")
	volumes := func() string { return b.shell(t, "lvm lvs -a --noheadings -o lv_name tank") }
	want := volumes()
	done, found := 0, map[string]int{}
	defer func() { noteCuts(t, "MEND_LEDGER", seed, done, found) }()
	for i := range cuts {
		fresh := fmt.Sprintf("R-%d", i+3)
		b.unplug(t, pulled)
		b.write(t, 2)
		b.plug(t, fresh)
		after := time.Duration(rnd.Int64N(int64(15 * time.Second)))
		b.writeUntilTheCut(t, after)
		was := b.Serial()
		b.machine = s.boot(t, b.drive(t, stays), b.drive(t, fresh))
		b.awaitLUN(t, iqn)
		b.check(t)
		if p := b.statusInTime(t).Pools[0]; slices.Contains(p.Disks, fresh) {
			found[p.State+" with it"]++
		} else {
			found[p.State]++
		}
		b.pool(t, func(p status.Pool) bool {
			return p.State == "healthy" && len(p.Disks) == 2 && slices.Contains(p.Disks, fresh) && len(p.Missing) == 0
		})
		b.check(t)
		if n := b.compares(t); n > 0 {
			t.Errorf("%d sectors differ", n)
		}
		if now := volumes(); now != want {
			t.Errorf("LVM has\n%s\nand had\n%s", now, want)
		}
		if again := b.machine.identity(t); again != b.identity {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", b.identity, again)
		}
		t.Logf("cut %d: after %v", i+1, after.Round(time.Millisecond))
		done++
		if t.Failed() {
			t.Logf("console before the cut:\n%s", was)
			return
		}
		pulled, stays = stays, fresh
	}
}
