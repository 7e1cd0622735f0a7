package scsi

import (
	"errors"
	"fmt"
	"maps"
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

	// units is replaced, never changed, so that commands look up without a
	// lock. mu is held to replace it, and to go through nexuses.
	units   atomic.Pointer[map[uint16]*Unit]
	mu      sync.Mutex
	nexuses map[*Nexus]struct{}
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

// ResetUnit does a logical unit reset (SAM-5 section 6.3.3), of which the
// transport does the aborting: every nexus that reaches the unit, except by,
// gets a unit attention. It returns false if there is no such LUN. by may be
// nil.
func (d *Device) ResetUnit(lun [8]byte, by *Nexus) bool {
	n, err := decodeLUN(lun)
	if err != nil {
		return false
	}
	u := (*d.units.Load())[n]
	if u == nil {
		return false
	}
	u.attention(deviceReset, by)
	return true
}

// Reset does a target reset: like ResetUnit for every LUN.
func (d *Device) Reset(by *Nexus) {
	for _, u := range *d.units.Load() {
		u.attention(scsiBusReset, by)
	}
}

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

// encodeLUN is the inverse of decodeLUN: peripheral device addressing up to
// 255, flat space above.
func encodeLUN(lun uint16) (b [8]byte) {
	b[0], b[1] = byte(lun>>8), byte(lun)
	if lun > 0xff {
		b[0] |= 0x40
	}
	return b
}
