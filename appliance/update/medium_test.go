package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// medium is a stick: the boot volume as a directory, and the record.
type medium struct {
	dir    string
	record []byte
	boots  int

	moments func() // called whenever something may be on the medium; may be nil
	fail    error  // of every Use
	torn    Slot   // of which GRUB can't read the initramfs
	using   bool
}

func (d *medium) Use(_ context.Context, _ bool, f func(string) error) error {
	if d.using {
		return errors.New("the volume is mounted twice")
	}
	d.using = true
	defer func() { d.using = false }()
	if d.fail != nil {
		return d.fail
	}
	err := f(d.dir)
	d.moment()
	return err
}

func (d *medium) moment() {
	if d.moments != nil {
		d.moments()
	}
}

func (d *medium) load() ([]byte, error) { return d.record, nil }

func (d *medium) save(b []byte) error {
	d.record = bytes.Clone(b)
	d.moment()
	return nil
}

// newMedium is a stick as it is built: v1 in slot a, nothing in b.
func newMedium(t *testing.T) *medium {
	t.Helper()
	d := &medium{dir: t.TempDir()}
	kernel, initramfs := system(t, "v1")
	m, err := NewManifest(release("v1", day), kernel, initramfs)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	d.put(t, "grub/grubenv", block(1024))
	d.put(t, "a/slot.json", raw)
	for name, path := range map[string]string{"a/vmlinuz": kernel, "a/initrd.img": initramfs} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d.put(t, name, b)
	}
	return d
}

func (d *medium) put(t *testing.T, name string, data []byte) {
	t.Helper()
	p := filepath.Join(d.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// copy is the medium as a power cut leaves it now.
func (d *medium) copy(t *testing.T) *medium {
	t.Helper()
	c := &medium{dir: filepath.Join(t.TempDir(), "copy"), record: bytes.Clone(d.record), boots: d.boots, torn: d.torn}
	if err := os.CopyFS(c.dir, os.DirFS(d.dir)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *medium) has(s Slot) bool {
	for _, f := range []string{KernelName, InitramfsName} {
		if _, err := os.Stat(filepath.Join(d.dir, string(s), f)); err != nil {
			return false
		}
	}
	return true
}

// grub boots, as grub.cfg on the stick does.
func (d *medium) grub(t *testing.T) Boot {
	t.Helper()
	d.boots++
	path := filepath.Join(d.dir, EnvName)
	e, err := ReadEnv(path)
	if err != nil {
		e = Env{}
	}
	b := Boot{Slot: Slot(cmpOr(string(e.Active), "a")), Mode: Normal, ID: strconv.Itoa(d.boots)}
	if e.Armed() {
		b.Mode = Fallback
		if e.Left > 0 {
			b.Slot, b.Mode = e.Next, Try
			e.Left--
			if err := WriteEnv(path, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e.Bad == b.Slot && b.Mode != Try && d.has(b.Slot.Other()) {
		b.Slot, b.Mode = b.Slot.Other(), Fallback
	}
	if !d.has(b.Slot) {
		b.Slot, b.Mode = b.Slot.Other(), Fallback
	}
	if !d.has(b.Slot) {
		t.Fatal("neither slot can be booted")
	}
	if b.Slot == d.torn {
		if e.Bad == b.Slot {
			t.Fatal("the same slot that can't be read again and again")
		}
		if b.Mode != Try {
			e.Bad = b.Slot
			if err := WriteEnv(path, e); err != nil {
				t.Fatal(err)
			}
		}
		return d.grub(t)
	}
	return b
}

// whole fails unless all of a slot is what its description says, and returns
// the version.
func (d *medium) whole(t *testing.T, s Slot) string {
	t.Helper()
	m, err := dirOf(d.dir, s).describe()
	if err == nil {
		err = dirOf(d.dir, s).verify(t.Context(), m, func(n string) string { return n }, func(int64) {})
	}
	if err != nil {
		t.Fatalf("slot %s was booted and isn't whole: %v", s, err)
	}
	return m.Version
}

// on is the appliance on that medium.
func (d *medium) on(t *testing.T, b Boot, version string) *Manager {
	t.Helper()
	m := New(Options{
		Volume: d, Boot: b, Running: release(version, day), Keys: []ed25519.PublicKey{public(keyA)}, Load: d.load, Save: d.save,
		Space: func(string) (Space, error) { return Space{1 << 30, 512}, nil }, Now: func() time.Time { return day },
	})
	if m.Status().Known {
		t.Error("what has become of the last update is known before anybody looked")
	}
	if err := install(t, m, nil, Wanted{}); !errors.Is(err, ErrRefused) {
		t.Errorf("an update before it is known what has become of the last one: %v", err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !m.Status().Known {
		t.Error("nobody knows what has become of the last update")
	}
	return m
}

// boot is what happens when the machine is switched on.
func (d *medium) boot(t *testing.T) *Manager {
	t.Helper()
	b := d.grub(t)
	return d.on(t, b, d.whole(t, b.Slot))
}

func quiet(string, int64, int64) {}

func install(t *testing.T, m *Manager, b []byte, w Wanted) error {
	t.Helper()
	w.Schema = max(w.Schema, 1)
	_, err := m.Install(t.Context(), bytes.NewReader(b), w, quiet)
	if err == nil {
		err = m.Arm(t.Context(), []byte(`{"pools":1}`))
	}
	return err
}

func wantStatus(t *testing.T, m *Manager, slot Slot, mode Mode, p Phase, other string) {
	t.Helper()
	s := m.Status()
	if s.Boot.Slot != slot || s.Boot.Mode != mode || s.Record.Phase != p || s.Other != other || s.Err != nil {
		t.Fatalf("slot %s mode %s phase %q (%s) other %q, %v; want %s %s %q %q", s.Boot.Slot, s.Boot.Mode, s.Record.Phase, s.Record.Reason, s.Other, s.Err, slot, mode, p, other)
	}
}
