package box

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/stickcopy"
	"sanstick/target/scsi"
)

// TestReservationsLast: what was kept is found after a power cut, whatever is lost
// with it that may be.
func TestReservationsLast(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(*testing.T, *reservationRig) // the last change
		cut    func(*testing.T, *reservationRig) // before the next start
	}{
		"nothing happens":  {},
		"the stick is out": {before: func(_ *testing.T, r *reservationRig) { r.stick = errGone }},
		"the stick is write-protected": {before: func(_ *testing.T, r *reservationRig) {
			r.stick = fmt.Errorf("cannot make the stick writable: %w", unix.EROFS)
		}},
		"the stick is new":    {cut: func(t *testing.T, r *reservationRig) { removeFiles(t, r, reservationsName, idName) }},
		"the stick's is lost": {cut: func(t *testing.T, r *reservationRig) { removeFiles(t, r, reservationsName) }},
		"the stick's is damaged": {cut: func(t *testing.T, r *reservationRig) {
			spoilFile(t, r, func(b []byte) []byte { return b[:len(b)/2] })
		}},
		"the stick's is empty": {cut: func(t *testing.T, r *reservationRig) {
			spoilFile(t, r, func([]byte) []byte { return nil })
		}},
		"the stick is in memory": {
			before: func(_ *testing.T, r *reservationRig) { r.memory = true },
			cut:    func(t *testing.T, r *reservationRig) { removeFiles(t, r, reservationsName, idName) },
		},
		"a disk doesn't take it":        {before: func(_ *testing.T, r *reservationRig) { r.fail("B", true) }},
		"a disk is away":                {before: func(_ *testing.T, r *reservationRig) { r.away["B"] = true }},
		"a disk is away, and the stick": {before: func(_ *testing.T, r *reservationRig) { r.away["B"], r.stick = true, errGone }},
		"a disk dies":                   {cut: func(_ *testing.T, r *reservationRig) { r.away["A"] = true }},
		"the disks are blank": {cut: func(_ *testing.T, r *reservationRig) {
			for _, d := range r.rig.disks.disks {
				clear(d[4096:])
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			r := newReservationRig(t)
			mustSave(t, r.save(t, "one", 1))
			mustSave(t, r.save(t, "two", 7))
			if tt.before != nil {
				tt.before(t, r)
			}
			mustSave(t, r.save(t, "one", 2))
			r.stick, r.away = nil, map[string]bool{}
			r.fail("B", false)
			if tt.cut != nil {
				tt.cut(t, r)
			}
			r.start(t)
			r.wantKey(t, "one", 2)
			r.wantKey(t, "two", 7)
			r.wantKey(t, "clone of one", 0)

			// All places are brought in line, and one that comes later has no say.
			r.away = map[string]bool{}
			r.rig.goRound(t, "config")
			r.look()
			if p := r.problems(); len(p) > 0 {
				t.Errorf("problems %+v", p)
			}
			mustSave(t, r.save(t, "one", 3))
			for _, only := range []string{"A", "B"} {
				r.away = map[string]bool{"A": true, "B": true, only: false}
				r.start(t)
				r.wantKey(t, "one", 3)
				r.wantKey(t, "two", 7)
			}
			for _, a := range r.rig.list {
				clear(r.rig.disks.disks[a.Path][4096:])
			}
			r.start(t)
			r.wantKey(t, "one", 3)
		})
	}
}

func removeFiles(t *testing.T, r *reservationRig, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func spoilFile(t *testing.T, r *reservationRig, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(r.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(), change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReservationsRefused: a change that isn't safe is an error, and what was before
// is found after a power cut.
func TestReservationsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		fail func(*reservationRig)
		want string
	}{
		"the stick is out, and a disk doesn't take it": {func(r *reservationRig) { r.stick = errGone; r.fail("B", true) }, "(not B), and the stick"},
		"no disk takes it":                                   {func(r *reservationRig) { r.fail("A", true); r.fail("B", true) }, "no disk of the pool took them"},
		"the stick is out, and there are no areas":           {func(r *reservationRig) { r.stick = errGone; r.rig.list = nil }, "have no room for them"},
		"the stick is in memory, and a disk doesn't take it": {func(r *reservationRig) { r.memory = true; r.fail("B", true) }, "it is in memory only"},
		"the stick is in memory, and there are no areas":     {func(r *reservationRig) { r.memory, r.rig.list = true, nil }, "have no room for them"},
		"another appliance's stick, and a disk doesn't take it": {func(r *reservationRig) {
			r.swap(true)
			r.fail("B", true)
		}, errForeignStick.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			r := newReservationRig(t)
			mustSave(t, r.save(t, "one", 1))
			list := r.rig.list
			tt.fail(r)
			if err := r.save(t, "one", 2); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			r.wantKey(t, "one", 1)
			// The places that took it are told that it isn't so, as soon as may be.
			r.stick, r.rig.list, r.again = nil, list, time.Time{}
			r.fail("A", false)
			r.fail("B", false)
			r.swap(false)
			r.rig.goRound(t, "config")
			r.look()
			r.start(t)
			r.wantKey(t, "one", 1)
		})
	}
}

