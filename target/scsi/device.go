package scsi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// MaxTransfer is the most data that one command moves, in bytes. VPD page B0
// tells it; a command that wants more fails with INVALID FIELD IN CDB.
const MaxTransfer = 16 << 20

// MaxLUN is the highest LUN: the highest number that flat space addressing can
// express.
const MaxLUN = 1<<14 - 1

// Device is a SCSI target device: a set of logical units under LUNs, reached
// over nexuses. All methods are safe for concurrent use.
type Device struct {
	name     string
	commands *table
	groups   atomic.Pointer[[]PortGroup] // nil until they are set
	// accessChanged: a group was in another state before.
	accessChanged atomic.Bool

	// units is replaced, never changed, so that commands look up without a
	// lock. mu is held to replace it, and to go through nexuses.
	units   atomic.Pointer[map[uint16]*Unit]
	mu      sync.Mutex
	nexuses map[*Nexus]struct{}
	ports   []Port
}

// NewDevice returns a target device without logical units. name is its SCSI
// device name, for iSCSI the target's iqn; it appears in VPD page 83.
func NewDevice(name string) *Device {
	d := &Device{name: name, commands: commands, nexuses: make(map[*Nexus]struct{})}
	d.units.Store(&map[uint16]*Unit{})
	return d
}

// Attach puts a unit under a LUN that is free, at most 16383. Initiators that
// are logged in are told by a unit attention. The same unit may be attached to
// several devices, or under several LUNs.
func (d *Device) Attach(lun uint16, u *Unit) error {
	if lun > MaxLUN {
		return fmt.Errorf("cannot attach LUN %d: the highest is %d", lun, MaxLUN)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.units.Load()
	if old[lun] != nil {
		return fmt.Errorf("cannot attach LUN %d: it is taken", lun)
	}
	units := maps.Clone(old)
	units[lun] = u
	for n := range d.nexuses {
		n.lunsChanged()
		n.connect(lun, u)
	}
	d.units.Store(&units)
	return nil
}

// Detach takes the unit under a LUN away from this device, and returns when no
// command that came to it there is running any more. Those that have come but
// have not begun fail with LOGICAL UNIT NOT SUPPORTED. Initiators that are
// logged in are told by a unit attention on the other units.
func (d *Device) Detach(lun uint16) error {
	paths, err := d.detach(lun)
	for _, p := range paths {
		p.block()
		p.unit.removePath(p) // until here PREEMPT AND ABORT finds its commands
	}
	return err
}

// detach returns the paths that are no more.
func (d *Device) detach(lun uint16) ([]*path, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.units.Load()
	if old[lun] == nil {
		return nil, fmt.Errorf("cannot detach LUN %d: nothing is attached there", lun)
	}
	units := maps.Clone(old)
	delete(units, lun)
	d.units.Store(&units)
	var paths []*path
	for n := range d.nexuses {
		if p := n.disconnect(lun); p != nil {
			paths = append(paths, p)
		}
		n.lunsChanged()
	}
	return paths, nil
}

// allPorts returns the ports that the device has: those of its port groups, if
// it was told of any, and else those that initiators have come through. mu is
// held.
func (d *Device) allPorts() []Port {
	groups := d.groups.Load()
	if groups == nil {
		return slices.Clone(d.ports)
	}
	var all []Port
	for _, g := range *groups {
		all = append(all, g.Ports...)
	}
	return all
}

func (d *Device) addPort(p Port) {
	if !slices.ContainsFunc(d.ports, func(have Port) bool { return have.Name == p.Name }) {
		d.ports = append(d.ports, p)
	}
}

// unit returns the unit under a LUN, nil for none.
func (d *Device) unit(lun [8]byte) *Unit {
	n, err := decodeLUN(lun)
	if err != nil {
		return nil
	}
	return (*d.units.Load())[n]
}

// ResetUnit does a logical unit reset (SAM-5 section 6.3.3): every nexus that
// reaches the unit, through this device or another, except by, gets a unit
// attention, the tasks of all of them end, and so does a reservation made with
// RESERVE (6) or (10). Nothing of the tasks follows once the channels are
// closed. It returns false if there is no such LUN. by may be nil.
func (d *Device) ResetUnit(lun [8]byte, by *Nexus) ([]<-chan struct{}, bool) {
	u := d.unit(lun)
	if u == nil {
		return nil, false
	}
	return u.reset(deviceReset, by), true
}

// Reset does a target reset: like ResetUnit for every LUN.
func (d *Device) Reset(by *Nexus) (wait []<-chan struct{}) {
	for _, u := range *d.units.Load() {
		wait = append(wait, u.reset(scsiBusReset, by)...)
	}
	return wait
}

func (u *Unit) reset(what code, by *Nexus) []<-chan struct{} {
	u.reservations.drop(nil)
	u.restart()
	u.attention(what, by)
	return u.abortTasks(anyNexus, nil)
}

func anyNexus(*Nexus) bool { return true }

var errLUN = errors.New("not a single-level LUN that this device uses")

// decodeLUN reads a LUN in peripheral device or flat space addressing (SAM-5
// sections 4.7.7.2 and 4.7.7.3) without further levels.
func decodeLUN(b [8]byte) (uint16, error) {
	if [6]byte(b[2:]) != [6]byte{} {
		return 0, errLUN
	}
	switch b[0] >> 6 {
	case 0: // peripheral device, bus 0
		if b[0] == 0 {
			return uint16(b[1]), nil
		}
	case 1: // flat space
		return uint16(b[0]&0x3f)<<8 | uint16(b[1]), nil
	}
	return 0, errLUN
}

// reportLUNsUnit is the LUN of the REPORT LUNS well-known logical unit (SPC-4
// section 8.2), in extended addressing.
var reportLUNsUnit = [8]byte{0xc1, 0x01}

// encodeLUN is the inverse of decodeLUN: peripheral device addressing up to
// 255, flat space above.
func encodeLUN(lun uint16) (b [8]byte) {
	b[0], b[1] = byte(lun>>8), byte(lun)
	if lun > 0xff {
		b[0] |= 0x40
	}
	return b
}
