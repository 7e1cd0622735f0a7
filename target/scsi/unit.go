package scsi

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"sanstick/target/block"
)

// Identity is what a unit says it is. It must never change in the life of a
// volume: initiators recognise a disk, and the paths to it, by NAA and Serial.
type Identity struct {
	// Vendor, Product and Revision are for people: at most 8, 16 and 4
	// printable ASCII characters. Empty means "SANSTICK", "VOLUME", "1".
	Vendor, Product, Revision string
	// Serial is the unit serial number of VPD page 80: 1 to 32 printable
	// ASCII characters, unlike every other unit's.
	Serial string
	// NAA is the type 6 NAA designator of VPD page 83, unlike every other
	// unit's. See NAAFromUUID.
	NAA [16]byte
}

// UnitOptions say how a device is presented.
type UnitOptions struct {
	Identity  Identity
	ReadOnly  bool // refuse writes even if the device takes them
	Removable bool // set the RMB bit
	// Thin offers UNMAP and says that the unit is thinly provisioned. The
	// device must be able to unmap.
	Thin bool
	// Space tells how much there is behind a thin unit, for initiators that ask.
	// It must not block. nil = nobody knows, and initiators are told so.
	Space func() Space
	// State keeps reservations over a loss of power. Nobody else may use it. nil
	// = nothing keeps them, and initiators are told so.
	State Store
	// Disc presents the device as a CD or DVD in a drive (MMC-6): read-only,
	// removable, with blocks of 2048 bytes whatever those of the device are.
	Disc bool
	// Management are the URLs where the unit is configured, told in VPD page
	// 85: at most 16, of at most 251 bytes each.
	Management []string
}

// Unit is a direct-access logical unit on a block device. It has no cache of
// its own. Safe for concurrent use.
type Unit struct {
	dev       block.Device
	nowReader block.NowReader // dev, if it is one; else nil
	starter   block.Starter   // dev, if it is one that can; else nil
	o         UnitOptions

	size     atomic.Int64  // as the initiators know it, in bytes
	mode     atomic.Uint32 // modes, and how many resets there were
	readOnly atomic.Bool
	full     atomic.Bool  // see SetFull
	low      atomic.Bool  // see SpaceLow
	writing  sync.RWMutex // held for reading by commands that change the medium

	selecting sync.Mutex    // held to change mode and medium
	medium    atomic.Uint32 // mediumState
	timestamp atomic.Pointer[timestamp]
	counters  counters

	running sync.RWMutex // held for reading by commands, for writing by Close
	closed  bool         // guarded by running
	ranges  rangeLocks

	reservations reservations
	copying      atomic.Int32 // EXTENDED COPY commands that run

	sanitizing atomic.Pointer[sanitizing] // nil if it isn't, and none has failed
	background sync.WaitGroup             // of goroutines that end by themselves, or when stopped is closed
	stopped    chan struct{}
	stop       func() // closes it

	mu     sync.Mutex
	paths  map[*path]struct{}
	guests map[*guest]struct{}
}

// NewUnit makes a unit of dev, which stays the caller's to close, after the
// unit.
func NewUnit(dev block.Device, o UnitOptions) (*Unit, error) {
	i := dev.Info()
	if o.Identity.Vendor == "" {
		o.Identity.Vendor = "SANSTICK"
	}
	if o.Identity.Product == "" {
		o.Identity.Product = "VOLUME"
		if o.Disc {
			o.Identity.Product = "CD-ROM"
		}
	}
	if o.Identity.Revision == "" {
		o.Identity.Revision = "1"
	}
	if err := o.Identity.check(); err != nil {
		return nil, fmt.Errorf("cannot make a logical unit: %w", err)
	}
	if len(o.Management) > 16 || slices.ContainsFunc(o.Management, func(s string) bool { return len(s) > 251 }) {
		return nil, errors.New("cannot make a logical unit: too many or too long management addresses")
	}
	if err := block.CheckGeometry(i.LogicalBlock, i.PhysicalBlock); err != nil {
		return nil, fmt.Errorf("cannot make a logical unit: %w", err)
	}
	if i.Size < int64(i.LogicalBlock) {
		return nil, errors.New("cannot make a logical unit: the device is smaller than a block")
	}
	if o.Disc {
		if o.Thin {
			return nil, errors.New("cannot make a logical unit: a disc can't be thin")
		}
		dev, o.Removable = discDevice{dev}, true
		i = dev.Info()
	}
	o.ReadOnly = o.ReadOnly || i.ReadOnly
	if o.Thin && !o.ReadOnly && !i.CanUnmap {
		return nil, errors.New("cannot make a thin logical unit: the device can't unmap")
	}
	u := &Unit{dev: dev, o: o, paths: make(map[*path]struct{}), stopped: make(chan struct{})}
	u.nowReader, _ = dev.(block.NowReader)
	if s, ok := dev.(block.Starter); ok && s.CanStart() {
		u.starter = s
	}
	u.stop = sync.OnceFunc(func() { close(u.stopped) })
	u.size.Store(i.Size)
	u.reservations.keeper = keeper{store: o.State, naa: o.Identity.NAA}
	state, err := u.reservations.keeper.load()
	if err != nil {
		return nil, fmt.Errorf("cannot make a logical unit: %w", err)
	}
	u.reservations.state = state
	u.reservations.publish()
	u.readOnly.Store(o.ReadOnly)
	return u, nil
}