// TestReservationsInDoubt: where the newest isn't known nothing is served, until
// what is missing comes, or somebody says so.
func TestReservationsInDoubt(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	r.away["B"] = true
	mustSave(t, r.save(t, "one", 2))
	spoilFile(t, r, func(b []byte) []byte { return bytes.Replace(b, []byte("{"), []byte("["), 1) })

	// What A has is right, but who knows.
	r.start(t)
	r.wantDoubt(t, "of the reservations on the stick, they are damaged: disk B isn't here")
	r.away = map[string]bool{"A": true}
	r.start(t)
	r.wantDoubt(t, "disk A isn't here")
	told := 0
	r.changed = func() { told++ }
	r.look()
	if told != 0 {
		t.Error("served again, though nothing came")
	}
	b, err := os.ReadFile(r.path())
	if err != nil || !bytes.Contains(b, []byte("[")) {
		t.Errorf("the stick's file was replaced, error %v: %s", err, b)
	}
	r.away = map[string]bool{}
	r.rig.readAll()
	r.look()
	if told != 1 {
		t.Errorf("told %d times that a disk came", told)
	}
	r.wantKey(t, "one", 2)
	r.rig.goRound(t, "config")

	// Somebody accepts what B has; A comes later, with something newer.
	r.fail("B", true)
	mustSave(t, r.save(t, "one", 3))
	r.fail("B", false)
	spoilFile(t, r, func([]byte) []byte { return nil })
	r.away = map[string]bool{"A": true}
	r.start(t)
	r.wantDoubt(t, "disk A isn't here")
	if err := r.accept("attic"); err == nil {
		t.Error("accepted for a pool that isn't here")
	}
	mustSave(t, r.accept("tank"))
	r.wantKey(t, "one", 2)
	if err := r.accept("tank"); err == nil || !strings.Contains(err.Error(), "aren't in doubt") {
		t.Errorf("accepted again: %v", err)
	}
	r.away = map[string]bool{}
	r.start(t)
	r.wantKey(t, "one", 2)

	// Nothing can be read but the stick; then not even that.
	r.fail("A", true)
	r.fail("B", true)
	r.start(t)
	r.wantDoubt(t, "disk A can't be read; disk B can't be read")
	r.fail("A", false)
	r.rig.readAll()
	r.look()
	r.wantKey(t, "one", 2)
}

// TestReservationsOfAnother: what a newer version keeps, or what can't be used for a
// volume, isn't taken for nothing, nor written over.
func TestReservationsOfAnother(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	newer := func(b []byte) []byte { return bytes.Replace(b, []byte("version 1"), []byte("version 2"), 1) }
	spoilFile(t, r, newer)
	for _, a := range r.rig.list {
		k, _ := r.rig.known(a)
		k.copy.Generation++
		k.copy.Files = maps.Clone(k.copy.Files)
		k.copy.Files[reservationsName] = newer(k.copy.Files[reservationsName])
		mustSave(t, stickcopy.Write(r.rig.disks.open, a.Area, k.copy))
	}
	r.start(t)
	r.wantDoubt(t, "of version 2")
	before := r.rig.disks.writes
	r.rig.goRound(t, "config")
	r.look()
	if r.rig.disks.writes != before {
		t.Error("what a newer version keeps was written over")
	}
	r.start(t)
	r.wantDoubt(t, "of version 2")

	r = newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	n := naaOf("two")
	mustSave(t, r.store("tank", n).Save([]byte("what is that?")))
	r.start(t)
	r.wantKey(t, "one", 1)
	if err := r.check("tank", n); err == nil {
		t.Error("a volume with reservations that can't be read would be served")
	}
	mustSave(t, r.accept("tank"))
	r.wantKey(t, "two", 0)
	r.wantKey(t, "one", 1)
	r.start(t)
	r.wantKey(t, "two", 0)
}

