package scsi

import (
	"encoding/binary"
	"math/bits"
)

// modeCommands change the mode parameters.
func modeCommands() []command {
	return []command{{
		name:      "MODE SELECT (6)",
		usage:     []byte{0x15, 0x10, 0, 0, all, control},
		types:     anyType,
		direction: DataOut,
		want:      func(t *Task) int { return int(field{4, 1}.read(t.cdb)) },
		run:       func(t *Task) Result { return t.modeSelect(false) },
	}, {
		name:      "MODE SELECT (10)",
		usage:     []byte{0x55, 0x10, 0, 0, 0, 0, 0, all, all, control},
		types:     anyType,
		direction: DataOut,
		want:      func(t *Task) int { return int(field{7, 2}.read(t.cdb)) },
		run:       func(t *Task) Result { return t.modeSelect(true) },
	}}
}

// modeSelect serves MODE SELECT (6, 10), SPC-4 sections 6.11 and 6.12. The
// whole list is checked before any of it comes into force. Only pages as the
// standard has them can be sent (PF), and nothing can be saved (SP, which the
// command table refuses).
func (t *Task) modeSelect(ten bool) Result {
	switch {
	case t.cdb[1]&0x10 == 0:
		return t.check(badCDB(1, 4))
	case len(t.out) < t.want:
		return t.check(illegal(parameterListLength))
	case t.want == 0:
		return Result{Status: Good}
	}
	u := t.path.unit
	u.selecting.Lock()
	defer u.selecting.Unlock()
	word := u.mode.Load()
	old := modes(word & modeBits)
	m, bad := t.decodeModes(t.out[:t.want], ten, old)
	if bad.failed() {
		return t.check(bad)
	}
	if m == old {
		return Result{Status: Good}
	}
	now := u.setModes(word, m)
	if m&^old&softwareProtect != 0 {
		u.waitForWrites()
	}
	if m&^old&writeThrough != 0 { // what was written before may be volatile still
		if err := u.flush(t.info); err != nil {
			u.setModes(now, old)
			return t.done(err, writing)
		}
	}
	u.attention(modeParametersChanged, t.nexus)
	return Result{Status: Good}
}

// decodeModes reads a mode parameter list (SPC-4 section 7.5.1) and returns
// what the modes are to be.
func (t *Task) decodeModes(list []byte, ten bool, m modes) (modes, sense) {
	header := 4
	if ten {
		header = 8
	}
	if len(list) < header {
		return 0, illegal(parameterListLength)
	}
	// The mode data length is reserved here, and what is in the device-specific
	// parameter can't be selected (SBC-3 section 6.4.1).
	descriptor, long := int(list[3]), false
	at, parameter := 1, 2 // of the medium type and the device-specific parameter
	if ten {
		descriptor, long = int(binary.BigEndian.Uint16(list[6:])), list[4]&0x01 != 0
		at, parameter = 2, 3
		if wrong := list[4] &^ 0x01; wrong != 0 {
			return 0, badParameterBits(4, wrong)
		}
	}
	if list[at] != 0 {
		return 0, badParameter(at)
	}
	if wrong := list[parameter] &^ 0x90; wrong != 0 {
		return 0, badParameterBits(parameter, wrong)
	}
	size := 8
	if long {
		size = 16
	}
	switch {
	case descriptor == 0:
	case t.types() != disk, descriptor != size:
		return 0, badParameter(header - 1)
	case len(list) < header+descriptor:
		return 0, illegal(parameterListLength)
	default:
		if bad := t.checkDescriptor(list[header:header+size], header); bad.failed() {
			return 0, bad
		}
	}
	for at := header + descriptor; at < len(list); {
		n, next, bad := t.decodePage(list, at, m)
		if bad.failed() {
			return 0, bad
		}
		at, m = at+n, next
	}
	return m, sense{}
}

// checkDescriptor refuses a block descriptor that asks for another capacity or
// another size of blocks. at is where it is in the list.
func (t *Task) checkDescriptor(d []byte, at int) sense {
	now := t.lastLBA() + 1
	var blocks uint64
	size := len(d) - 4
	if len(d) == 16 {
		blocks = binary.BigEndian.Uint64(d)
		if blocks == 1<<64-1 { // the most there is
			blocks = now
		}
		if binary.BigEndian.Uint32(d[8:]) != 0 {
			return badParameter(at + 8)
		}
	} else {
		blocks = uint64(binary.BigEndian.Uint32(d))
		if blocks == 0xffffffff {
			blocks = now
		}
	}
	if blocks != 0 && blocks != now {
		return badParameter(at)
	}
	if binary.BigEndian.Uint32(d[size:]) != uint32(t.info.LogicalBlock) {
		return badParameter(at + size)
	}
	return sense{}
}

// decodePage reads the page at a place in a list. It returns the length of the
// page and the modes with what it says.
func (t *Task) decodePage(list []byte, at int, m modes) (int, modes, sense) {
	b := list[at:]
	header, subpage := 2, byte(0)
	if b[0]&0x40 != 0 { // SPF
		header = 4
	}
	if len(b) < header {
		return 0, 0, illegal(parameterListLength)
	}
	length, where := int(b[1]), 1
	if header == 4 {
		subpage, length, where = b[1], int(binary.BigEndian.Uint16(b[2:])), 2
	}
	if b[0]&0x80 != 0 { // PS
		return 0, 0, badParameterBits(at, 0x80)
	}
	p := t.findModePage(b[0]&0x3f, subpage)
	switch {
	case p == nil:
		return 0, 0, badParameterBits(at, 0x20)
	case header == 4 && subpage == 0:
		return 0, 0, badParameterBits(at, 0x40)
	}
	now, mask := p.body(t, m), p.changeable(t)
	if length != len(now) {
		return 0, 0, badParameter(at + where)
	}
	if len(b) < header+length {
		return 0, 0, illegal(parameterListLength)
	}
	body := b[header : header+length]
	for i := range body {
		if wrong := (body[i] ^ now[i]) &^ mask[i]; wrong != 0 {
			return 0, 0, badParameterBits(at+header+i, wrong)
		}
	}
	if p.values != nil {
		m = p.values(body, m)
	}
	if !t.info.WriteCache {
		m &^= writeThrough // there is nothing to write through
	}
	return header + length, m, sense{}
}

// badParameterBits is badParameter with the leftmost of some wrong bits.
func badParameterBits(i int, wrong byte) sense {
	s := badParameter(i)
	s.bit = byte(bits.Len8(wrong) - 1)
	return s
}
