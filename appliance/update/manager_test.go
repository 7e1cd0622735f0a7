package update

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestUpdate(t *testing.T) {
	d := newMedium(t)
	m := d.boot(t)
	wantStatus(t, m, SlotA, Normal, None, "")
	if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, m, SlotA, Normal, Armed, "v2")
	m = d.boot(t)
	wantStatus(t, m, SlotB, Try, Trying, "v1")
	if string(m.Status().Record.Before) == "" {
		t.Error("what was before is lost")
	}
	// Nothing is read for it: a client that stalls would keep the trial from its end.
	if _, err := m.Install(t.Context(), iotest.ErrReader(errors.New("it is read")), Wanted{Schema: 1}, quiet); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "on trial itself") {
		t.Errorf("an update during a trial: %v", err)
	}
	d.fail = errors.New("it is read")
	if _, err := m.Reuse(t.Context(), Wanted{Schema: 1}, quiet); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "on trial itself") {
		t.Errorf("going back to the other slot during a trial: %v", err)
	}
	d.fail = nil
	if err := m.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, d.boot(t), SlotB, Normal, Confirmed, "v1")

	// Back to the first one, which isn't confirmed, and so forth.
	m = d.boot(t)
	if _, err := m.Reuse(t.Context(), Wanted{Schema: 1}, quiet); err != nil {
		t.Fatal(err)
	}
	if err := m.Arm(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	m = d.boot(t)
	wantStatus(t, m, SlotA, Try, Trying, "v2")
	if err := m.Fail("pool tank is failed"); err != nil {
		t.Fatal(err)
	}
	if err := m.Confirm(t.Context()); err == nil {
		t.Error("a version that was given up is kept")
	}
	m = d.boot(t)
	wantStatus(t, m, SlotB, Fallback, FellBack, "v1")
	if r := m.Status().Record; r.Reason != "pool tank is failed" || r.Version != "v1" || r.From != "v2" {
		t.Errorf("record %+v", r)
	}
	wantStatus(t, d.boot(t), SlotB, Normal, FellBack, "v1")
	m = d.boot(t)
	if err := m.Dismiss(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, d.boot(t), SlotB, Normal, None, "v1")
}

func TestRefused(t *testing.T) {
	d := newMedium(t)
	m := d.boot(t)
	if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	good := bundle(t, release("v3", day), keyA)
	arm := release("v3", day)
	arm.Arch = "arm64"
	newer := release("v3", day)
	newer.Config = Range{2, 3}
	for name, tt := range map[string]struct {
		b    []byte
		w    Wanted
		want string
	}{
		"not signed":    {bundle(t, release("v3", day), nil), Wanted{}, "isn't signed"},
		"wrong key":     {bundle(t, release("v3", day), keyB), Wanted{}, "isn't signed with a key of this appliance"},
		"older":         {bundle(t, release("v0", day.Add(-1)), keyA), Wanted{}, "--allow-older"},
		"other machine": {bundle(t, arm, keyA), Wanted{}, "the update is for arm64"},
		"configuration": {bundle(t, newer, keyA), Wanted{}, "appliance.toml is of version 1"},
		"not an update": {[]byte("hello"), Wanted{}, "cut off"},
	} {
		if err := install(t, m, tt.b, tt.w); err == nil || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
		// Before anything was touched.
		wantStatus(t, m, SlotA, Normal, Armed, "v2")
		if got := d.whole(t, SlotB); got != "v2" {
			t.Errorf("%s: slot b holds %s", name, got)
		}
	}
	m.o.Space = func(string) (Space, error) { return Space{100, 512}, nil }
	big := Release{Version: "v3", Time: day, Arch: "amd64", Config: Range{1, 1}}
	if err := install(t, m, bundle(t, big, keyA), Wanted{}); err == nil || !strings.Contains(err.Error(), "has room for") {
		t.Errorf("too large: %v", err)
	}
	wantStatus(t, m, SlotA, Normal, Armed, "v2")
	m.o.Space = func(string) (Space, error) { return Space{1 << 20, 512}, nil }

	// Noticed only on the way: what was in the slot is gone, and never boots.
	for name, r := range map[string]io.Reader{
		"cut off":    bytes.NewReader(good[:len(good)-100]),
		"changed":    bytes.NewReader(append(bytes.Clone(good[:len(good)-1]), 'x')),
		"too long":   bytes.NewReader(append(bytes.Clone(good), 'x')),
		"broken off": io.MultiReader(bytes.NewReader(good[:len(good)-100]), iotest.ErrReader(errors.New("the cable is out"))),
	} {
		if _, err := m.Install(t.Context(), r, Wanted{Schema: 1}, quiet); err == nil {
			t.Errorf("%s: no error", name)
		}
		wantStatus(t, m, SlotA, Normal, Interrupted, "")
		if d.has(SlotB) {
			t.Errorf("%s: GRUB would boot slot b", name)
		}
		if err := m.Arm(t.Context(), nil); err == nil {
			t.Errorf("%s: it can be armed", name)
		}
	}
	if err := install(t, m, bundle(t, release("v0", day.Add(-1)), keyA), Wanted{AllowOlder: true}); err != nil {
		t.Errorf("an older one that is wanted: %v", err)
	}
	d.fail = errors.New("the stick is gone")
	if err := install(t, m, good, Wanted{}); err == nil || !strings.Contains(err.Error(), "the stick is gone") {
		t.Errorf("without a stick: %v", err)
	}
}

