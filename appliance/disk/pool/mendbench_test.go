package pool

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// bench is a machine with the pool tank on disks A and B, in use.
type bench struct {
	*world
	*Manager
	t     *testing.T
	clock *clock
	notes *notes
	book  *book
	specs []Spec

	through func(sys.Command) (sys.Output, error) // runs commands instead of the world
}

func newBench(t *testing.T, letters string, change func(*Spec)) *bench {
	t.Helper()
	b := &bench{world: newWorld(t, letters), t: t, clock: &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, notes: &notes{newest: map[string][]string{}}, book: &book{entries: map[string]Entry{}}}
	b.specs = slices.Clone(tank)
	b.specs[0].SpareAfter = 10 * time.Minute
	if change != nil {
		change(&b.specs[0])
	}
	b.book.off = func() bool {
		b.world.mu.Lock()
		defer b.world.mu.Unlock()
		return b.left == 0
	}
	b.start()
	b.world.sync()
	b.look()
	b.write()
	b.commands()
	return b
}

// start is what happens after power on. Errors are the business of the caller's
// next look.
func (b *bench) start() {
	b.Manager, _ = b.manager(func(o *Options) {
		o.Witness, o.Ledger, o.Now = b.notes, b.book, b.clock.now
		if b.through != nil {
			o.Runner = &systest.Runner{Handle: b.through}
		}
	})
	_ = b.Bring(b.t.Context(), b.specs)
}

// look is a tick of Watch, and what follows from it.
func (b *bench) look() {
	for range 4 {
		b.clock.t = b.clock.t.Add(time.Second)
		if err := b.refresh(b.t.Context()); err != nil && !errors.Is(err, errPower) {
			b.t.Fatal(err)
		}
	}
}

// settles lets what goes on end: the pool is well then, and these disks have all.
func (b *bench) settles(disks ...string) {
	b.t.Helper()
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole(disks...)
}

func (b *bench) state() (string, status.Pool) {
	pools, _, _ := b.Status(b.t.Context())
	return pools[0].State, pools[0]
}

func (b *bench) wants(state State, words ...string) {
	b.t.Helper()
	got, p := b.state()
	if got != string(state) {
		b.t.Errorf("state %s (%s), want %s", got, p.Detail, state)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			b.t.Errorf("state %s: %q doesn't say %q", got, p.Detail, w)
		}
	}
}

func (b *bench) ran(want ...string) {
	b.t.Helper()
	var got []string
	for _, c := range b.commands() {
		got = append(got, strings.TrimPrefix(c, "/sbin/lvm "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// whole fails unless each leg is on one of the disks, and has all that was ever
// written.
func (b *bench) whole(paths ...string) {
	b.t.Helper()
	b.world.mu.Lock()
	defer b.world.mu.Unlock()
	for _, v := range []string{"thinpool_tdata", "thinpool_tmeta"} {
		for _, l := range b.legsOf("tank", v) {
			if p := b.pathOf(b.groups[0], l.pv); l.letter != 'A' || !slices.Contains(paths, p) || l.writes != b.writes || l.bound != b.number(p) {
				b.t.Errorf("%s has a leg %+v on %q; %d writes", v, *l, p, b.writes)
			}
		}
	}
}

// hold puts something on a disk that isn't ours.
func (b *bench) hold(letter string) {
	b.world.mu.Lock()
	defer b.world.mu.Unlock()
	b.disks["/dev/vd"+letter].put(fill(4096), 64<<20)
}
