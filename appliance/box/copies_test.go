package box

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/stickcopy"
)

// areaDisks are disks in memory, by path. One in hang doesn't answer until that is
// closed.
type areaDisks struct {
	mu     sync.Mutex
	disks  map[string][]byte
	hang   map[string]chan struct{}
	writes int
}

type areaDisk struct {
	*areaDisks
	path string
}

func (d *areaDisks) open(path string, _ bool) (stickcopy.Device, error) {
	d.mu.Lock()
	hang := d.hang[path]
	d.mu.Unlock()
	if hang != nil {
		<-hang
		return nil, errors.New("it doesn't answer")
	}
	return areaDisk{d, path}, nil
}

func (d areaDisk) Close() error { return nil }
func (d areaDisk) Sync() error  { return nil }

func (d areaDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(p)) > int64(len(d.disks[d.path])) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, d.disks[d.path][off:]), nil
}

func (d areaDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	return copy(d.disks[d.path][off:], p), nil
}

// labelled is a disk with LVM's label, as far as it matters here.
func labelled(name string) []byte {
	d := make([]byte, 4<<20)
	copy(d[512:], "LABELONE")
	d[512+20] = 32
	copy(d[512+24:], "LVM2 001")
	copy(d[512+32:], strings.ReplaceAll(pvOf(name), "-", ""))
	return d
}

func pvOf(name string) string { return strings.Repeat(name, 6) + "-bbbb-cccc-dddd-eeee-ffff-gggggg" }

// copiesRig is a stick and two disks of a pool.
type copiesRig struct {
	*copies
	disks *areaDisks
	list  []pool.StickArea
}

func newCopiesRig(t *testing.T, disks *areaDisks, configured bool) *copiesRig {
	t.Helper()
	r := &copiesRig{disks: disks}
	for _, name := range []string{"A", "B"} {
		path := "/dev/" + name
		if disks.disks[path] == nil {
			disks.disks[path] = labelled(name)
		}
		r.list = append(r.list, pool.StickArea{Area: stickcopy.Area{Path: path, Disk: name, PV: pvOf(name), Start: 1 << 20, Size: stickcopy.AreaSize}, Pool: "tank", Configured: configured})
	}
	r.copies = newCopies(t.TempDir(), func(f func() error) error { return f() }, func() []pool.StickArea { return r.list }, slog.New(slog.DiscardHandler))
	r.open = disks.open
	r.now = func() time.Time { return time.Date(2026, 11, 29, 17, 5, 0, 0, time.UTC) }
	return r
}