// TestReservationsBounds: what is too much is refused, and of volumes that are gone
// nothing is kept for ever.
func TestReservationsBounds(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	n := naaOf("two")
	if err := r.store("tank", n).Save(make([]byte, maxReservations)); !errors.Is(err, scsi.ErrStoreFull) {
		t.Errorf("error %v", err)
	}
	r.wantKey(t, "two", 0)
	for i := range pruneFrom {
		r.known[naaOf(fmt.Sprint(i))] = reserved{Generation: 1}
	}
	r.configured = func() []string { return []string{"tank", "attic"} }
	r.look()
	if len(r.known) <= pruneFrom {
		t.Error("volumes were forgotten, though a pool isn't here")
	}
	r.configured = func() []string { return []string{"tank"} }
	r.look()
	if len(r.known) != 1 {
		t.Errorf("%d volumes are known", len(r.known))
	}
	r.start(t)
	r.wantKey(t, "one", 1)
}

// TestReservationsLeaveSticks: a stick that can't be written to, or is another
// appliance's, isn't made writable again and again.
func TestReservationsLeaveSticks(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	tries := 0
	write := r.write
	r.write = func(f func() error) error { tries++; return write(f) }
	r.swap(true)
	mustSave(t, r.save(t, "one", 2))
	for range 3 {
		r.look()
	}
	if tries != 0 {
		t.Errorf("another appliance's stick was made writable %d times", tries)
	}
	r.swap(false)
	r.stick, r.again = unix.EIO, time.Time{}
	for range 3 {
		r.look()
	}
	if tries != 1 {
		t.Errorf("a stick that can't be written to was tried %d times", tries)
	}
	r.stick, r.again = nil, time.Time{}
	r.look()
	r.look()
	if tries != 2 {
		t.Errorf("a stick was written to %d times, not once", tries-1)
	}
}

// TestReservationsTogether: changes that come at once are all kept, with fewer
// writes than there are changes.
func TestReservationsTogether(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "0", 1))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			n := naaOf(fmt.Sprint(i))
			for k := range uint64(3) {
				if err := r.store("tank", n).Save(keptState(n, k+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() { r.rig.round(t.Context()) })
	all.Go(r.look)
	all.Wait()
	r.start(t)
	for i := range 20 {
		r.wantKey(t, fmt.Sprint(i), 3)
	}
}

// TestNoStick: without any stick, as from a CD, nothing can be kept, and initiators
// are told so; but what the disks have counts.
func TestNoStick(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newReservationRig(t)
	mustSave(t, r.save(t, "one", 1))
	none := newCopies("", nil, r.StickAreas, slog.New(slog.DiscardHandler))
	none.open = r.rig.disks.open
	cd := newReservations("", func(func() error) error { return errNoStick }, none, r, slog.New(slog.DiscardHandler))
	defer none.end()
	for volume, want := range map[string]bool{"one": true, "two": false} {
		n := naaOf(volume)
		if err := cd.check("tank", n); err != nil {
			t.Fatal(err)
		}
		s := cd.store("tank", n)
		if (s != nil) != want {
			t.Errorf("volume %s has a store: %v", volume, s != nil)
		}
		if s == nil {
			continue
		}
		if b, err := s.Load(); err != nil || keyOf(b) != 1 {
			t.Errorf("key %d, error %v", keyOf(b), err)
		}
		if err := s.Save(keptState(n, 2)); err == nil {
			t.Error("saved to nowhere")
		}
	}
	cd.look()
	if p := cd.problems(); len(p) > 0 {
		t.Errorf("problems %+v", p)
	}
}

func TestReservedFile(t *testing.T) {
	for _, all := range []map[naa]reserved{
		{}, {naaOf("one"): {Generation: 5}}, {naaOf("one"): {1 << 40, []byte{1}}, naaOf("two"): {2, bytes.Repeat([]byte{0xff}, 1000)}},
	} {
		good, err := encodeReserved(all)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeReserved(good)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		for n := range good {
			if _, err := decodeReserved(good[:n]); err == nil {
				t.Fatalf("cut to %d bytes, and nobody notices", n)
			}
			b := bytes.Clone(good)
			b[n] ^= 1
			if _, err := decodeReserved(b); err == nil {
				t.Fatalf("byte %d is changed, and nobody notices", n)
			}
		}
	}
	if _, err := decodeReserved(make([]byte, maxReservations+1)); err == nil {
		t.Error("a file of any length is read")
	}
}

func FuzzDecodeReserved(f *testing.F) {
	b, err := encodeReserved(map[naa]reserved{naaOf("one"): {1, []byte{1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, text, ok := bytes.Cut(b, []byte("\n")); ok { // so that the fuzzer gets past the sum
			b = append(fmt.Appendf(nil, "%s%d, SHA-256 %x\n", reservedHead, reservedVersion, sha256.Sum256(text)), text...)
		}
		all, err := decodeReserved(b)
		if err != nil {
			return
		}
		again, err := encodeReserved(all)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeReserved(again); err != nil || len(got) != len(all) {
			t.Errorf("%d volumes become %d, error %v", len(all), len(got), err)
		}
	})
}