func (id Identity) check() error {
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"vendor", id.Vendor, 8},
		{"product", id.Product, 16},
		{"revision", id.Revision, 4},
		{"serial number", id.Serial, 32},
	} {
		if len(f.value) == 0 || len(f.value) > f.max {
			return fmt.Errorf("%s %q does not have 1 to %d characters", f.name, f.value, f.max)
		}
		for _, c := range []byte(f.value) {
			if c < 0x20 || c > 0x7e {
				return fmt.Errorf("%s %q is not printable ASCII", f.name, f.value)
			}
		}
	}
	if id.NAA[0]>>4 != 6 {
		return fmt.Errorf("designator %x is not an NAA type 6 one", id.NAA)
	}
	return nil
}

// Close waits for the commands that run on the unit; later ones fail with
// LOGICAL UNIT NOT SUPPORTED. A sanitize operation ends unfinished. Detach the
// unit first. The device stays open, and is not flushed.
func (u *Unit) Close() error {
	u.stop()
	defer u.background.Wait()
	u.running.Lock()
	defer u.running.Unlock()
	if u.closed {
		return errors.New("cannot close logical unit: closed already")
	}
	u.closed = true
	return nil
}

// thin reports whether UNMAP and its relatives are offered.
func (u *Unit) thin() bool { return u.o.Thin }

func (u *Unit) addPath(p *path) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.paths[p] = struct{}{}
}

func (u *Unit) removePath(p *path) {
	u.mu.Lock()
	delete(u.paths, p)
	u.mu.Unlock()
	u.reservations.drop(p.nexus)
}

func (u *Unit) hasPath(p *path) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.paths[p]
	return ok
}

// attention raises a unit attention on all paths but those of one nexus, which
// may be nil.
func (u *Unit) attention(c code, except *Nexus) {
	u.attentionTo(c, func(n *Nexus) bool { return n != except })
}

// attentionTo raises a unit attention on the paths of the nexuses that match.
func (u *Unit) attentionTo(c code, match func(*Nexus) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p := range u.paths {
		if match(p.nexus) {
			p.attentions.add(c)
		}
	}
}

// abortTasks ends all tasks on the unit of the nexuses that match, except one,
// which may be nil. Nothing of them follows once the channels are closed.
func (u *Unit) abortTasks(match func(*Nexus) bool, except *Task) (wait []<-chan struct{}) {
	victims := make(map[*Nexus]struct{})
	u.mu.Lock()
	for p := range u.paths {
		if match(p.nexus) {
			victims[p.nexus] = struct{}{}
		}
	}
	u.mu.Unlock()
	for n := range victims {
		wait = append(wait, n.abortTasks(func(t *Task) bool {
			if t == except || t.path == nil || t.path.unit != u {
				return false
			}
			t.Cancel()
			return true
		})...)
	}
	return append(wait, u.endGuests(match)...)
}

// enter keeps the device open until the caller calls leave. It returns false
// if the unit is closed or about to be.
func (u *Unit) enter() bool {
	if !u.running.TryRLock() {
		return false
	}
	if u.closed {
		u.running.RUnlock()
		return false
	}
	return true
}

func (u *Unit) leave() { u.running.RUnlock() }

// info returns what the device is now, and tells everyone if its capacity has
// changed since it was last asked. The caller has entered.
func (u *Unit) info() block.Info {
	i := u.dev.Info()
	if old := u.size.Load(); old != i.Size && u.size.CompareAndSwap(old, i.Size) {
		u.attention(capacityChanged, nil)
	}
	return i
}

// flush puts what was written on stable storage.
func (u *Unit) flush(i block.Info) error {
	if !i.WriteCache {
		return nil
	}
	return u.dev.Flush()
}