func (r *copiesRig) put(t *testing.T, name, text string) {
	t.Helper()
	if err := r.copies.put(map[string][]byte{name: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func (r *copiesRig) goRound(t *testing.T, inForce string) {
	t.Helper()
	r.use(inForce)
	r.round(t.Context())
	r.work.Wait()
}

// use says which configuration is in force.
func (r *copiesRig) use(inForce string) {
	r.inForce = func() []byte {
		if inForce == "" {
			return nil
		}
		return []byte(inForce)
	}
}

func newAreaDisks() *areaDisks {
	return &areaDisks{disks: map[string][]byte{}, hang: map[string]chan struct{}{}}
}

// TestCopies: every disk keeps what is on the stick, is written to only when that
// changes, and a new stick finds the newest.
func TestCopies(t *testing.T) {
	defer goleak.VerifyNone(t)
	disks := newAreaDisks()
	r := newCopiesRig(t, disks, true)
	r.put(t, configName, "one")
	r.put(t, poolsName, "{}")
	r.goRound(t, "one")
	if got := strings.Join(r.holders(), " "); got != "A B" {
		t.Errorf("kept by %q", got)
	}
	before := disks.writes
	r.goRound(t, "one")
	if disks.writes != before {
		t.Error("written again, though nothing changed")
	}

	// B is away while the configuration changes.
	both := r.list
	r.list = r.list[:1]
	r.put(t, configName, "two")
	r.goRound(t, "one")
	if !r.other() || disks.writes != before {
		t.Error("a file that isn't in force was copied")
	}
	r.goRound(t, "two")
	if r.other() || disks.writes == before {
		t.Error("a file that is in force wasn't copied")
	}

	// The stick dies. A new one finds the newest, though B has an old one.
	fresh := newCopiesRig(t, disks, false)
	fresh.list[0].Configured, fresh.list[1].Configured = false, false
	fresh.put(t, configName, "# blank")
	before = disks.writes
	fresh.goRound(t, "# blank")
	list, mute := fresh.found()
	if len(mute) > 0 || len(list) != 1 || string(list[0].copy.Files[configName]) != "two" || len(list[0].disks) != 2 || disks.writes != before {
		t.Errorf("found %+v, mute %v, %d writes", list, mute, disks.writes-before)
	}
	if p := fresh.problems(true); len(p) != 1 || !strings.Contains(p[0].Do, "sanctl config adopt") {
		t.Errorf("problems %+v", p)
	}

	// The old one comes back, with B: B gets what A has.
	r.list = both
	r.goRound(t, "two")
	if got := strings.Join(r.holders(), " "); got != "A B" {
		t.Errorf("kept by %q", got)
	}
}

// TestCopiesHang: a disk that doesn't answer keeps the others from nothing, and
// is asked once.
func TestCopiesHang(t *testing.T) {
	defer goleak.VerifyNone(t)
	disks := newAreaDisks()
	stuck := make(chan struct{})
	disks.hang["/dev/B"] = stuck
	r := newCopiesRig(t, disks, true)
	r.patience = 2 * time.Second
	r.put(t, configName, "one")
	r.use("one")
	for range 2 {
		start := time.Now()
		r.round(t.Context())
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("a round took %v", took)
		}
		if got := strings.Join(r.holders(), " "); got != "A" {
			t.Errorf("kept by %q", got)
		}
	}
	if _, mute := r.found(); len(mute) != 1 || !strings.Contains(mute[0], "disk B") || refuseMute(mute) == nil {
		t.Errorf("disk B hasn't answered, but %q", mute)
	}
	disks.mu.Lock()
	disks.hang = map[string]chan struct{}{}
	disks.mu.Unlock()
	close(stuck)
	r.work.Wait()
	if p := r.problems(false); len(p) != 1 || !strings.Contains(p[0].What, "disk B: it doesn't answer") {
		t.Errorf("problems %+v", p)
	}
	r.goRound(t, "one")
	if got := strings.Join(r.holders(), " "); got != "A B" || len(r.problems(false)) != 0 {
		t.Errorf("kept by %q, problems %+v", got, r.problems(false))
	}
}

// TestChooseKept: without a doubt, or by name.
func TestChooseKept(t *testing.T) {
	attic := keptBy{copy: stickcopy.Copy{Appliance: "1", Hostname: "attic"}}
	cellar := keptBy{copy: stickcopy.Copy{Appliance: "2", Hostname: "cellar"}}
	shed := keptBy{copy: attic.copy, disks: []string{"S"}} // of the same appliance
	for _, tt := range []struct {
		list []keptBy
		from string
		want string
		err  string
	}{
		{nil, "", "", "no disk that is here keeps"},
		{[]keptBy{attic}, "", "1", ""},
		{[]keptBy{attic, cellar}, "", "", "several are kept"},
		{[]keptBy{attic, cellar}, "Cellar", "2", ""},
		{[]keptBy{attic, cellar}, "1", "1", ""},
		{[]keptBy{attic}, "barn", "", "of barn"},
		{[]keptBy{attic, shed}, "", "", "several are kept"},
		{[]keptBy{attic, shed}, "attic", "", "several are kept"},
		{[]keptBy{attic, shed}, "S", "1", ""},
	} {
		got, err := chooseKept(tt.list, tt.from)
		if got.copy.Appliance != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%d kept, from %q: %q, error %v", len(tt.list), tt.from, got.copy.Appliance, err)
		}
	}
}

// TestID: it is made once and stays.
func TestID(t *testing.T) {
	r := newCopiesRig(t, newAreaDisks(), true)
	first, err := r.id()
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.id()
	if err != nil || second != first || len(first) != 32 {
		t.Errorf("first %q, then %q, error %v", first, second, err)
	}
	if err := os.Remove(filepath.Join(r.dir, idName)); err != nil {
		t.Fatal(err)
	}
	if third, err := r.id(); err != nil || third == first {
		t.Errorf("a new stick has the same ID %q, error %v", third, err)
	}
}

// TestCopiesProtected: a stick that is write-protected is no trouble of the
// appliance's; another one that can't be written to is.
func TestCopiesProtected(t *testing.T) {
	for cause, told := range map[error]bool{unix.EROFS: false, unix.EIO: true} {
		r := newCopiesRig(t, newAreaDisks(), true)
		r.put(t, configName, "one")
		r.write = func(func() error) error { return fmt.Errorf("cannot make the stick writable: %w", cause) }
		r.goRound(t, "one")
		if p := r.problems(false); (len(p) > 0) != told {
			t.Errorf("%v: problems %+v", cause, p)
		}
	}
}

// TestCopiesOfAnotherStick: one that lacks what the appliance knows of its pools
// doesn't take it from the disks, though its configuration is in force.
func TestCopiesOfAnotherStick(t *testing.T) {
	disks := newAreaDisks()
	r := newCopiesRig(t, disks, true)
	r.put(t, configName, "one")
	r.put(t, poolsName, "known")
	r.live = map[string]func() ([]byte, error){poolsName: func() ([]byte, error) { return []byte("known"), nil }}
	r.goRound(t, "one")
	r.dir = t.TempDir()
	r.put(t, configName, "two")
	for range 2 { // of the other stick, and when that is gone
		r.goRound(t, "two")
		fresh := newCopiesRig(t, disks, false)
		fresh.goRound(t, "")
		list, _ := fresh.found()
		for _, k := range list {
			if got := string(k.copy.Files[poolsName]); got != "known" {
				t.Errorf("%s: the disks keep %q", k, got)
			}
		}
		r.dir = filepath.Join(r.dir, "gone")
	}
}

// TestGenerations: the newest copy is told from others though it was made while those
// weren't here, and whatever another appliance's disk says.
func TestGenerations(t *testing.T) {
	disks := newAreaDisks()
	r := newCopiesRig(t, disks, true)
	both := r.list
	// restart is another start with the same stick and these disks.
	restart := func(list ...pool.StickArea) {
		dir := r.dir
		r = newCopiesRig(t, disks, true)
		r.dir, r.list = dir, list
		r.whole = func() bool { return len(list) == len(both) }
	}
	edit := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			r.put(t, configName, text)
			r.goRound(t, text)
		}
	}
	adopted := func(want string) {
		t.Helper()
		fresh := newCopiesRig(t, disks, false)
		fresh.goRound(t, "")
		list, mute := fresh.found()
		if len(mute) > 0 || len(list) != 1 || string(list[0].copy.Files[configName]) != want {
			t.Errorf("of all disks' copies the newest isn't %q, but %q of generation %d; mute %v", want, list[0].copy.Files[configName], list[0].copy.Generation, mute)
		}
	}
	edit("0")
	before := disks.writes
	restart(both...)
	edit("0")
	if disks.writes != before {
		t.Error("written again, though nothing changed")
	}
	restart(both[1]) // A is away, and B takes three changes
	edit("1", "2", "3")
	restart(both[0])
	edit("4")
	adopted("4")
	restart(both[1])
	edit("5")
	restart(both[0]) // the same as A has from before
	edit("4")
	adopted("4")

	// A disk of another appliance, that counts from elsewhere.
	other := pool.StickArea{Area: both[0].Area, Pool: "other"}
	other.Path, other.Disk = "/dev/C", "C"
	disks.disks["/dev/C"] = bytes.Clone(disks.disks["/dev/A"])
	x := stickcopy.Copy{Appliance: "other", Generation: stickcopy.MaxGeneration, Files: map[string][]byte{configName: nil}}
	if err := stickcopy.Write(disks.open, other.Area, x); err != nil {
		t.Fatal(err)
	}
	restart(both[0], both[1], other)
	edit("6")
	if got := r.want.Generation; got > 100*generationStep {
		t.Errorf("it counts as another appliance does: %d", got)
	}
	adopted("6")
}

