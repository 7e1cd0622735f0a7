package scsi

import "encoding/binary"

// modePage is a mode page. Nothing in them can be changed by the initiator, so
// the mask of changeable bits is all zero and defaults equal current values.
type modePage struct {
	code byte
	body func(*Task) []byte // what follows the page code and the length
}

// modePages are in ascending order, as a request for all of them wants.
var modePages = []modePage{
	{0x01, errorRecovery},
	{0x08, caching},
	{0x0a, controlMode},
	{0x1c, informationalExceptions},
}

const (
	allPages    = 0x3f
	allSubpages = 0xff

	pcCurrent    = 0
	pcChangeable = 1
	pcSaved      = 3
)

// errorRecovery is page 01 (SBC-3 section 6.4.8): no automatic reallocation
// and no retries of our own.
func errorRecovery(*Task) []byte { return make([]byte, 10) }

// caching is page 08 (SBC-3 section 6.4.5). WCE is what the device says: data
// is volatile until flushed exactly if it has a write cache.
func caching(t *Task) []byte {
	b := make([]byte, 18)
	if t.info.WriteCache {
		b[0] = 0x04 // WCE
	}
	return b
}

// controlMode is page 0A (SPC-4 section 7.5.8).
func controlMode(*Task) []byte {
	b := make([]byte, 10)
	b[1] = 0x10             // commands may be reordered without restriction
	b[6], b[7] = 0xff, 0xff // busy timeout period: unlimited
	return b
}

// informationalExceptions is page 1C (SBC-3 section 6.4.6): none are reported.
func informationalExceptions(*Task) []byte {
	b := make([]byte, 10)
	b[0] = 0x08 // DEXCPT
	return b
}

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

// modePages returns the pages that the CDB asks for.
func (t *Task) modePages() ([]byte, sense) {
	control, page, subpage := t.cdb[2]>>6, t.cdb[2]&0x3f, t.cdb[3]
	if control == pcSaved {
		return nil, illegal(savingNotSupported)
	}
	if subpage != 0 && subpage != allSubpages {
		return nil, badCDB(3, noBit)
	}
	var b []byte
	for _, m := range modePages {
		if page != m.code && page != allPages {
			continue
		}
		body := m.body(t)
		if control == pcChangeable {
			clear(body)
		}
		b = append(b, m.code, byte(len(body)))
		b = append(b, body...)
	}
	if b == nil {
		return nil, badCDB(2, 5)
	}
	return b, sense{}
}

// deviceParameter is the device-specific parameter (SBC-3 section 6.4.1): WP,
// and DPOFUA, as both bits are taken in READ and WRITE.
func (t *Task) deviceParameter() byte {
	p := byte(0x10)
	if t.path.unit.o.ReadOnly || t.info.ReadOnly {
		p |= 0x80
	}
	return p
}

// blockDescriptor returns the mode parameter block descriptor, short or long
// (SBC-3 section 6.4.2), or nothing if the CDB has DBD set.
func (t *Task) blockDescriptor(long bool) []byte {
	if t.cdb[1]&0x08 != 0 {
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
