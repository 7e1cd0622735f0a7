package pool

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/md"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
)

// Options are what a Manager needs. Only Runner must be set.
type Options struct {
	Runner  sys.Runner
	Mapper  lvm.Mapper                       // tells what is active; nil: dmsetup does
	Uevents func() (sys.UeventSource, error) // nil: sys.ListenUevents
	Log     *slog.Logger                     // nil: discard
	Sysfs   string                           // empty: /sys
	Procfs  string                           // empty: /proc
	Open    Opener                           // nil: real disks
	// OpenVolume opens a volume for writing to the part of it that nobody else may
	// use; nil: real ones.
	OpenVolume func(path string) (Device, error)
	Now        func() time.Time // nil: time.Now
	Memory     md.Memory        // for what the kernel would write to other machines' arrays; nil: loop devices

	// BootDisks tells the kernel names of the disks that must never be taken; nil:
	// there are none. It is asked each time that disks are looked at, and must not
	// block.
	BootDisks func() []string
	// Witness keeps which disks are out of date; nil: nobody does.
	Witness Witness
	// Ledger keeps what mending depends on over a restart; nil: nobody does.
	Ledger Ledger
	// Patience is how long Bring waits for missing disks; 0 is 10 s. As long
	// as disks keep turning up it waits longer, three times that at most.
	Patience time.Duration
	// Quiet is how long no disk must have turned up before a pool of any
	// blank disks is created; 0 is 2 s.
	Quiet time.Duration
	// AskLimit is how long a disk is waited for when it is read; 0 is 20 s. Disks
	// need up to 15 s to spin up.
	AskLimit time.Duration
	// Units are told when space gets low; nil: nobody is.
	Units Units
	// Numbers tells, if not nil, as which LUNs a volume that is about to be made
	// will be served, so that it has them from its beginning. It may call LUNs.
	Numbers func(pool, volume string) []LUN
	// Changed is called, if not nil, by the task of Watch after volumes have
	// become usable or have changed. It must not call back into the Manager
	// before it returns.
	Changed func()
}

// A Manager brings pools up and tells how they are. It is safe for concurrent
// use.
type Manager struct {
	o   Options
	lvm *lvm.Client
	md  *md.Client

	clearHold chan struct{} // held by whoever clears a volume, or changes volumes; lock order: op before it
	deltas    chan struct{} // held by whoever has a thin pool's metadata reserved

	op    chan struct{} // held by whoever changes or reads LVM's state; lock order: before mu
	again bool          // bringing up broke off: try again though no disk has changed; guarded by op
	poke  chan struct{} // filled to have Watch look at once

	doubts   map[string]Doubt     // disks that LVM isn't shown, as Facts.Doubts; guarded by op
	copies   map[string]string    // disks that LVM isn't shown, as Facts.Copies; guarded by op
	copiesOf string               // the disks among which they were chosen; guarded by op
	labelsOf string               // the disks whose labels were read; guarded by op
	labeled  map[string]disk.Disk // which disks Facts.Labels is about, by kernel name; guarded by op
	marked   string               // LVM's metadata of which the facts tell, see mark; empty: of none; guarded by op
	verify   time.Time            // when LVM's state is read though it is known; zero: never; guarded by op

	mu       sync.Mutex
	specs    []Spec
	stages   stages                      // of the last Bring
	facts    Facts                       // as read last; replaced as a whole
	problems map[string][]status.Problem // by pool
	doing    map[string]string           // by pool: the step that goes on
	active   map[string]bool             // device-mapper devices, as read last
	space    map[string]spaceView        // by pool, as the guard saw it last
	cleared  map[string]clearedSoFar     // by UUID of volumes that are being cleared
	shunned  map[string]time.Time        // disks, by diskKey, to which LVM can't write: since when they are hidden from it
	untidy   map[string][]status.Problem // by pool: chores that couldn't be done
	inTrash  map[string]time.Time        // by UUID: since when chores have seen what is in the trash
	arrays   map[string][]probe.Finding  // what is on open md arrays, by UUID
	celsius  map[string]int              // temperatures, by diskKey

	asked    map[string]*question // questions that go on, by diskKey
	woken    bool                 // a disk has begun or ceased to answer
	pulses   map[string]pulse     // by diskKey
	pulsesAt time.Time
	reread   map[string]time.Time // by kernel name: when a disk is read again that couldn't be
	writings int                  // how often disks were written to; what was seen before that says nothing

	peeking   *peek // one that goes on
	peekSince time.Time
	peeked    *peek                // the last one that went well
	kernelAt  time.Time            // when what the kernel says was noted in facts
	heldOff   map[string]time.Time // pool: until when no step is tried again

	kept   map[string]Entry     // by group: what the ledger has
	keptAt map[string]time.Time // by group: when it was told last
}