// TestCopiesInDoubt: of two that differ and have the same generation nobody knows which
// is newer. A disk that can't be read may have anything.
func TestCopiesInDoubt(t *testing.T) {
	disks := newAreaDisks()
	r := newCopiesRig(t, disks, true)
	r.put(t, configName, "one")
	r.goRound(t, "one")
	x := r.want
	x.Files = map[string][]byte{configName: []byte("two")}
	r.put(t, configName, "newer")
	r.list = r.list[:1]
	r.goRound(t, "newer")
	x.Generation = r.want.Generation
	fresh := newCopiesRig(t, disks, false)
	if err := stickcopy.Write(disks.open, fresh.list[1].Area, x); err != nil {
		t.Fatal(err)
	}
	fresh.goRound(t, "")
	list, mute := fresh.found()
	if len(mute) > 0 || len(list) != 2 {
		t.Fatalf("%d copies, mute %v", len(list), mute)
	}
	for disk, want := range map[string]string{"A": "newer", "B": "two"} {
		if k, err := chooseKept(list, disk); err != nil || string(k.copy.Files[configName]) != want {
			t.Errorf("disk %s: %q, %v", disk, k.copy.Files[configName], err)
		}
	}
	if _, err := chooseKept(list, ""); err == nil {
		t.Error("one of them was taken")
	}

	stuck := make(chan struct{})
	close(stuck)
	disks.hang["/dev/B"] = stuck
	fresh = newCopiesRig(t, disks, false)
	if _, mute := fresh.found(); len(mute) != 2 || refuseMute(mute) == nil {
		t.Errorf("nobody was asked, but %q", mute)
	}
	fresh.goRound(t, "")
	err := refuseMute(func() []string { _, mute := fresh.found(); return mute }())
	if err == nil || !strings.Contains(err.Error(), "disk B: it doesn't answer") {
		t.Errorf("disk B can't be read: %v", err)
	}
}
