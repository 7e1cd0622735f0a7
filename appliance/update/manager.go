package update

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// Volume is the boot volume. It is mounted for moments only.
type Volume interface {
	// Use mounts it, calls f with the directory, and unmounts it: then all that
	// f wrote is on the medium, and the next Use reads from there and not from
	// memory. One Use at a time.
	Use(ctx context.Context, writable bool, f func(dir string) error) error
}

// Options describe a Manager.
type Options struct {
	Log     *slog.Logger // nil discards
	Volume  Volume
	Boot    Boot
	Running Release
	Keys    []ed25519.PublicKey // with which updates may be signed
	// Load and Save keep the record; Load gives nil if there is none.
	Load func() ([]byte, error)
	Save func([]byte) error
	// Space tells how much room a volume has; nil asks the kernel.
	Space func(dir string) (Space, error)
	Now   func() time.Time // nil is time.Now
}

// Manager runs updates. Start comes first. Safe for concurrent use.
type Manager struct {
	o Options

	busy sync.Mutex // held while an update is under way

	mu     sync.Mutex // guards what follows
	state  State
	others Manifest // of the slot that doesn't run; the zero value: none
	failed error    // why the slots can't be used

	started bool // Start is done
}

// New makes a Manager.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Space == nil {
		o.Space = statSpace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Manager{o: o}
}

// Status is what a Manager knows.
type Status struct {
	Known  bool // Start is done; before, only Boot is known
	Boot   Boot
	Record Record
	Other  string // version in the slot that doesn't run; empty: none
	Kept   bool   // the boot loader was seen to start what runs the next time, too
	Passed bool   // the boot loader has passed over the active slot
	Err    error  // why the slots can't be used
}

// Status tells it. It reads nothing.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.state.Env
	return Status{
		Known: m.started, Boot: m.o.Boot, Record: m.state.Record, Other: m.others.Version, Err: m.failed,
		Kept:   m.started && m.failed == nil && e.Active == m.o.Boot.Slot && !e.Armed(),
		Passed: m.started && m.failed == nil && m.o.Boot.Mode == Fallback && cmpOr(string(e.Active), string(SlotA)) != string(m.o.Boot.Slot),
	}
}

func (m *Manager) get() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *Manager) set(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

// Start finds out what has become of the last update, and writes that down. It
// is called at each start of the appliance, and may be called again if it fails.
func (m *Manager) Start(ctx context.Context) error {
	m.busy.Lock()
	defer m.busy.Unlock()
	err := m.start(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed, m.started = err, true
	return err
}

func (m *Manager) start(ctx context.Context) error {
	var s State
	var others Manifest
	damaged := false
	err := m.o.Volume.Use(ctx, false, func(dir string) (err error) {
		if s.Env, err = ReadEnv(filepath.Join(dir, EnvName)); err != nil {
			if m.o.Boot.Mode == Try {
				return err // whether this is still a trial is told by nothing else
			}
			// GRUB boots slot a without it. It is mended when it is next written.
			m.o.Log.Error("Cannot use the boot loader's settings", "error", err)
			s.Env, damaged = Env{}, true
		}
		others = m.look(dir)
		return nil
	})
	if err != nil {
		return err
	}
	if s.Record, err = m.load(); err != nil {
		m.o.Log.Error("Cannot tell what has become of the last update", "error", err)
		s.Record = Record{}
	}
	next := s.Booted(m.o.Boot, m.o.Now())
	if next.Record.Phase == Trying && next.Record.Version == "" {
		next.Record.Version = m.o.Running.Version
	}
	m.mu.Lock()
	m.others = others
	m.mu.Unlock()
	m.set(next)
	if changed(s.Record, next.Record) {
		if err := m.save(next.Record); err != nil {
			// It only explains; the rest goes on.
			m.o.Log.Error("Cannot keep what has become of the last update", "error", err)
		}
	}
	if damaged || envEqual(s.Env, next.Env) {
		return nil
	}
	return m.writeEnv(ctx, s.Env, next.Env)
}

// look describes the slot that doesn't run.
func (m *Manager) look(dir string) Manifest {
	d, err := dirOf(dir, m.o.Boot.Slot.Other()).describe()
	if err != nil {
		if !errors.Is(err, ErrNoSystem) {
			m.o.Log.Warn("Cannot use the other slot", "slot", m.o.Boot.Slot.Other(), "error", err)
		}
		return Manifest{}
	}
	return d
}

func changed(a, b Record) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX != nil || errY != nil || string(x) != string(y)
}

func envEqual(a, b Env) bool {
	return a.Active == b.Active && a.Next == b.Next && a.Left == b.Left && a.Bad == b.Bad
}

func (m *Manager) load() (r Record, err error) {
	b, err := m.o.Load()
	if err != nil || b == nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("cannot read the record of updates: %w", err)
	}
	return r, nil
}

