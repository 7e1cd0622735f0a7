package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A client that does full requests in a tick, and so many of them while a disk is
// filled, keeps more than half of them, however much filling takes from it; and a
// disk gets filled.
func TestPaceKeepsHalf(t *testing.T) {
	for _, tt := range []struct {
		full, filling uint64
		least         float64 // of the time, in which the disk is filled
	}{
		{100, 0, 0.24}, {100, 10, 0.24}, {100, 25, 0.24}, {100, 50, 0.49}, {100, 60, 0.61}, {100, 100, 0.86}, {3, 3, 0.86}, {100_000, 40_000, 0.36},
	} {
		var p pace
		s := p.next(0, false)
		var got, filled uint64
		const ticks = 100 * paceCycle
		for range ticks {
			ended := tt.full
			if s == speedNormal {
				ended = tt.filling
				filled++
			}
			got += ended
			s = p.next(ended, true)
		}
		if kept := float64(got) / float64(ticks*tt.full); kept < 0.5 {
			t.Errorf("%+v: keeps %.2f", tt, kept)
		}
		if share := float64(filled) / ticks; share < tt.least {
			t.Errorf("%+v: the disk is filled for %.2f of the time", tt, share)
		}
	}
}

func TestPaceWithoutClients(t *testing.T) {
	var p pace
	for range 20 {
		if s := p.next(0, false); s != speedNormal {
			t.Fatalf("held up for nobody: %+v", s)
		}
	}
	if s := p.next(5, false); s != speedPaused {
		t.Errorf("not held up for a client: %+v", s)
	}
	normal := 0
	for range 3 * paceCycle {
		if p.next(0, false) == speedNormal {
			normal++
		}
	}
	if normal < 2*paceCycle {
		t.Errorf("held up for a client that has gone: %d of %d", normal, 3*paceCycle)
	}
}

// The task sets md's limits while a disk is filled and a client is there, and leaves
// them as they were.
func TestPaceTask(t *testing.T) {
	b := newBench(t, "ab", nil)
	proc := t.TempDir()
	limits := filepath.Join(proc, "sys", "dev", "raid")
	sys := filepath.Join(b.sysfs, "block", "dm-7")
	for _, dir := range []string{limits, filepath.Join(sys, "dm")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(sys, "dm", "name"), "tank-thinpool_tdata\n")
	b.Manager, _ = b.manager(func(o *Options) { o.Procfs, o.Now = proc, b.clock.now })
	if err := b.Bring(t.Context(), b.specs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Pace().Run(ctx) }()
	n := 0
	limit := func(want string) {
		t.Helper()
		var got []byte
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			n += 10
			put(filepath.Join(sys, "stat"), fmt.Sprintf("%d 0 0 0 0 0 0 0 1 0 0\n", n))
			if got, _ = os.ReadFile(filepath.Join(limits, "speed_limit_max")); strings.TrimSpace(string(got)) == want {
				return
			}
		}
		t.Fatalf("the limit is %q, want %s", got, want)
	}
	limit("200000")
	b.unplug("b")
	b.write()
	b.plug("b")
	b.look()
	b.wants(Rebuilding)
	limit("1")
	limit("200000")
	limit("1")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	limit("200000")
}
