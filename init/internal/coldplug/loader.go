package coldplug

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
)

// ErrUnknown says that no module of this kernel has the name or alias.
var ErrUnknown = errors.New("no such module")

// Modules loads modules with all they need, each one once. Safe for
// concurrent use: who needs a module that another is loading waits for it.
type Modules struct {
	index   *Index
	loader  sys.Loader
	options Options
	log     *slog.Logger

	mu     sync.Mutex
	states map[string]*state
}

type state struct {
	mu     sync.Mutex // held while loading
	loaded bool       // or has nothing to do on this machine
}

// NewModules makes a Modules. A nil log discards.
func NewModules(x *Index, l sys.Loader, o Options, log *slog.Logger) *Modules {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Modules{index: x, loader: l, options: o, log: log, states: make(map[string]*state)}
}

// LoadAlias loads the modules for a device's modalias, but for those that are
// blacklisted. The error joins those of all modules; no module for it is no
// error.
func (m *Modules) LoadAlias(alias string) error {
	var failed []error
	for _, name := range m.index.Find(alias) {
		if m.options.Blacklist[name] {
			continue
		}
		if err := m.load(name); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// LoadName loads modules by name, or by an alias such as "fs-vfat". One that
// is part of the kernel needs nothing; ErrUnknown if there is none.
func (m *Modules) LoadName(name string) error {
	found := m.index.Find(name)
	if len(found) == 0 && !m.index.Builtin(name) {
		return fmt.Errorf("cannot load module %s: %w", name, ErrUnknown)
	}
	var failed []error
	for _, n := range found {
		if err := m.load(n); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (m *Modules) load(name string) error {
	var failed error
	for _, s := range m.index.order(name) {
		if !s.hard && m.index.aliases.otherCPU(s.module, m.options.CPU) {
			continue
		}
		err := m.one(s.module)
		switch {
		case err == nil || !s.hard:
		case s.module == name:
			failed = err
		default:
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return failed
}

// one loads a module whose dependencies are there. What failed is tried again
// when it is asked for again.
func (m *Modules) one(name string) error {
	m.mu.Lock()
	st := m.states[name]
	if st == nil {
		st = &state{}
		m.states[name] = st
	}
	m.mu.Unlock()

	st.mu.Lock()
	defer st.mu.Unlock()
	if st.loaded {
		return nil
	}
	err := m.insert(name)
	if errors.Is(err, unix.ENODEV) {
		// It looked for what it drives, a feature of the CPU for example, and
		// that isn't there and won't come: usual, no failure.
		m.log.Debug("Module found no device", "module", name)
		err = nil
	}
	st.loaded = err == nil
	return err
}

func (m *Modules) insert(name string) error {
	mod, ok := m.index.modules[name]
	if !ok {
		if m.index.Builtin(name) {
			return nil
		}
		return fmt.Errorf("cannot load module %s: %w", name, ErrUnknown)
	}
	return m.loader.Load(filepath.Join(m.index.dir, mod.path), strings.Join(m.options.Parameters[name], " "))
}
