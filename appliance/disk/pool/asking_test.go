package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// silence has a disk not answer any more, until the function that is returned is
// called.
func (w *world) silence(path string) (answer func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{})
	w.mute = map[string]chan struct{}{path: c}
	return func() {
		w.mu.Lock()
		w.mute = nil
		w.mu.Unlock()
		close(c)
	}
}

// answered waits until a question to a disk has been answered.
func answered(t *testing.T, m *Manager) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		m.mu.Lock()
		n := len(m.asked)
		m.mu.Unlock()
		if n == 0 {
			return
		}
	}
	t.Fatal("a disk still doesn't answer")
}

func says(problems []status.Problem, text string) bool {
	return slices.ContainsFunc(problems, func(p status.Problem) bool { return strings.Contains(p.What, text) })
}

// A disk that hangs holds up neither a pool on other disks nor LVM, is asked once
// however often it would be looked at, and is looked at when it answers.
func TestHungDiskBesideAPool(t *testing.T) {
	w := newWorld(t, "abc")
	answer := w.silence("/dev/vdc")
	m, _ := w.manager(func(o *Options) { o.AskLimit = time.Second })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := m.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.readTemperatures(t.Context())
	}
	if n := w.asked["/dev/vdc"]; n != 1 {
		t.Errorf("the disk is asked %d times", n)
	}
	for _, c := range w.commands() {
		if !strings.Contains(c, `r|^/dev/vdc$|`) {
			t.Errorf("LVM sees the disk: %s", c)
		}
	}
	pools, disks, problems := m.Status(t.Context())
	if pools[0].Health != status.OK || disks[2].Use != "doesn't answer" || !says(problems, "disk C (vdc) hasn't answered for ") {
		t.Errorf("pool %s; disks %+v; problems %+v", pools[0].Health, disks, problems)
	}
	if _, err := m.Wipe(t.Context(), Wipe{Disk: "C"}); err == nil || !strings.Contains(err.Error(), "doesn't answer") {
		t.Errorf("wiping it: %v", err)
	}
	answer()
	answered(t, m)
	if err := m.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, disks, problems := m.Status(t.Context()); disks[2].Use != "blank" || len(problems) > 0 {
		t.Errorf("it answers; disks %+v; problems %+v", disks, problems)
	}
}

// A pool whose disk hangs when the machine starts is used without it, and takes it
// back when it answers.
func TestHungDiskOfAPoolAtStart(t *testing.T) {
	b := newBench(t, "ab", nil)
	answer := b.silence("/dev/vdb")
	b.restart()
	b.Manager, _ = b.manager(func(o *Options) {
		o.Witness, o.Ledger, o.Now, o.AskLimit = b.notes, b.book, b.clock.now, time.Second
	})
	if err := b.Bring(t.Context(), b.specs); err != nil {
		t.Fatal(err)
	}
	b.write()
	b.look()
	b.wants(Absent, "disk B doesn't answer")
	answer()
	answered(t, b.Manager)
	b.look()
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdb")
}

// What clients asked a disk, and it doesn't end, is seen without asking it.
func TestPulse(t *testing.T) {
	b := newBench(t, "ab", nil)
	stat := func(ended, waiting int) {
		t.Helper()
		line := fmt.Sprintf("%d 0 0 0 7 0 0 0 %d 0 0 0 0 0 0 3 0\n", ended, waiting)
		if err := os.WriteFile(filepath.Join(b.sysfs, "block", "vdb", "stat"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	after := func(d time.Duration) (woken bool, problems []status.Problem) {
		b.clock.t = b.clock.t.Add(d)
		woken = b.feelPulses()
		_, _, problems = b.Status(t.Context())
		return woken, problems
	}
	steps := []struct {
		name           string
		ended, waiting int
		after          time.Duration
		told, woken    bool
		hidden         string
	}{
		{"idle", 5, 0, time.Second, false, false, ""},
		{"idle for long", 5, 0, time.Hour, false, false, ""},
		{"busy", 5, 3, time.Second, false, false, ""},
		{"busy and getting on", 6, 3, 9 * time.Second, false, false, ""},
		{"hangs", 6, 3, 9 * time.Second, false, false, ""},
		{"hangs for long", 6, 3, 2 * time.Second, true, false, ""},
		{"hangs for longer", 6, 3, 20 * time.Second, true, true, "/dev/vdb"},
		{"hangs on", 6, 3, 20 * time.Second, true, false, "/dev/vdb"},
		{"answers", 7, 2, time.Second, false, true, ""},
		{"is done", 9, 0, time.Second, false, false, ""},
	}
	for _, s := range steps {
		stat(s.ended, s.waiting)
		woken, problems := after(s.after)
		if told := says(problems, "disk B (vdb) hasn't answered"); told != s.told {
			t.Errorf("%s: told %v, want %v: %+v", s.name, told, s.told, problems)
		}
		if got := strings.Join(b.mutePaths(), " "); woken != s.woken || got != s.hidden {
			t.Errorf("%s: woken %v, want %v; hidden %q, want %q", s.name, woken, s.woken, got, s.hidden)
		}
		if woken { // the pool does without it, and takes it back
			want := Healthy
			if s.hidden != "" {
				want = Absent
			}
			b.look()
			b.wants(want)
		}
	}
	if b.takeWoken() {
		t.Error("nobody looked")
	}
	if err := os.WriteFile(filepath.Join(b.sysfs, "block", "vdb", "stat"), []byte("1 2 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if woken, problems := after(time.Hour); woken || len(problems) > 0 {
		t.Errorf("a file that can't be read: woken %v, %+v", woken, problems)
	}
}

// A disk is slow by the time for which it works on each request, and not by how
// many requests wait for it.
func TestSlowDisk(t *testing.T) {
	at := time.Unix(1000, 0)
	var p pulse
	steps := []struct {
		name     string
		requests uint64
		busy     time.Duration // of the next 20 s
		want     time.Duration
	}{
		{"at the start", 1000, time.Hour, 0},
		{"idle", 0, 0, 0},
		{"busy", 2000, 20 * time.Second, 0},
		{"large requests", 200, 20 * time.Second, 0},
		{"slow", 20, 20 * time.Second, time.Second},
		{"too few to tell", 4, 4 * time.Second, 0},
		{"slow, but not always asked", 10, 5 * time.Second, 500 * time.Millisecond},
		{"quick again", 100, 3 * time.Second, 0},
	}
	var w work
	for _, s := range steps {
		w.ended, w.moved, w.busy, at = w.ended+2*s.requests, w.moved+s.requests, w.busy+s.busy, at.Add(speedPeriod) // each with a flush
		p = p.feel(w, 1, at)
		if p.request != s.want {
			t.Errorf("%s: %v, want %v", s.name, p.request, s.want)
		}
	}
	if p = p.feel(work{}, 0, at.Add(time.Hour)); p.request != 0 || p.began != (work{}) {
		t.Errorf("another disk of that name: %+v", p)
	}
}

// A Status that can't wait for the kernel tells what Watch saw last, if that is newer
// than what another Status saw.
func TestStatusTellsTheNewest(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.wants(Healthy)
	b.broken["/dev/vdb"] = true
	b.write()
	b.look()
	hang := make(chan struct{})
	b.Manager.lvm.Runner = &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
		<-hang
		return b.handle(c)
	}}
	b.wants(Rebuilding, "disk B")
	close(hang)
	b.wants(Rebuilding, "disk B")
}
