package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// heard is a Units that remembers what it was told.
type heard struct {
	mu      sync.Mutex
	low     map[string]int
	refused map[string]bool
}

func (h *heard) SpaceLow(pool, volume string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.low[pool+"/"+volume]++
}

func (h *heard) SpaceEnough(pool, volume string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.low, pool+"/"+volume)
}

func (h *heard) Refuse(pool, volume string, refuse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[pool+"/"+volume] = refuse
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var refused []string
	for v, r := range h.refused {
		if r {
			refused = append(refused, v)
		}
	}
	slices.Sort(refused)
	return fmt.Sprintf("refused %v, low %v", refused, h.low)
}

// TestGuardTask fills a pool of two volumes that promises more than it has. The
// guard grows it as far as it goes, tells, refuses, and lets go again.
func TestGuardTask(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "ab")
	w.used = map[string]int64{"tank": 10 << 20}
	units := &heard{low: map[string]int{}, refused: map[string]bool{}}
	m, _ := w.manager(func(o *Options) { o.Units = units })
	spec := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{
		{Name: "low", Size: 1 << 30, Priority: 1}, {Name: "high", Size: 1 << 30, Priority: 8},
	}}}
	if err := m.Bring(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := m.CheckSpace(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.commands()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Guard().Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	tank := func() status.Pool {
		pools, _, _ := m.Status(t.Context())
		return pools[0]
	}
	fill := func(bytes int64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.used["tank"] = bytes
	}
	first := tank()
	fill(first.Size - first.Room - 20<<20) // 85 % of what the thin pool has now
	await(t, "the pool grows", func() bool { return strings.Contains(strings.Join(w.commands(), "\n"), "lvextend -L +") })
	await(t, "nobody is told", func() bool { return strings.HasPrefix(units.String(), "refused []") })
	// It grows until there is no room left.
	fill(first.Size * 82 / 100)
	await(t, "all room is used", func() bool { return tank().Room == 0 })
	full := tank()
	if full.Size != first.Size {
		t.Errorf("size is %d, and was %d with room to grow", full.Size, first.Size)
	}
	await(t, "initiators are told", func() bool { return strings.HasSuffix(units.String(), "low map[tank/high:1 tank/low:1]") })

	fill(full.Size - 11<<20)
	await(t, "the lower priority is refused", func() bool {
		return strings.HasPrefix(units.String(), "refused [tank/low]") || strings.HasPrefix(units.String(), "refused [tank/high tank/low]")
	})
	fill(full.Size)
	await(t, "all are refused", func() bool {
		_, available := m.Space("tank", "low")
		return available == 0 && strings.HasPrefix(units.String(), "refused [tank/high tank/low]")
	})
	p := tank()
	if p.Free != 0 || p.Health != status.Failed || !p.Volumes[0].Refused || !m.Refuses("tank", "low") {
		t.Errorf("full: %+v", p)
	}
	for _, want := range []string{"writes to volumes low, high are refused", "by a larger one"} {
		_, _, problems := m.Status(t.Context())
		if !slices.ContainsFunc(problems, func(x status.Problem) bool {
			return strings.Contains(x.What, "pool tank") && strings.Contains(x.What+x.Do, want)
		}) {
			t.Errorf("no problem says %q: %+v", want, problems)
		}
	}
	if used, _ := m.Space("tank", "low"); used != 4096 {
		t.Errorf("it takes %d", used)
	}
	fill(full.Size / 2)
	await(t, "all may write", func() bool { return strings.HasPrefix(units.String(), "refused []") })
	if p := tank(); p.Health != status.OK || p.Free != full.Size-full.Size/2/65536*65536 {
		t.Errorf("half full: %+v", p)
	}
}

// Names of volumes are unique in a pool only: what is said of one isn't said of
// another pool's.
func TestGuardNames(t *testing.T) {
	w := newWorld(t, "abcd")
	w.used = map[string]int64{"fast": 10 << 20, "slow": 1 << 20}
	units := &heard{low: map[string]int{}, refused: map[string]bool{}}
	m, _ := w.manager(func(o *Options) { o.Units = units })
	both := []Spec{
		{Name: "fast", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "vm1", Size: 1 << 30}}},
		{Name: "slow", Layout: Mirror, Disks: []string{"C", "D"}, Volumes: []VolumeSpec{{Name: "vm1", Size: 1 << 30}}},
	}
	if err := m.Bring(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.used["fast"] = 250 << 20
	w.mu.Unlock()
	if err := m.CheckSpace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := units.String(), "refused [fast/vm1], low map[fast/vm1:1]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// While a disk is missing LVM changes nothing, so the guard doesn't try.
func TestGuardWithoutADisk(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "ab")
	w.used = map[string]int64{"tank": 10 << 20}
	m, _ := w.manager(nil)
	spec := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "v", Size: 1 << 30}}}}
	if err := m.Bring(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.unplug("b") // LVM hasn't noticed yet
	w.commands()
	err := m.growPool(t.Context(), "tank", spaceActions{growData: 4 << 20})
	if err == nil || !strings.Contains(err.Error(), "disk B is missing") {
		t.Errorf("error %v", err)
	}
	if c := w.commands(); len(c) > 0 {
		t.Errorf("ran %v", c)
	}
}

