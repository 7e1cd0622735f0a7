package systest

import (
	"os"
	"sync"

	"sanstick/appliance/sys"
)

var (
	_ sys.Mounter = (*Mounter)(nil)
	_ sys.Loader  = (*Loader)(nil)
	_ sys.Power   = (*Power)(nil)
	_ sys.Kexec   = (*Kexec)(nil)
)

// Mounter is a sys.Mounter that only takes notes. Safe for concurrent use.
type Mounter struct {
	// Errors are what mounting or unmounting a target returns.
	Errors map[string]error

	mu    sync.Mutex
	calls []MountCall
}

// A MountCall is one call of Mount or Unmount; an Unmount has Target and
// Flags only.
type MountCall struct {
	Op                     string // "mount" or "unmount"
	Source, Target, FSType string
	Flags                  uintptr
	Data                   string
}

// Mount implements sys.Mounter.
func (m *Mounter) Mount(source, target, fstype string, flags uintptr, data string) error {
	return m.note(MountCall{Op: "mount", Source: source, Target: target, FSType: fstype, Flags: flags, Data: data})
}

// Unmount implements sys.Mounter.
func (m *Mounter) Unmount(target string, flags int) error {
	return m.note(MountCall{Op: "unmount", Target: target, Flags: uintptr(flags)})
}

func (m *Mounter) note(c MountCall) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
	return m.Errors[c.Target]
}

// Calls returns what was called so far, in order.
func (m *Mounter) Calls() []MountCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]MountCall(nil), m.calls...)
}

// Loader is a sys.Loader that only takes notes. Safe for concurrent use.
type Loader struct {
	// Errors are what loading a path returns.
	Errors map[string]error

	mu    sync.Mutex
	paths []string
}

// Load implements sys.Loader.
func (l *Loader) Load(path, params string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paths = append(l.paths, path)
	return l.Errors[path]
}

// Paths returns what was loaded, or tried, so far, in order.
func (l *Loader) Paths() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.paths...)
}

// Power is a sys.Power that only takes notes; unlike the real one it returns.
// Safe for concurrent use.
type Power struct {
	// Err is what each method returns.
	Err error

	mu    sync.Mutex
	calls []string
}

// PowerOff implements sys.Power.
func (p *Power) PowerOff() error { return p.note("power off") }

// Reboot implements sys.Power.
func (p *Power) Reboot() error { return p.note("reboot") }

// Kexec implements sys.Power.
func (p *Power) Kexec() error { return p.note("kexec") }

// DisableCAD implements sys.Power.
func (p *Power) DisableCAD() error { return p.note("disable CAD") }

func (p *Power) note(what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, what)
	return p.Err
}

// Calls returns what was called so far, in order: "power off", "reboot", "kexec" or
// "disable CAD".
func (p *Power) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.calls...)
}

// Kexec is a sys.Kexec that only remembers. Safe for concurrent use.
type Kexec struct {
	mu      sync.Mutex
	loaded  bool
	cmdline string
}

// Load implements sys.Kexec.
func (k *Kexec) Load(_, _ *os.File, cmdline string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loaded, k.cmdline = true, cmdline
	return nil
}

// Unload implements sys.Kexec.
func (k *Kexec) Unload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loaded = false
	return nil
}

// Loaded tells whether a kernel is loaded, and the command line of the last one.
func (k *Kexec) Loaded() (cmdline string, loaded bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cmdline, k.loaded
}
