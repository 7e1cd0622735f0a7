package box

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"sanstick/appliance/sys"
)

// TestBootPhases checks that a daemon that is started again adds nothing to the
// machine's start.
func TestBootPhases(t *testing.T) {
	kept := sys.BootLog{Path: filepath.Join(t.TempDir(), "boot")}
	if err := kept.Add(sys.BootPhase{Name: "kernel", End: 1500 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	first := newBootPhases(kept, slog.New(slog.DiscardHandler))
	first.add("stick", now.Add(-2*time.Second), now.Add(-time.Second))
	first.add(lastPhase, now.Add(-time.Second), now)
	second := newBootPhases(kept, slog.New(slog.DiscardHandler))
	second.add("stick", now, now.Add(time.Hour))
	got := second.status()
	if len(got) != 3 || got[0].Name != "kernel" || got[0].Took != 1.5 || got[1].Name != "stick" || got[2].Name != lastPhase {
		t.Fatalf("phases %+v", got)
	}
	if took := got[1].Took; took < 0.99 || took > 1.01 {
		t.Errorf("the stick took %v s, want 1 s", took)
	}
	if up := sys.SinceBoot().Seconds(); got[2].Begin > up || got[2].Begin < up-60 {
		t.Errorf("targets began %v s after the kernel, which runs for %v s", got[2].Begin, up)
	}
}