func (m *Manager) save(r Record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = m.o.Save(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the record of updates: %w", err)
	}
	return nil
}

// lock makes sure that one update is under way at most, and that there are
// slots.
func (m *Manager) lock() (unlock func(), err error) {
	if !m.busy.TryLock() {
		return nil, &Refusal{"another update is under way", "wait for that"}
	}
	switch s := m.Status(); {
	case !s.Known:
		m.busy.Unlock()
		return nil, &Refusal{"the appliance has just started", "try again in half a minute"}
	case s.Err != nil:
		m.busy.Unlock()
		return nil, fmt.Errorf("cannot use the slots: %w", s.Err)
	}
	return m.busy.Unlock, nil
}

// lockIdle is lock for the beginning of another update. During a trial it is
// refused at once: Confirm needs the lock, and updates may take long.
func (m *Manager) lockIdle() (unlock func(), err error) {
	if unlock, err = m.lock(); err != nil {
		return nil, err
	}
	if err := m.get().mayBegin(m.o.Boot); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// Wanted says what a person wants of an update.
type Wanted struct {
	AllowOlder bool // also a version that is older than the running one
	Schema     int  // of the configuration in force
}

// Install writes a bundle into the slot that doesn't run and compares what is
// there then. Nothing boots it until Arm. Whatever happens, the running slot
// stays as it is and boots. progress tells what is done, and bytes.
func (m *Manager) Install(ctx context.Context, r io.Reader, w Wanted, progress func(what string, done, total int64)) (Manifest, error) {
	unlock, err := m.lockIdle()
	if err != nil {
		return Manifest{}, err
	}
	defer unlock()
	b, err := Open(r, m.o.Keys)
	if err != nil {
		return Manifest{}, err
	}
	if err := m.suits(b.Release, w); err != nil {
		return b.Manifest, err
	}
	if err := m.prepare(ctx, b); err != nil {
		return b.Manifest, err
	}
	if err := m.fill(ctx, b, progress); err != nil {
		return b.Manifest, errors.Join(err, m.abandon(ctx, err))
	}
	s, err := m.get().Written()
	if err != nil {
		return b.Manifest, err
	}
	m.mu.Lock()
	m.state, m.others = s, b.Manifest
	m.mu.Unlock()
	return b.Manifest, nil
}

// suits refuses what wouldn't work here.
func (m *Manager) suits(r Release, w Wanted) error {
	switch {
	case r.Arch != m.o.Running.Arch:
		return &Refusal{fmt.Sprintf("the update is for %s, and this machine is %s", r.Arch, m.o.Running.Arch), "get the one for " + m.o.Running.Arch}
	case r.Time.Before(m.o.Running.Time) && !w.AllowOlder:
		return &Refusal{fmt.Sprintf("version %s is older than %s, which runs", r.Version, m.o.Running.Version), "give --allow-older if that is wanted"}
	case !r.Config.Has(w.Schema):
		return &Refusal{fmt.Sprintf("version %s understands configurations of version %d to %d, and appliance.toml is of version %d",
			r.Version, r.Config.Oldest, r.Config.Newest, w.Schema), "change the file first (sanctl config apply)"}
	}
	return nil
}

// prepare makes the slot empty and unbootable, if there is room for what is to
// come.
func (m *Manager) prepare(ctx context.Context, b *Bundle) error {
	s, err := m.get().Begin(m.o.Boot, b.Version, m.o.Running.Version, m.o.Now())
	if err != nil {
		return err
	}
	return m.write(ctx, func(dir string) error {
		d := dirOf(dir, s.Record.Slot)
		if err := m.room(dir, d, b); err != nil {
			return err
		}
		if err := WriteEnv(filepath.Join(dir, EnvName), s.Env); err != nil {
			return err
		}
		m.mu.Lock()
		m.state, m.others = s, Manifest{}
		m.mu.Unlock()
		if err := m.save(s.Record); err != nil {
			m.o.Log.Error("An update begins without a record", "error", err)
		}
		if err := d.hide(); err != nil {
			return err
		}
		return d.clear()
	})
}

// spare is room for directories and for what else lies on the boot volume.
const spare = 64 << 10

func (m *Manager) room(dir string, d slotDir, b *Bundle) error {
	space, err := m.o.Space(dir)
	if err != nil {
		return err
	}
	unit := max(space.Unit, 1)
	old, err := d.taken(unit)
	if err != nil {
		return err
	}
	need := roundUp(int64(len(b.raw)), unit)
	for _, f := range b.Files {
		need += roundUp(f.Size, unit)
	}
	if have := space.Free + old - spare; need > have {
		return &Refusal{fmt.Sprintf("the update needs %d KiB, and slot %s has room for %d KiB", need>>10, m.o.Boot.Slot.Other(), max(have, 0)>>10),
			"write the new image to a stick instead; its configuration can be copied"}
	}
	return nil
}

// fill writes the slot, compares it, and lets GRUB see it.
func (m *Manager) fill(ctx context.Context, b *Bundle, progress func(string, int64, int64)) error {
	slot, total := m.o.Boot.Slot.Other(), b.Size()
	err := m.write(ctx, func(dir string) error {
		return dirOf(dir, slot).write(ctx, b, func(n int64) { progress("writing slot "+string(slot), n, total) })
	})
	if err != nil {
		return err
	}
	err = m.o.Volume.Use(ctx, false, func(dir string) error {
		return dirOf(dir, slot).verify(ctx, b.Manifest, hidden, func(n int64) { progress("comparing slot "+string(slot), n, total) })
	})
	if err != nil {
		return err
	}
	return m.write(ctx, func(dir string) error { return dirOf(dir, slot).show() })
}

// abandon empties the slot after a failure, and writes down what it was.
func (m *Manager) abandon(ctx context.Context, cause error) error {
	ctx = context.WithoutCancel(ctx)
	s := m.get()
	s.Record.Phase, s.Record.Ended, s.Record.Reason = Interrupted, m.o.Now(), cause.Error()
	m.set(s)
	return errors.Join(m.save(s.Record), m.write(ctx, func(dir string) error {
		d := dirOf(dir, s.Record.Slot)
		if err := d.hide(); err != nil {
			return err
		}
		return d.clear()
	}))
}

// Reuse makes ready what is in the slot that doesn't run: the version before,
// or one that fell back. All of it is read and compared first.
func (m *Manager) Reuse(ctx context.Context, w Wanted, progress func(what string, done, total int64)) (Manifest, error) {
	unlock, err := m.lockIdle()
	if err != nil {
		return Manifest{}, err
	}
	defer unlock()
	slot := m.o.Boot.Slot.Other()
	var d Manifest
	err = m.o.Volume.Use(ctx, false, func(dir string) (err error) {
		if d, err = dirOf(dir, slot).describe(); err != nil {
			if errors.Is(err, ErrNoSystem) {
				return &Refusal{fmt.Sprintf("slot %s holds no other version", slot), "sanctl update puts one there"}
			}
			return err
		}
		if err := m.suits(d.Release, Wanted{AllowOlder: true, Schema: w.Schema}); err != nil {
			return err
		}
		return dirOf(dir, slot).verify(ctx, d, func(n string) string { return n }, func(n int64) { progress("reading slot "+string(slot), n, d.Size()) })
	})
	if err != nil {
		return d, err
	}
	s, err := m.get().Begin(m.o.Boot, d.Version, m.o.Running.Version, m.o.Now())
	if err != nil {
		return d, err
	}
	if s, err = s.Written(); err != nil {
		return d, err
	}
	err = m.write(ctx, func(dir string) error { return WriteEnv(filepath.Join(dir, EnvName), s.Env) })
	if err != nil {
		return d, err
	}
	m.set(s)
	return d, nil
}

// Arm has the next boot try what was written. before is kept for the trial.
func (m *Manager) Arm(ctx context.Context, before json.RawMessage) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now := m.get()
	s, err := now.Arm(before)
	if err != nil {
		return err
	}
	err = m.o.Volume.Use(ctx, false, func(dir string) error { return holdsWritten(dir, s.Record) })
	if err != nil {
		return err
	}
	if err := m.save(s.Record); err != nil {
		return err
	}
	if err := m.writeEnv(ctx, now.Env, s.Env); err != nil {
		return err
	}
	m.set(s)
	return nil
}

// Confirm makes the version on trial permanent.
func (m *Manager) Confirm(ctx context.Context) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now := m.get()
	s, err := now.Confirm(m.o.Now())
	if err != nil {
		return err
	}
	if err := m.writeEnv(ctx, now.Env, s.Env); err != nil {
		return err
	}
	m.set(s)
	return m.save(s.Record)
}

// Fail writes down why the version on trial isn't kept. The machine is to be
// restarted then.
func (m *Manager) Fail(reason string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := m.get().Fail(reason)
	if err != nil {
		return err
	}
	m.set(s)
	return m.save(s.Record)
}

// Dismiss forgets a failed update.
func (m *Manager) Dismiss() error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := m.get().Dismiss()
	if err != nil {
		return err
	}
	m.set(s)
	return m.save(s.Record)
}
