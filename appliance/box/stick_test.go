package box

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk"
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

// The stick is pulled out, and a disk gets its name: that one is no stick. When the
// stick is back it is known under its new name.
func TestStickDisks(t *testing.T) {
	sysfs := t.TempDir()
	plug := func(name, seq string) {
		t.Helper()
		dir := filepath.Join(sysfs, "block", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "diskseq"), []byte(seq+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &stick{sysfs: sysfs}
	want := func(when string, names ...string) {
		t.Helper()
		if got := (&box{stick: s}).bootDisks(); !slices.Equal(got, names) {
			t.Errorf("%s: boot disks %q, want %q", when, got, names)
		}
	}
	plug("sdb", "2")
	s.is(disk.Partition{Disk: "sdb"})
	want("at the start", "sdb")
	if err := os.RemoveAll(filepath.Join(sysfs, "block", "sdb")); err != nil {
		t.Fatal(err)
	}
	want("pulled out")
	plug("sdb", "3")
	want("a disk has its name")
	plug("sdc", "4")
	s.mu.Lock() // it is being written to: nobody waits for that
	s.is(disk.Partition{Disk: "sdc"})
	want("back", "sdc")
	s.mu.Unlock()
}
