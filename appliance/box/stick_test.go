package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// busyMounter says that it is busy for the first times that the stick is to be
// read-only again.
type busyMounter struct{ busy, readOnly int }

func (m *busyMounter) Mount(_, _, _ string, flags uintptr, _ string) error {
	if flags&unix.MS_RDONLY == 0 {
		return nil
	}
	if m.busy--; m.busy >= 0 {
		return unix.EBUSY
	}
	m.readOnly++
	return nil
}

func (m *busyMounter) Unmount(string, int) error { return nil }

func TestStickIsBusyForAMoment(t *testing.T) {
	m := &busyMounter{busy: 3}
	s := &stick{mounter: m}
	wrote := false
	if err := s.write(func() error { wrote = true; return nil }); err != nil || !wrote || m.readOnly != 1 {
		t.Errorf("error %v, wrote %v, read-only again %d times", err, wrote, m.readOnly)
	}
}

// A system from the ISO image has no boot volume that could be looked for, be it on a CD or on a stick.
func TestNoUpdatesOfISO(t *testing.T) {
	proc := t.TempDir()
	if err := os.WriteFile(filepath.Join(proc, "cmdline"), []byte("media=iso slot=a mode=normal\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, memory := range []bool{true, false} {
		u := newUpdates(&box{o: &Options{ProcDir: proc}, stick: &stick{memory: memory}})
		if u.volume != nil || u.manager != nil || u.why == nil || !strings.Contains(u.why.Error(), "ISO") {
			t.Errorf("in memory %v: %+v", memory, u)
		}
	}
}
