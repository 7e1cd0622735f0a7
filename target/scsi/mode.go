package scsi

import "encoding/binary"

const (
	allPages    = 0x3f
	allSubpages = 0xff

	pcCurrent    = 0
	pcChangeable = 1
	pcDefault    = 2
	pcSaved      = 3
)

// modeSense6 serves MODE SENSE (6), SPC-4 section 6.13.
func (t *Task) modeSense6() Result {
	pages, bad := t.modePages()
	if bad.failed() {
		return t.check(bad)
	}
	d := t.blockDescriptor(false)
	b := append([]byte{0, 0, t.deviceParameter(), byte(len(d))}, d...)
	b = append(b, pages...)
	b[0] = byte(len(b) - 1) // all pages together are far below 256
	return t.reply(b)
}

// modeSense10 serves MODE SENSE (10), SPC-4 section 6.14.
func (t *Task) modeSense10() Result {
	pages, bad := t.modePages()
	if bad.failed() {
		return t.check(bad)
	}
	long := t.cdb[1]&0x10 != 0 // LLBAA
	d := t.blockDescriptor(long)
	b := append([]byte{0, 0, 0, t.deviceParameter(), 0, 0, 0, byte(len(d))}, d...)
	if long {
		b[4] = 0x01 // LONGLBA
	}
	b = append(b, pages...)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return t.reply(b)
}

// modePages returns the pages that the CDB asks for: one, or all, with their
// subpages or without (SPC-4 table 134).
func (t *Task) modePages() ([]byte, sense) {
	control, page, subpage := t.cdb[2]>>6, t.cdb[2]&0x3f, t.cdb[3]
	if control == pcSaved {
		return nil, illegal(savingNotSupported)
	}
	if page == allPages && subpage != 0 && subpage != allSubpages {
		return nil, badCDB(3, noBit)
	}
	var b []byte
	known := false
	for i := range modePages {
		p := &modePages[i]
		if p.types&t.types() == 0 || (page != p.code && page != allPages) {
			continue
		}
		known = true
		if subpage != p.subpage && subpage != allSubpages {
			continue
		}
		var body []byte
		switch control {
		case pcChangeable:
			body = p.changeable(t)
		case pcDefault:
			body = p.body(t, 0)
		default:
			body = p.body(t, t.path.unit.modes())
		}
		b = append(b, p.encode(body)...)
	}
	switch {
	case !known:
		return nil, badCDB(2, 5)
	case b == nil:
		return nil, badCDB(3, noBit)
	}
	return b, sense{}
}

// deviceParameter is the device-specific parameter (SBC-3 section 6.4.1): WP,
// and DPOFUA, as both bits are taken in READ and WRITE. Other types of device
// have neither.
func (t *Task) deviceParameter() byte {
	if t.types() != disk {
		return 0
	}
	p := byte(0x10)
	if t.path.unit.protection(t.info) != noAdditionalSense {
		p |= 0x80
	}
	return p
}

// blockDescriptor returns the mode parameter block descriptor, short or long
// (SBC-3 section 6.4.2), or nothing if the CDB has DBD set or the type of
// device has none.
func (t *Task) blockDescriptor(long bool) []byte {
	if t.cdb[1]&0x08 != 0 || t.types() != disk {
		return nil
	}
	blocks := t.lastLBA() + 1
	if long {
		b := binary.BigEndian.AppendUint64(nil, blocks)
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 0), uint32(t.info.LogicalBlock))
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(min(blocks, 0xffffffff)))
	return binary.BigEndian.AppendUint32(b, uint32(t.info.LogicalBlock)) // density code 0 above a 24-bit length
}
