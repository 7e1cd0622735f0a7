package box

import (
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