// A stick that doesn't keep what it is given.
func TestBadStick(t *testing.T) {
	d := newMedium(t)
	m := d.boot(t)
	spoil := func() {
		p := filepath.Join(d.dir, "b", "initrd.img")
		if b, err := os.ReadFile(p); err == nil && len(b) > 0 {
			b[len(b)/2] ^= 1
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Error(err)
			}
			d.moments = nil
		}
	}
	d.moments = spoil
	err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{})
	if err == nil || !strings.Contains(err.Error(), "doesn't keep what is written") {
		t.Errorf("error %v", err)
	}
	if d.has(SlotB) {
		t.Error("GRUB would boot slot b")
	}
	// And one that loses it later: it isn't gone back to.
	if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	spoil()
	if _, err := m.Reuse(t.Context(), Wanted{Schema: 1}, quiet); err == nil {
		t.Error("a damaged slot can be gone back to")
	}
}

// TestPowerCut cuts the power at every moment at which something may be on the
// medium, from the upload to the confirmation, and looks at what comes then: a
// whole version is booted each time, and with a healthy appliance all ends in a
// state from which another update works.
func TestPowerCut(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("direct %v", direct), func(t *testing.T) { testPowerCut(t, direct) })
	}
}

func testPowerCut(t *testing.T, direct bool) {
	d := newMedium(t)
	b := bundle(t, release("v2", day), keyA)
	var cuts []*medium
	moment := func() { cuts = append(cuts, d.copy(t)) }
	d.moments = moment
	m := d.boot(t)
	_, err := m.Install(t.Context(), iotest.OneByteReader(io.TeeReader(bytes.NewReader(b), everyNth(1000, moment))), Wanted{Schema: 1}, func(string, int64, int64) { moment() })
	if err == nil {
		err = m.Arm(t.Context(), nil)
	}
	s := &starter{}
	if err == nil && direct {
		err = m.Direct(t.Context(), s, bySlotA)
	}
	if err != nil {
		t.Fatal(err)
	}
	if direct {
		m = d.kexec(t, s)
	} else {
		m = d.boot(t)
	}
	moment()
	if err := m.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(cuts) < 20 {
		t.Fatalf("only %d moments", len(cuts))
	}
	booted := map[string]int{}
	for i, c := range cuts {
		m := c.boot(t) // fails if what is booted isn't whole
		s := m.Status()
		what := fmt.Sprintf("moment %d: slot %s, mode %s, phase %s", i, s.Boot.Slot, s.Boot.Mode, s.Record.Phase)
		booted[m.o.Running.Version]++
		if again := c.copy(t).boot(t).Status(); s.Boot.Mode == Try && (again.Boot.Slot != SlotA || again.Record.Phase != FellBack) {
			t.Errorf("%s: cut during the trial, slot %s, phase %s", what, again.Boot.Slot, again.Record.Phase)
		}
		if s.Record.Phase == Trying {
			if err := m.Confirm(t.Context()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if m = c.boot(t); m.Status().Boot.Mode != Normal {
			t.Errorf("%s: not at rest after another boot: %+v", what, m.Status())
		}
		if err := install(t, m, bundle(t, release("v3", day), keyA), Wanted{}); err != nil {
			t.Errorf("%s: no update is possible any more: %v", what, err)
			continue
		}
		if m = c.boot(t); m.o.Running.Version != "v3" || m.Confirm(t.Context()) != nil {
			t.Errorf("%s: the next update boots %s", what, m.o.Running.Version)
		}
		if m = c.boot(t); m.o.Running.Version != "v3" || m.Status().Boot.Mode != Normal {
			t.Errorf("%s: the next update isn't kept", what)
		}
	}
	if booted["v1"] == 0 || booted["v2"] == 0 {
		t.Errorf("booted %v; want both", booted)
	}
	t.Logf("%d moments, booted %v", len(cuts), booted)
}

// everyNth calls f after each n bytes.
func everyNth(n int, f func()) io.Writer { return &nth{n: n, f: f} }

type nth struct {
	n, seen int
	f       func()
}

func (w *nth) Write(p []byte) (int, error) {
	for range p {
		if w.seen++; w.seen%w.n == 0 {
			w.f()
		}
	}
	return len(p), nil
}

// TestDamagedEnv is a stick whose environment block was overwritten: GRUB boots
// slot a then, and the next update mends it.
func TestDamagedEnv(t *testing.T) {
	d := newMedium(t)
	d.put(t, EnvName, make([]byte, 1024))
	m := d.boot(t)
	wantStatus(t, m, SlotA, Normal, None, "")
	if err := install(t, m, bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	e, err := ReadEnv(filepath.Join(d.dir, EnvName))
	if diff := cmp.Diff(armedB, e); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// A kernel that hangs is never tried twice.
func TestOneTry(t *testing.T) {
	d := newMedium(t)
	if err := install(t, d.boot(t), bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	if b := d.grub(t); b.Slot != SlotB || b.Mode != Try {
		t.Fatalf("%+v", b)
	}
	m := d.boot(t)
	wantStatus(t, m, SlotA, Fallback, FellBack, "v2")
	if r := m.Status().Record.Reason; !strings.Contains(r, "kernel stopped or hung") {
		t.Errorf("reason %q", r)
	}
}

// On trial, a block that can't be read decides nothing.
func TestUnreadableEnvOnTrial(t *testing.T) {
	d := newMedium(t)
	if err := install(t, d.boot(t), bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	m := d.boot(t)
	if s := m.Status(); s.Record.Phase != Trying || s.Kept {
		t.Fatalf("%+v", s)
	}
	good, err := os.ReadFile(filepath.Join(d.dir, EnvName))
	if err != nil {
		t.Fatal(err)
	}
	record := bytes.Clone(d.record)
	d.put(t, EnvName, make([]byte, 1024))
	if err := m.Start(t.Context()); err == nil {
		t.Error("no error")
	}
	if s := m.Status(); s.Err == nil || s.Kept || !bytes.Equal(record, d.record) {
		t.Errorf("error %v, kept %v, record\n%s", s.Err, s.Kept, d.record)
	}
	if err := m.Confirm(t.Context()); err == nil {
		t.Error("it can be confirmed")
	}
	d.put(t, EnvName, good)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, m, SlotB, Try, Trying, "v1")
	if err := m.Confirm(t.Context()); err != nil || !m.Status().Kept {
		t.Errorf("error %v, kept %v", err, m.Status().Kept)
	}
}

// A slot that GRUB couldn't read is left alone until something is written to it,
// or somebody asks for it and it can be read.
func TestTornSlot(t *testing.T) {
	d := newMedium(t)
	if err := install(t, d.boot(t), bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	m := d.boot(t)
	if err := m.Confirm(t.Context()); err != nil || m.Status().Passed {
		t.Fatalf("error %v, passed over: %v", err, m.Status().Passed)
	}
	env := func(want Env) {
		t.Helper()
		e, err := ReadEnv(filepath.Join(d.dir, EnvName))
		if diff := cmp.Diff(want, e); err != nil || diff != "" {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	}
	d.torn = SlotB
	for range 2 {
		m = d.boot(t)
		wantStatus(t, m, SlotA, Fallback, Confirmed, "v2")
		if !m.Status().Passed {
			t.Error("nobody says that slot b was passed over")
		}
		env(Env{Active: SlotB, Bad: SlotB})
	}
	fixed := d.copy(t)

	// What is written is another initramfs.
	if err := install(t, m, bundle(t, release("v3", day), keyA), Wanted{}); err != nil {
		t.Fatal(err)
	}
	if m.Status().Passed {
		t.Error("slot a is the active one, and slot b passed over")
	}
	env(armedB)
	d.torn = ""
	m = d.boot(t)
	wantStatus(t, m, SlotB, Try, Trying, "v1")
	if err := m.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	wantStatus(t, d.boot(t), SlotB, Normal, Confirmed, "v1")

	// It was the contact.
	d = fixed
	d.torn = ""
	m = d.boot(t)
	wantStatus(t, m, SlotA, Fallback, Confirmed, "v2")
	if _, err := m.Reuse(t.Context(), Wanted{Schema: 1}, quiet); err != nil {
		t.Fatal(err)
	}
	if err := m.Arm(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, d.boot(t), SlotB, Try, Trying, "v1")
}
