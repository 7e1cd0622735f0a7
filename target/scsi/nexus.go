package scsi

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Port is the SCSI target port that a nexus goes through.
type Port struct {
	RelativeID uint16 // relative target port identifier, from 1
	GroupID    uint16 // target port group
	Name       string // SCSI port name, for iSCSI "iqn...,t,0x0001"
}

// Aborter is the transport's part in commands that end the tasks of another
// nexus, such as PREEMPT AND ABORT.
type Aborter interface {
	// AbortTasks ends the tasks of the nexus that match, without an answer to
	// its initiator. Nothing of them can have an effect on a unit any more once
	// the channels it returns are closed. It doesn't block, may be called from
	// any goroutine, and calls match with its own locks held.
	AbortTasks(match func(*Task) bool) []<-chan struct{}
}

// Nexus is one initiator's way to a target device (an I_T nexus): it knows
// what that initiator hasn't been told yet. Safe for concurrent use.
type Nexus struct {
	device  *Device
	id      itNexus
	port    Port
	aborter atomic.Pointer[Aborter]

	// paths is replaced, never changed; see Device.units.
	paths atomic.Pointer[map[uint16]*path]
	mu    sync.Mutex // held to replace paths
}

// NewNexus makes a nexus between an initiator port (for iSCSI
// "iqn...,i,0x<ISID>") and a target port. Its first command to each unit is
// answered with a POWER ON, RESET unit attention. Close it when the session
// ends. a may be nil in tests of single commands.
func (d *Device) NewNexus(initiatorPort string, p Port, a Aborter) *Nexus {
	if canonical, ok := canonicalPort(initiatorPort); ok {
		initiatorPort = canonical
	}
	n := &Nexus{device: d, id: itNexus{initiatorPort, p.Name}, port: p}
	n.SetAborter(a)
	n.paths.Store(&map[uint16]*path{})
	d.mu.Lock()
	defer d.mu.Unlock()
	for lun, u := range *d.units.Load() {
		n.connect(lun, u)
	}
	d.nexuses[n] = struct{}{}
	d.addPort(p)
	return n
}

// SetAborter tells who has the tasks of the nexus from now on.
func (n *Nexus) SetAborter(a Aborter) { n.aborter.Store(&a) }

// abortTasks is Aborter.AbortTasks.
func (n *Nexus) abortTasks(match func(*Task) bool) []<-chan struct{} {
	if a := *n.aborter.Load(); a != nil {
		return a.AbortTasks(match)
	}
	return nil
}

// Close ends the nexus. Commands that are running go on to their end.
func (n *Nexus) Close() {
	n.device.mu.Lock()
	delete(n.device.nexuses, n)
	n.device.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range *n.paths.Load() {
		p.unit.removePath(p)
	}
	n.paths.Store(&map[uint16]*path{})
}

// connect gives the nexus a path to a unit.
func (n *Nexus) connect(lun uint16, u *Unit) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &path{nexus: n, unit: u}
	p.attentions.add(powerOnReset)
	paths := maps.Clone(*n.paths.Load())
	paths[lun] = p
	u.addPath(p)
	if u.low.Load() { // asked once the unit knows the path, so that no warning is missed
		p.attentions.add(thinSoftThreshold)
	}
	n.paths.Store(&paths)
}

// disconnect takes the path under a LUN away, and returns it; nil if there was
// none. Commands may still run on it, so the unit goes on knowing it.
func (n *Nexus) disconnect(lun uint16) *path {
	n.mu.Lock()
	defer n.mu.Unlock()
	paths := maps.Clone(*n.paths.Load())
	p := paths[lun]
	delete(paths, lun)
	n.paths.Store(&paths)
	return p
}

// lunsChanged notes on every path that the list of LUNs is another one.
func (n *Nexus) lunsChanged() {
	for _, p := range *n.paths.Load() {
		p.attentions.add(reportedLUNsChanged)
	}
}

// path is one nexus's way to one unit (an I_T_L nexus).
type path struct {
	nexus      *Nexus
	unit       *Unit
	attentions attentions
	copies     copies
	prevention
	event atomic.Uint32 // of the medium, that the initiator hasn't been told

	running sync.RWMutex // held for reading by commands, for writing by block
	blocked bool         // guarded by running
}

// enter keeps path and unit in use until the caller calls leave. It returns
// false if one of them is gone or about to be.
func (p *path) enter() bool {
	if !p.running.TryRLock() {
		return false
	}
	if p.blocked || !p.unit.enter() {
		p.running.RUnlock()
		return false
	}
	return true
}

func (p *path) leave() {
	p.unit.leave()
	p.running.RUnlock()
}

// block waits for the commands that run on the path; later ones fail, those
// too that were made before.
func (p *path) block() {
	p.running.Lock()
	defer p.running.Unlock()
	p.blocked = true
}

// attentions are the unit attention conditions that wait to be reported on a
// path (SAM-5 section 5.14). There is at most one of each code, so the queue
// is bounded by the number of codes this package uses.
type attentions struct {
	waiting atomic.Int32 // len(codes), to be read without the lock
	mu      sync.Mutex
	codes   []code
}

// add puts a condition into the queue. Resets come before all else, and only
// the most sweeping one is kept: those with a lower qualifier include the
// others (SAM-5 table 52).
func (a *attentions) add(c code) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.waiting.Store(int32(len(a.codes))) }()
	for _, have := range a.codes {
		if have == c {
			return
		}
	}
	if !isReset(c) {
		a.codes = append(a.codes, c)
		return
	}
	if len(a.codes) > 0 && isReset(a.codes[0]) {
		a.codes[0] = min(a.codes[0], c)
		return
	}
	a.codes = append([]code{c}, a.codes...)
}

func isReset(c code) bool { return c>>8 == 0x29 }

// take removes and returns the first condition.
func (a *attentions) take() (code, bool) {
	if a.waiting.Load() == 0 {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.codes) == 0 {
		return 0, false
	}
	c := a.codes[0]
	a.codes = a.codes[1:]
	a.waiting.Store(int32(len(a.codes)))
	return c, true
}

// drop removes a condition that the initiator has learned otherwise.
func (a *attentions) drop(c code) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, have := range a.codes {
		if have == c {
			a.codes = append(a.codes[:i:i], a.codes[i+1:]...)
			break
		}
	}
	a.waiting.Store(int32(len(a.codes)))
}
