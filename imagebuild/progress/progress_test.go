package progress

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStep(t *testing.T) {
	var b strings.Builder
	l := New(&b)
	at := l.start
	l.now = func() time.Time { return at }
	l.Step("fetching %d packages", 3)
	at = at.Add(12340 * time.Millisecond)
	l.Step("done")
	if diff := cmp.Diff("[  0.0s] fetching 3 packages\n[ 12.3s] done\n", b.String()); diff != "" {
		t.Errorf("progress lines (-want +got):\n%s", diff)
	}
	if got := l.Elapsed(); got != 12340*time.Millisecond {
		t.Errorf("Elapsed() = %v, want 12.34s", got)
	}
}

func TestNilDiscards(t *testing.T) {
	var l *Log
	l.Step("nobody listens")
	if l.Elapsed() != 0 {
		t.Error("a nil Log has no elapsed time")
	}
}
