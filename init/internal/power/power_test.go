package power

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestForSignal(t *testing.T) {
	for sig, want := range map[os.Signal]Action{
		syscall.SIGINT: Reboot, syscall.SIGTERM: Reboot,
		syscall.SIGUSR1: PowerOff, syscall.SIGUSR2: PowerOff, syscall.SIGPWR: PowerOff,
		syscall.SIGHUP: None, syscall.SIGQUIT: None, syscall.SIGCHLD: None,
	} {
		if got := ForSignal(sig); got != want {
			t.Errorf("ForSignal(%v) = %v, want %v", sig, got, want)
		}
	}
	if ForSignal(sys.PowerOffSignal) != PowerOff || ForSignal(sys.RebootSignal) != Reboot {
		t.Error("package sys and init don't mean the same by the signals")
	}
}

func TestSignals(t *testing.T) {
	wishes := make(chan Action, 1)
	s := NewSignals(wishes, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	// The harmless ones neither end us nor mean anything.
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGALRM, syscall.SIGPWR,
	} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-wishes; got != PowerOff {
		t.Errorf("wished %v, want %v", got, PowerOff)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHasKey(t *testing.T) {
	tests := []struct {
		mask string
		key  int
		want bool
	}{
		{"10000000000000 0\n", keyPower, true},                                             // ACPI power button
		{"402000000 3803078f800d001 feefffdfffefffff fffffffffffffffe\n", keyPower, false}, // keyboard without the key
		{"402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n", keyPower, true},  // keyboard with the key
		{"1", 0, true},
		{"1", 64, false},
		{"", keyPower, false},
		{"what 0", keyPower, false},
	}
	for _, tt := range tests {
		if got := hasKey(tt.mask, tt.key); got != tt.want {
			t.Errorf("hasKey(%q, %d) = %v, want %v", tt.mask, tt.key, got, tt.want)
		}
	}
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventLen)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestPowerPressed(t *testing.T) {
	press, syn := event(evKey, keyPower, 1), event(0, 0, 0)
	tests := []struct {
		name string
		in   []byte
		want bool
	}{
		{"press", append(append([]byte(nil), press...), syn...), true},
		{"after others", append(event(evKey, 30, 1), press...), true},
		{"release", event(evKey, keyPower, 0), false},
		{"repeat", event(evKey, keyPower, 2), false},
		{"another key", event(evKey, 30, 1), false},
		{"not a key", event(4, keyPower, 1), false},
		{"cut off", press[:eventLen-1], false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		if got := powerPressed(tt.in); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzPowerPressed(f *testing.F) {
	f.Add(event(evKey, keyPower, 1), "10000000000000 0")
	f.Fuzz(func(t *testing.T, b []byte, mask string) {
		powerPressed(b)
		hasKey(mask, keyPower)
	})
}

// addInput makes an input device whose events the test writes.
func addInput(t *testing.T, root, name, mask string) *os.File {
	t.Helper()
	caps := filepath.Join(root, "class/input", name, "device/capabilities")
	for _, d := range []string{caps, filepath.Join(root, "input")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(caps, "key"), []byte(mask), 0o600); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(root, "input", name)
	if err := unix.Mkfifo(node, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestButton(t *testing.T) {
	root := t.TempDir()
	src := systest.NewUevents()
	wishes := make(chan Action, 1)
	b := NewButton(root, root, func() (sys.UeventSource, error) { return src, nil }, wishes, quiet)
	first := addInput(t, root, "event0", "10000000000000 0\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	<-b.Ready()

	press := func(f *os.File) {
		t.Helper()
		if _, err := f.Write(event(evKey, keyPower, 1)); err != nil {
			t.Fatal(err)
		}
		if got := <-wishes; got != PowerOff {
			t.Errorf("wished %v, want %v", got, PowerOff)
		}
	}
	press(first)
	// One that is plugged in later, and the first still counts.
	second := addInput(t, root, "event1", "10000000000000 0\n")
	src.Send(sys.Uevent{Action: "add", Subsystem: "input"})
	press(second)
	press(first)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// machine notes what a shutdown does to it.
type machine struct {
	mounter systest.Mounter
	power   systest.Power
	loaded  bool // a kernel, by kexec
	done    []string
}

func (m *machine) note(s string) { m.done = append(m.done, s) }

func newSequence(m *machine) *Sequence {
	return &Sequence{
		Release: func(context.Context) error { m.note("release"); return nil },
		KillAll: func(sig unix.Signal) error { m.note("kill " + sig.String()); return nil },
		WaitAll: func(context.Context) error { m.note("wait"); return nil },
		Sync:    func() { m.note("sync") },
		Mounts: func() ([]sys.MountPoint, error) {
			return []sys.MountPoint{
				{Source: "rootfs", Target: "/", FSType: "rootfs"},
				{Source: "proc", Target: "/proc", FSType: "proc"},
				{Source: "/dev/sda3", Target: "/stick", FSType: "vfat"},
				{Source: "/dev/sdb1", Target: "/stick/deep", FSType: "ext4"},
			}, nil
		},
		Mounter: &m.mounter, Power: &m.power, Loaded: func() bool { return m.loaded }, Log: quiet,
		Limits: Limits{Release: 20 * time.Millisecond, Terminate: 20 * time.Millisecond, Kill: 20 * time.Millisecond, Unmount: time.Second},
	}
}

func TestSequence(t *testing.T) {
	for action, want := range map[Action]string{PowerOff: "power off", Reboot: "reboot"} {
		m := &machine{}
		if err := newSequence(m).Run(t.Context(), action); err != nil {
			t.Errorf("%v: %v", action, err)
		}
		if diff := cmp.Diff([]string{"release", "kill terminated", "wait", "sync", "sync"}, m.done); diff != "" {
			t.Errorf("%v: done (-want +got):\n%s", action, diff)
		}
		unmounts := []systest.MountCall{{Op: "unmount", Target: "/stick/deep"}, {Op: "unmount", Target: "/stick"}}
		if diff := cmp.Diff(unmounts, m.mounter.Calls()); diff != "" {
			t.Errorf("%v: mounts (-want +got):\n%s", action, diff)
		}
		if diff := cmp.Diff([]string{want}, m.power.Calls()); diff != "" {
			t.Errorf("%v: power (-want +got):\n%s", action, diff)
		}
	}
}

// A restart goes straight into a kernel that is loaded, or by the firmware if that
// fails.
func TestSequenceKexec(t *testing.T) {
	for action, want := range map[Action][]string{PowerOff: {"power off"}, Reboot: {"kexec", "reboot"}} {
		m := &machine{loaded: true}
		if err := newSequence(m).Run(t.Context(), action); err != nil {
			t.Errorf("%v: %v", action, err)
		}
		if diff := cmp.Diff(want, m.power.Calls()); diff != "" {
			t.Errorf("%v: power (-want +got):\n%s", action, diff)
		}
	}
}

// Whatever fails or hangs, the machine goes down.
func TestSequenceGoesOn(t *testing.T) {
	broken := errors.New("broken")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := []struct {
		name  string
		spoil func(m *machine, s *Sequence)
		want  []string
	}{
		{"release fails", func(m *machine, s *Sequence) { s.Release = func(context.Context) error { return broken } },
			[]string{"kill terminated", "wait", "sync", "sync"}},
		{"release hangs", func(m *machine, s *Sequence) { s.Release = hang },
			[]string{"kill terminated", "wait", "sync", "sync"}},
		{"release panics", func(m *machine, s *Sequence) { s.Release = func(context.Context) error { panic("oh") } },
			[]string{"kill terminated", "wait", "sync", "sync"}},
		{"processes don't end", func(m *machine, s *Sequence) { s.WaitAll = hang },
			[]string{"release", "kill terminated", "kill killed", "sync", "sync"}},
		{"no processes", func(m *machine, s *Sequence) { s.KillAll = func(unix.Signal) error { return unix.ESRCH } },
			[]string{"release", "wait", "sync", "sync"}},
		{"mounts unknown", func(m *machine, s *Sequence) {
			s.Mounts = func() ([]sys.MountPoint, error) { return nil, broken }
		}, []string{"release", "kill terminated", "wait", "sync", "sync"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{}
			s := newSequence(m)
			tt.spoil(m, s)
			if err := s.Run(t.Context(), PowerOff); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, m.done); diff != "" {
				t.Errorf("done (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"power off"}, m.power.Calls()); diff != "" {
				t.Errorf("power (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("sync hangs", func(t *testing.T) {
		m := &machine{}
		s := newSequence(m)
		release := make(chan struct{})
		defer close(release)
		s.Sync = func() { <-release }
		s.Limits.Unmount = 10 * time.Millisecond
		if err := s.Run(t.Context(), PowerOff); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"power off"}, m.power.Calls()); diff != "" {
			t.Errorf("power (-want +got):\n%s", diff)
		}
	})

	t.Run("still in use", func(t *testing.T) {
		m := &machine{}
		m.mounter.Errors = map[string]error{"/stick": unix.EBUSY}
		if err := newSequence(m).Run(t.Context(), Reboot); err != nil {
			t.Error(err)
		}
		want := []systest.MountCall{
			{Op: "unmount", Target: "/stick/deep"}, {Op: "unmount", Target: "/stick"},
			{Op: "mount", Source: "/dev/sda3", Target: "/stick", FSType: "vfat", Flags: unix.MS_REMOUNT | unix.MS_RDONLY},
		}
		if diff := cmp.Diff(want, m.mounter.Calls()); diff != "" {
			t.Errorf("mounts (-want +got):\n%s", diff)
		}
	})

	t.Run("no power off", func(t *testing.T) {
		m := &machine{}
		m.power.Err = broken
		if err := newSequence(m).Run(t.Context(), PowerOff); !errors.Is(err, broken) {
			t.Errorf("Run = %v, want %v", err, broken)
		}
	})
}
