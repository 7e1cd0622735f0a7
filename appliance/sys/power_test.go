package sys

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAskInit(t *testing.T) {
	tests := []struct {
		name, first, self string
		want              unix.Signal
		bad               bool
	}{
		{name: "the appliance", first: "/bbin/bb", self: "/bbin/bb", want: unix.SIGUSR2},
		{name: "another init", first: "/usr/lib/systemd/systemd", self: "/bbin/bb", bad: true},
		{name: "not readable", self: "/bbin/bb", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			procfs := t.TempDir()
			for dir, to := range map[string]string{"1": tt.first, "self": tt.self} {
				if to == "" {
					continue
				}
				if err := os.Mkdir(filepath.Join(procfs, dir), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, filepath.Join(procfs, dir, "exe")); err != nil {
					t.Fatal(err)
				}
			}
			var got unix.Signal
			err := askInit(procfs, PowerOffSignal, func(pid int, s unix.Signal) error {
				if pid != 1 {
					t.Errorf("signalled %d", pid)
				}
				got = s
				return nil
			})
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("askInit = %v and signalled %v, want an error: %v, and %v", err, got, tt.bad, tt.want)
			}
		})
	}
}
