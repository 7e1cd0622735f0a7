package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	text := "MemTotal:         468140 kB\nMemFree:          351644 kB\nMemAvailable:     354136 kB\nBuffers: x kB\n\n"
	if err := os.WriteFile(filepath.Join(dir, "meminfo"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := status.Memory{Total: 468140 << 10, Available: 354136 << 10}
	if diff := cmp.Diff(want, memory(dir)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if m := memory(filepath.Join(dir, "missing")); m != (status.Memory{}) {
		t.Errorf("without /proc/meminfo: %+v", m)
	}
}

func TestConfigProblems(t *testing.T) {
	for inForce, want := range map[string]struct {
		health status.Health
		do     string
	}{
		inForceLastGood: {status.Degraded, "what was configured before is served"},
		inForceNone:     {status.Failed, "nothing is served"},
	} {
		got := configProblems(status.Config{InForce: inForce, Errors: []string{"appliance.toml:4: pool.nane: unknown key"}})
		if len(got) != 1 || got[0].Health != want.health || !strings.Contains(got[0].Do, want.do) || !strings.Contains(got[0].What, ":4:") {
			t.Errorf("%s: %+v, want %+v", inForce, got, want)
		}
	}
	if got := configProblems(status.Config{InForce: inForceFile}); len(got) != 0 {
		t.Errorf("a good file has problems: %+v", got)
	}
}
