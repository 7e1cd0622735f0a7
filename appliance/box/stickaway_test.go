package box

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// TestStickThatWasAway: what the witness and the ledger were told while the stick was
// away is on it as soon as it is back, and on another one that is put in its place;
// that keeps what it has of other pools.
func TestStickThatWasAway(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	p := newPort(t)
	first, second := t.TempDir(), t.TempDir()
	p.plug("sda", "1", first)
	s := p.stick()
	w, l := newWitness(p.dir, s.write, log), newLedger(p.dir, s.write, log)
	s.keepers = []keeper{w, l}
	if err := errors.Join(w.Remember("whole", []string{"x"}), w.Remember("gone", []string{"y"})); err != nil {
		t.Fatal(err)
	}
	p.pull("sda")
	for range 2 {
		if err := s.check(t.Context()); !errors.Is(err, errGone) {
			t.Errorf("the stick is pulled: %v", err)
		}
	}
	for _, err := range []error{w.Remember("vg", []string{"a"}), w.Remember("gone", nil), l.Keep("vg", pool.Entry{Comparing: true})} {
		if !errors.Is(err, errGone) {
			t.Errorf("the stick is pulled: %v", err)
		}
	}
	if _, kept := w.Newest("whole"); !kept {
		t.Error("what the stick has isn't kept")
	}
	// on checks what is on a stick.
	on := func(what, dir string, want map[string][]string) {
		t.Helper()
		w, l := newWitness(dir, nil, log), newLedger(dir, nil, log)
		if diff := cmp.Diff(want, w.entries); diff != "" || !l.Entry("vg").Comparing {
			t.Errorf("%s: ledger %+v, witness (-want +got):\n%s", what, l.Entry("vg"), diff)
		}
	}

	p.plug("sdb", "2", first)
	if err := s.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{"whole": {"x"}, "vg": {"a"}}
	on("it is back", first, known)
	if _, kept := w.Newest("vg"); !kept || p.writable || s.lacks() != nil {
		t.Errorf("kept %v, still writable %v, lacking %v", kept, p.writable, s.lacks())
	}
	writes := s.writes.Load()
	p.pull("sdb")
	p.plug("sdb", "3", first)
	if err := s.check(t.Context()); err != nil || s.writes.Load() != writes {
		t.Errorf("it was away, and nothing is new: error %v, %d writes", err, s.writes.Load()-writes)
	}

	// Another one, of another appliance, which can't be written at first.
	if err := newWitness(second, func(f func() error) error { return f() }, log).Remember("others", []string{"o"}); err != nil {
		t.Fatal(err)
	}
	p.pull("sdb")
	p.plug("sdc", "4", second)
	p.protected = true
	if err := s.check(t.Context()); err != nil || !errors.Is(s.lacks(), unix.EROFS) {
		t.Errorf("another stick: error %v, lacking %v", err, s.lacks())
	}
	if _, kept := w.Newest("vg"); kept {
		t.Error("the stick lacks it, and it counts as kept")
	}
	p.protected = false
	var had []byte
	if err := s.write(func() (err error) { had, err = os.ReadFile(filepath.Join(p.dir, poolsName)); return err }); err != nil {
		t.Fatal(err)
	}
	known["others"] = []string{"o"}
	on("another stick", second, known)
	if len(had) == 0 || !bytes.Contains(had, []byte(`"vg"`)) {
		t.Errorf("something was written before what it lacks: it had %s", had)
	}
	if err := s.check(t.Context()); err != nil || s.lacks() != nil {
		t.Errorf("error %v, lacking %v", err, s.lacks())
	}
}

// TestStickOfTheDaemonBefore: the daemon is started again. It goes on with the stick
// that is mounted, but not with one that isn't here any more.
func TestStickOfTheDaemonBefore(t *testing.T) {
	p := newPort(t)
	first, second := t.TempDir(), t.TempDir()
	proc := t.TempDir()
	o := &Options{Log: slog.New(slog.DiscardHandler), Mounter: p, SysDir: p.sysfs, ProcDir: proc, StickDir: p.dir, OpenDisk: p.open,
		ListenUevents: func() (sys.UeventSource, error) { return systest.NewUevents(), nil }}
	// start is the daemon's; mounted are the numbers of what it finds mounted.
	start := func(want string, mounted ...string) {
		t.Helper()
		text := "22 1 0:20 / / rw - rootfs rootfs rw\n"
		for _, number := range mounted {
			text += fmt.Sprintf("24 22 %s / %s ro - vfat /dev/x ro\n", number, p.dir)
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(proc, "self"), 0o700), os.WriteFile(filepath.Join(proc, "self/mountinfo"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := mountStick(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(p.dir); err != nil || got != want {
			t.Errorf("mounted is %s, %v", got, err)
		}
	}
	// Names that no disk of this machine has: the real ones are fitted to the stick.
	p.plug("sdzzx", "1", first)
	start(first)
	start(first, "8:1")
	p.pull("sdzzx")
	p.plug("sdzzy", "2", second)
	start(second, "8:1")
	start(second, "8:1", "8:2")
}