// LVM knows better how much fits where disks differ.
func TestGrowLess(t *testing.T) {
	w := newWorld(t, "ab")
	w.used = map[string]int64{"tank": 10 << 20}
	m, _ := w.manager(nil)
	spec := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "v", Size: 1 << 30}}}}
	if err := m.Bring(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.limit = 3 // extents
	w.commands()
	if err := m.growPool(t.Context(), "tank", spaceActions{growData: 32 << 20}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/sbin/lvm lvextend -L +33554432b tank/thinpool /dev/vda /dev/vdb",
		"/sbin/lvm lvextend -L +16777216b tank/thinpool /dev/vda /dev/vdb",
		"/sbin/lvm lvextend -L +8388608b tank/thinpool /dev/vda /dev/vdb",
	}
	if got := w.commands(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

// await waits for something that the guard's task does.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it doesn't happen", what)
		}
	}
}

// A thin pool that has become read-only fails every write that needs something
// new: initiators are told so in the words for that.
func TestGuardReadOnlyPool(t *testing.T) {
	for dm, want := range map[string]string{
		"tank-thinpool-tpool: 0 327680 thin-pool 1 10/2048 10/2560 - rw discard_passdown queue_if_no_space - 512\ntank-v: 0 8192 thin 8 7\n":           "[]",
		"tank-thinpool-tpool: 0 327680 thin-pool 1 10/2048 10/2560 - ro discard_passdown queue_if_no_space needs_check 512\ntank-v: 0 8192 thin 8 7\n": "[v]",
	} {
		devices, err := lvm.ParseStatus(dm)
		if err != nil {
			t.Fatal(err)
		}
		v := view{facts: facts("ab", group("tank", "ab", thin("v", 4<<20))), devices: map[string]lvm.Device{}}
		for _, d := range devices {
			v.devices[d.Name] = d
		}
		f, ok := v.space(Spec{Name: "tank"}, noon)
		if !ok {
			t.Fatal("the pool isn't seen")
		}
		if got := fmt.Sprint(new(guardState).look(f).refuse); got != want {
			t.Errorf("%s: refused %s, want %s", dm, got, want)
		}
	}
}

// The kernel says that a pool is full though it has free chunks: all writes are
// refused at once, and the pool is woken.
func TestGuardWakesAFullPool(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "ab")
	w.used = map[string]int64{"tank": 10 << 20}
	units := &heard{low: map[string]int{}, refused: map[string]bool{}}
	m, _ := w.manager(func(o *Options) { o.Units = units })
	spec := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "v", Size: 1 << 30}}}}
	if err := m.Bring(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.stuck = true
	w.mu.Unlock()
	if err := m.CheckSpace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := units.String(); !strings.HasPrefix(got, "refused [tank/v]") {
		t.Errorf("%s, want v refused", got)
	}
	if err := m.CheckSpace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := units.String(); !strings.HasPrefix(got, "refused []") {
		t.Errorf("%s, want nobody refused once it is awake", got)
	}
}

// TestNewVolumeIsTold: space is low already when a volume is made.
func TestNewVolumeIsTold(t *testing.T) {
	units := &heard{low: map[string]int{}, refused: map[string]bool{}}
	m, _ := newWorld(t, "a").manager(func(o *Options) { o.Units = units })
	g := &guard{m: m}
	var st guardState
	look := func(volumes ...string) {
		f := crowded(91, hundred)
		for _, v := range volumes {
			f.volumes = append(f.volumes, guarded{name: v})
		}
		f.at = f.at.Add(time.Duration(len(volumes)) * time.Second)
		before := st.refused
		g.carryOut(Spec{Name: "tank"}, f, st.look(f), &st, before)
	}
	look("a")
	look("a", "b")
	look("a", "b", "c")
	if got := units.String(); got != "refused [], low map[tank/a:1 tank/b:1 tank/c:1]" {
		t.Error(got)
	}
}
