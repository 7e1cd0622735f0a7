package update

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// starter is a machine that can kexec.
type starter struct {
	fail     error // of Load
	loaded   string
	cmdline  string
	unloaded bool
}

func (s *starter) Load(kernel, initramfs *os.File, cmdline string) error {
	if s.fail != nil {
		return s.fail
	}
	k, errK := io.ReadAll(kernel)
	i, errI := io.ReadAll(initramfs)
	s.loaded, s.cmdline = string(k)+string(i), cmdline
	return errors.Join(errK, errI)
}

func (s *starter) Unload() error {
	s.loaded, s.unloaded = "", true
	return nil
}

const bySlotA = "BOOT_IMAGE=/a/vmlinuz console=ttyS0 quiet gpt panic=10 slot=a mode=normal media=stick edd=off"

// kexec is what happens when the machine restarts straight into what was loaded.
func (d *medium) kexec(t *testing.T, s *starter) *Manager {
	t.Helper()
	b, ok := ParseBoot(s.cmdline)
	if !ok || s.loaded == "" {
		t.Fatalf("nothing that can be started is loaded, with the command line %q", s.cmdline)
	}
	d.boots++
	b.ID = "direct"
	return d.on(t, b, d.whole(t, b.Slot))
}

func TestDirect(t *testing.T) {
	d := newMedium(t)
	m := d.boot(t)
	if err := m.Direct(t.Context(), &starter{}, bySlotA); err == nil {
		t.Error("loaded, though nothing is to be tried")
	}
	if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	s := &starter{}
	if err := m.Direct(t.Context(), s, bySlotA); err != nil {
		t.Fatal(err)
	}
	if want := "console=ttyS0 quiet gpt panic=5 slot=b mode=try media=stick edd=off"; s.cmdline != want {
		t.Errorf("command line %q, want %q", s.cmdline, want)
	}

	// Kept, as after GRUB.
	kept := d.copy(t)
	m = kept.kexec(t, s)
	wantStatus(t, m, SlotB, Try, Trying, "v1")
	if err := m.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = kept.boot(t)
	wantStatus(t, m, SlotB, Normal, Confirmed, "v1")

	// No good: GRUB starts the version before, and says how it was tried.
	bad := d.copy(t)
	bad.kexec(t, s)
	m = bad.boot(t)
	wantStatus(t, m, SlotA, Fallback, FellBack, "v2")
	m = bad.boot(t)
	wantStatus(t, m, SlotA, Normal, FellBack, "v2")

	// It never came so far; so it is, too, if the power fails before the restart.
	m = d.copy(t).boot(t)
	wantStatus(t, m, SlotA, Fallback, FellBack, "v2")
	if r := m.Status().Record.Reason; !strings.Contains(r, "kernel stopped or hung") || !strings.Contains(r, "--no-kexec") {
		t.Errorf("reason %q", r)
	}

	// Only the appliance starts again before the restart.
	m = d.on(t, Boot{SlotA, Normal, "1"}, "v1")
	wantStatus(t, m, SlotA, Normal, Armed, "v2")
}

// TestDirectFails: then GRUB tries the slot, once.
func TestDirectFails(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*medium, *starter)
		want  string
		next  Mode // of the next start, by GRUB
	}{
		"locked down": {func(_ *medium, s *starter) { s.fail = errors.New("operation not permitted") }, "not permitted", Try},
		"not what it was": {func(d *medium, _ *starter) {
			path := filepath.Join(d.dir, "b", KernelName)
			b, _ := os.ReadFile(path)
			b[0] ^= 1
			_ = os.WriteFile(path, b, 0o600)
		}, "isn't what belongs there", Try},
		"the stick is gone": {func(d *medium, _ *starter) { d.fail = errors.New("gone") }, "gone", Try},
		"the count isn't kept": {func(d *medium, _ *starter) {
			uses := 0
			d.moments = func() { // after it was written
				if uses++; uses == 3 {
					e, _ := ReadEnv(filepath.Join(d.dir, EnvName))
					e.Left = 1
					_ = WriteEnv(filepath.Join(d.dir, EnvName), e)
				}
			}
		}, "doesn't keep", Try},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMedium(t)
			m := d.boot(t)
			if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
				t.Fatal(err)
			}
			s := &starter{}
			tt.spoil(d, s)
			if err := m.Direct(t.Context(), s, bySlotA); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if s.loaded != "" {
				t.Error("something is loaded")
			}
			d.fail, d.moments = nil, nil
			if b := d.grub(t); b.Mode != tt.next || b.Slot != SlotB {
				t.Errorf("then slot %s is started, %s", b.Slot, b.Mode)
			}
			if b := d.grub(t); b.Mode != Fallback || b.Slot != SlotA {
				t.Errorf("and then slot %s, %s", b.Slot, b.Mode)
			}
		})
	}
}

// TestTrialCommandLine: grub.cfg says the same of a trial.
func TestTrialCommandLine(t *testing.T) {
	b, err := os.ReadFile("../../imagebuild/esp/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"if [ $mode = try ]; then set " + trialPanic + "; fi", "gpt panic=$panic slot=$slot mode=$mode media=$media"} {
		if !strings.Contains(text, want) {
			t.Errorf("grub.cfg has no %q", want)
		}
	}
	for running, want := range map[string]string{
		"":      "",
		bySlotA: "console=ttyS0 quiet gpt panic=5 slot=b mode=try media=stick edd=off",
		"console=tty0 gpt panic=5 slot=a mode=try media=stick modprobe.slot=x x=slot=a": "console=tty0 gpt panic=5 slot=b mode=try media=stick modprobe.slot=x x=slot=a",
	} {
		if got := TrialCommandLine(running, SlotB); got != want {
			t.Errorf("%q becomes %q, want %q", running, got, want)
		}
	}
}
