package earlyfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/appliance/sys/systest"
	"sanstick/init/internal/earlyfs"
)

func TestApply(t *testing.T) {
	root := t.TempDir()
	m := &systest.Mounter{}
	// The second time everything is there already.
	for range 2 {
		warnings, err := earlyfs.Apply(m, root, earlyfs.Table(), earlyfs.Dirs(), earlyfs.Links())
		if err != nil || warnings != nil {
			t.Fatalf("Apply = %v, %v", warnings, err)
		}
		m.Errors = map[string]error{filepath.Join(root, "proc"): fmt.Errorf("again: %w", unix.EBUSY)}
	}
	var targets []string
	for _, c := range m.Calls()[:len(earlyfs.Table())] {
		targets = append(targets, strings.TrimPrefix(c.Target, root))
	}
	want := []string{"/proc", "/sys", "/dev", "/dev/pts", "/run", "/tmp"}
	if diff := cmp.Diff(want, targets); diff != "" {
		t.Errorf("mounted (-want +got):\n%s", diff)
	}
	for _, d := range earlyfs.Dirs() {
		if fi, err := os.Stat(filepath.Join(root, d)); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v", d, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(root, "dev/stderr")); to != "/proc/self/fd/2" {
		t.Errorf("/dev/stderr leads to %q, %v", to, err)
	}
}

func TestApplyFailures(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name, target string
		warnings     int
		bad          bool
	}{
		{name: "required", target: "run", bad: true},
		{name: "optional", target: "dev/pts", warnings: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			m := &systest.Mounter{Errors: map[string]error{filepath.Join(root, tt.target): broken}}
			warnings, err := earlyfs.Apply(m, root, earlyfs.Table(), nil, nil)
			if len(warnings) != tt.warnings || errors.Is(err, broken) != tt.bad {
				t.Errorf("Apply = %v, %v; want %d warnings, a failure: %v", warnings, err, tt.warnings, tt.bad)
			}
			if got, want := len(m.Calls()), len(earlyfs.Table()); got != want {
				t.Errorf("tried %d mounts, want all %d", got, want)
			}
		})
	}
}
