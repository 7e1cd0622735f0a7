package scsi

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"sanstick/target/block"
)

// thinSoftThreshold is THIN PROVISIONING SOFT THRESHOLD REACHED.
const thinSoftThreshold code = 0x3807

// Space is what there is behind a thin unit, in bytes.
type Space struct {
	Used      int64 // by the unit itself
	Available int64 // to it and maybe to others
}

// SpaceLow tells every initiator, by a unit attention, that the space behind a
// thin unit is about to end (SBC-3 section 4.7.3.8.4). Whoever watches that
// space calls it, each time a threshold of its own is crossed: the unit itself
// doesn't watch, and so has no thresholds that initiators could set. Initiators
// that come later are told at once, until SpaceEnough. It returns an error if the
// unit isn't thin.
func (u *Unit) SpaceLow() error {
	if !u.thin() {
		return errors.New("cannot warn of low space: the logical unit is not thin")
	}
	u.low.Store(true)
	u.attention(thinSoftThreshold, nil)
	return nil
}

// SpaceEnough says that initiators that come from now on needn't be warned.
func (u *Unit) SpaceEnough() { u.low.Store(false) }

// noSpace is SPACE ALLOCATION FAILED WRITE PROTECT: for good, as far as the
// initiator is concerned (SBC-3 section 4.7.3.6).
var noSpace = sense{key: dataProtect, code: spaceAllocationFailed}

// SetFull has a unit refuse whatever may take new space, or take it again:
// every write, with DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT. That
// includes overwriting, because what lies in space that is shared with a
// snapshot takes new space too, and the device can't tell. Reading, flushing and
// unmapping go on (UNMAP, and WRITE SAME with UNMAP of zeroes over whole units
// of the granularity), so that initiators can free space. The unit isn't
// write-protected: WP in the mode parameters stays as it is.
//
// Commands that are running go on to their end and aren't waited for. A sanitize
// operation fails, as it couldn't write all.
func (u *Unit) SetFull(full bool) { u.full.Store(full) }

// wantsSpace tells whether a task is to be refused because it may take space.
func (t *Task) wantsSpace() bool {
	return t.path.unit.full.Load() && (t.command.frees == nil || !t.command.frees(t))
}

// checkSpace refuses what takes space before its data is fetched. Of commands
// for which that depends on the data, mayWrite finds it out.
func (t *Task) checkSpace() {
	c := t.command
	if c.flags&writes != 0 && c.frees == nil && t.path.unit.full.Load() {
		t.fail(noSpace)
	}
}

// tellsSpace: the unit has the logical block provisioning log page.
func (u *Unit) tellsSpace() bool { return u.thin() && u.o.Space != nil }

// thresholdSet is the unit in which space is counted, in bytes.
const thresholdSet = 1 << 20

// thresholdExponent is that of VPD page B2 (SBC-3 section 6.5.4): a threshold set
// has two to the power of it blocks. 0 means that there are none.
func (u *Unit) thresholdExponent(i block.Info) byte {
	if !u.tellsSpace() {
		return 0
	}
	return byte(bits.TrailingZeros(uint(thresholdSet / i.LogicalBlock)))
}

// Parameters of the logical block provisioning log page.
const (
	availableResources = 0x0001
	usedResources      = 0x0002

	scopeUnit   = 1 // the unit's own
	scopeShared = 2 // maybe not only the unit's
)

// spaceLog is log page 0C, logical block provisioning (SBC-3 section 6.3.3). The
// rest of a threshold set counts as used, and not as available.
func (t *Task) spaceLog(from uint16) []byte {
	s := t.path.unit.o.Space()
	var b []byte
	for _, p := range []struct {
		parameter uint16
		bytes     int64
		scope     byte
	}{
		{availableResources, s.Available, scopeShared},
		{usedResources, s.Used + thresholdSet - 1, scopeUnit},
	} {
		if p.parameter < from {
			continue
		}
		b = binary.BigEndian.AppendUint16(b, p.parameter)
		b = append(b, 0x03, 8) // binary list
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(p.bytes, 0)/thresholdSet, 0xffffffff)))
		b = append(b, p.scope, 0, 0, 0)
	}
	return b
}