// New makes a Manager. It does nothing yet.
func New(o Options) *Manager {
	if o.Uevents == nil {
		o.Uevents = sys.ListenUevents
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sysfs == "" {
		o.Sysfs = "/sys"
	}
	if o.Procfs == "" {
		o.Procfs = "/proc"
	}
	if o.Open == nil {
		o.Open = openDevice
	}
	if o.OpenVolume == nil {
		o.OpenVolume = openVolume
	}
	if o.BootDisks == nil {
		o.BootDisks = func() []string { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Quiet == 0 {
		o.Quiet = 2 * time.Second
	}
	if o.AskLimit == 0 {
		o.AskLimit = 20 * time.Second
	}
	m := &Manager{o: o, lvm: &lvm.Client{Runner: o.Runner, Log: o.Log, Mapper: o.Mapper}, op: make(chan struct{}, 1), poke: make(chan struct{}, 1), deltas: make(chan struct{}, 1)}
	m.problems, m.clearHold = map[string][]status.Problem{}, make(chan struct{}, 1)
	m.md = &md.Client{Runner: o.Runner, Log: o.Log, Sysfs: o.Sysfs, Memory: o.Memory}
	return m
}

// lock takes the right to change things; unlock gives it back.
func (m *Manager) lock(ctx context.Context) error {
	select {
	case m.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Manager) unlock() { <-m.op }

// lookAgain has Watch plan all pools anew, soon. It must hold op.
func (m *Manager) lookAgain() {
	m.again = true
	m.wake()
}

// Bring makes the pools and volumes usable that specs ask for: it waits for
// their disks, creates pools on blank disks, activates, creates missing
// volumes and grows those that shall be larger. What can't be done for one
// pool doesn't stop another; the error names each pool that can't be used,
// and Status tells why. It may be called again with other specs.
func (m *Manager) Bring(ctx context.Context, specs []Spec) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	m.mu.Lock()
	m.specs = slices.Clone(specs)
	m.mu.Unlock()
	b := m.newBringer(specs)
	err := b.run(ctx)
	m.mu.Lock()
	m.stages = b.stages
	m.mu.Unlock()
	if m.again = err != nil; m.again {
		return err
	}
	return m.failures(specs)
}

// failures sums up which pools can't be used.
func (m *Manager) failures(specs []Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, s := range specs {
		for _, p := range m.problems[s.Name] {
			if p.Health == status.Failed {
				errs = append(errs, errors.New(p.What))
			}
		}
	}
	return errors.Join(errs...)
}

// releaseLimit bounds Release: a dead disk must not keep a PC from powering
// off.
const releaseLimit = 30 * time.Second

// Release closes all volumes of all our pools, for power off. Nobody may use
// them any more. It needs no Bring before.
func (m *Manager) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	err := m.lvm.DeactivateTagged(ctx, Tag)
	return errors.Join(err, m.readKernel(ctx))
}

// readDisks lists the disks anew. changed tells whether they differ from
// those known so far; what was found on them holds for the ones that stayed.
func (m *Manager) readDisks() (changed bool, err error) {
	disks, err := disk.Scan(m.o.Sysfs)
	if err != nil {
		return false, err
	}
	boot := m.o.BootDisks()
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.facts
	if f.Disks != nil && slices.Equal(f.Disks, disks) && slices.Equal(f.Boot, boot) {
		return false, nil
	}
	found, stamped, holds := map[string]probe.Finding{}, map[string]Stamp{}, map[string][]probe.Finding{}
	unread := map[string]bool{}
	for _, d := range disks {
		if !slices.Contains(f.Disks, d) {
			unread[d.Name] = true
			continue
		}
		if f.Unread[d.Name] {
			unread[d.Name] = true
		}
		if x, ok := f.Found[d.Name]; ok {
			found[d.Name] = x
			holds[d.Name] = f.Holds[d.Name]
		}
		if x, ok := f.Stamped[d.Name]; ok {
			stamped[d.Name] = x
		}
	}
	f.Disks, f.Found, f.Holds, f.Stamped, f.Unread, f.Boot = disks, found, holds, stamped, unread, boot
	if f.Disks == nil {
		f.Disks = []disk.Disk{}
	}
	m.facts = f
	return true, nil
}

// readLVM reads LVM's state anew.
func (m *Manager) readLVM(ctx context.Context) error {
	m.marked = ""
	labels := m.readLabels(ctx)
	mark := m.mark() // before: what changes meanwhile is seen the next time
	s, err := m.readWithoutCopies(ctx, labels)
	if err != nil {
		return err
	}
	m.marked, m.verify = mark, time.Time{}
	if mark == "" || m.labelsOf == "" || m.overlooked(s, labels) {
		m.verify = time.Now().Add(rereadAfter) // nothing tells when it can be read again
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.facts.Unread = nil // only who holds op reads disks
	m.facts.LVM, m.facts.Labels, m.facts.Copies, m.facts.Doubts = s, labels, m.copies, m.doubts
	m.readWitness()
	m.recall()
	return nil
}

// overlooked tells whether LVM hasn't seen a disk that has its label, and that isn't
// hidden from it. It must hold op.
func (m *Manager) overlooked(s lvm.State, labels map[string]probe.Finding) bool {
	hidden := m.mutePaths()
	return slices.ContainsFunc(m.known().Disks, func(d disk.Disk) bool {
		_, copied := m.copies[d.Name]
		_, doubted := m.doubts[d.Name]
		if labels[d.Name].UUID == "" || copied || doubted || slices.Contains(hidden, d.Path) {
			return false
		}
		return !s.Sees(d.Path)
	})
}

// look finds out what is on a disk, unless that is known. It waits that long for
// the disk to answer; what it says later is noted, too.
func (m *Manager) look(ctx context.Context, d disk.Disk, limit time.Duration) {
	m.mu.Lock()
	old, found := m.facts.Found[d.Name]
	_, stamped := m.facts.Stamped[d.Name]
	writings := m.writings
	unreadable := found && old.What == probe.Unreadable
	if now := time.Now(); unreadable && now.After(m.reread[d.Name]) {
		found = false // it may be possible by now
		m.reread = with(m.reread, d.Name, now.Add(rereadAfter))
	}
	m.mu.Unlock()
	if found || stamped || ctx.Err() != nil {
		return
	}
	_, _ = ask(ctx, m, d, limit, func() struct{} {
		stamp, finding, holds := m.examine(d, !unreadable)
		m.mu.Lock()
		defer m.mu.Unlock()
		if writings != m.writings || !slices.Contains(m.facts.Disks, d) {
			return struct{}{}
		}
		// Maps are copied, because Status may be reading the old ones.
		if stamp != nil {
			m.facts.Stamped = with(m.facts.Stamped, d.Name, *stamp)
		} else {
			m.facts.Found = with(m.facts.Found, d.Name, finding)
			m.facts.Holds = with(m.facts.Holds, d.Name, holds)
		}
		return struct{}{}
	})
}

// rereadAfter is how long a disk that couldn't be read is left alone.
const rereadAfter = 20 * time.Second

// examine reads a disk: either it has our stamp and nothing else that matters,
// or it is what probing says. Of a disk that isn't blank all is told that is on
// it. What can't be read is logged if tell is set.
func (m *Manager) examine(d disk.Disk, tell bool) (*Stamp, probe.Finding, []probe.Finding) {
	f, err := m.o.Open(d.Path, false)
	if err != nil && tell {
		m.o.Log.Warn("cannot look at disk", "disk", d.ID(), "error", err)
	}
	if err != nil {
		return nil, probe.Finding{What: probe.Unreadable}, nil
	}
	defer f.Close()
	if s, err := readStamp(f); err == nil && s.Disk == d.ID() {
		if rest, err := probe.Beyond(f, d.Size); err == nil && rest.Blank {
			return &s, probe.Finding{}, nil
		}
	}
	finding, err := probe.Probe(f, d.Size)
	if err != nil && tell {
		m.o.Log.Warn("cannot read disk", "disk", d.ID(), "error", err)
	}
	if finding.Blank || err != nil {
		return nil, finding, nil
	}
	holds, err := probe.List(f, d.Size)
	if err != nil {
		m.o.Log.Warn("cannot read all of disk", "disk", d.ID(), "error", err)
	}
	return nil, finding, holds
}

// forget drops what was found on disks that are written to.
func (m *Manager) forget(paths ...string) {
	if len(paths) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writings++
	for _, d := range m.facts.Disks {
		if slices.Contains(paths, d.Path) {
			m.facts.Found = without(m.facts.Found, d.Name)
			m.facts.Holds = without(m.facts.Holds, d.Name)
			m.facts.Stamped = without(m.facts.Stamped, d.Name)
		}
	}
}

func (m *Manager) known() Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.facts
}

func with[V any](old map[string]V, key string, value V) map[string]V {
	n := without(old, key)
	n[key] = value
	return n
}

func without[V any](old map[string]V, key string) map[string]V {
	n := make(map[string]V, len(old)+1)
	for k, v := range old {
		if k != key {
			n[k] = v
		}
	}
	return n
}
