package scsi

import "encoding/binary"

// modes are the mode parameters of a unit that initiators can change, a bit
// each. All nexuses share them (VPD page 87 says so). Zero is the default,
// which a reset brings back: nothing is saved.
type modes uint32

const (
	// descriptorSense is D_SENSE: sense data in descriptor format.
	descriptorSense modes = 1 << iota
	// softwareProtect is SWP: no command may change the medium.
	softwareProtect
	// writeThrough is the opposite of WCE on a device with a write cache: what
	// a command has written is on stable storage before its GOOD.
	writeThrough
)

// modePage is a mode page or subpage.
type modePage struct {
	code, subpage byte
	types         types
	// body returns what follows the page code and the length, for the values m
	// of what can be changed.
	body func(t *Task, m modes) []byte
	// mask has a one for each bit of the body that can be changed; nil means
	// that none can.
	mask func(t *Task) []byte
	// values returns m with what a body has in the bits of the mask.
	values func(body []byte, m modes) modes
}

// modePages are in ascending order, as a request for all of them wants.
var modePages = []modePage{
	{code: 0x01, types: anyType, body: errorRecovery},
	{code: 0x02, types: disk, body: disconnectReconnect},
	{code: 0x08, types: disk, body: caching, mask: cachingMask, values: cachingValues},
	{code: 0x0a, types: anyType, body: controlMode, mask: controlMask, values: controlValues},
	{code: 0x0a, subpage: 0x01, types: anyType, body: controlExtension},
	{code: 0x1c, types: disk, body: informationalExceptions},
	{code: 0x2a, types: disc, body: capabilities},
}

// findModePage returns the page with a code and a subpage that the unit of a
// task has, nil if there is none.
func (t *Task) findModePage(code, subpage byte) *modePage {
	for i := range modePages {
		if p := &modePages[i]; p.code == code && p.subpage == subpage && p.types&t.types() != 0 {
			return p
		}
	}
	return nil
}

// encode returns the page with a body, in page_0 or subpage format (SPC-4
// section 7.5.7).
func (p *modePage) encode(body []byte) []byte {
	var b []byte
	if p.subpage == 0 {
		b = []byte{p.code, byte(len(body))}
	} else {
		b = binary.BigEndian.AppendUint16([]byte{p.code | 0x40, p.subpage}, uint16(len(body)))
	}
	return append(b, body...)
}

// changeable returns the mask of the page, all zero if nothing can be changed.
func (p *modePage) changeable(t *Task) []byte {
	if p.mask == nil {
		return make([]byte, len(p.body(t, 0)))
	}
	return p.mask(t)
}

// errorRecovery is page 01 (SBC-3 section 6.4.8): no automatic reallocation
// and no retries of our own.
func errorRecovery(*Task, modes) []byte { return make([]byte, 10) }

// disconnectReconnect is page 02 (SPC-4 section 7.5.10): no limits.
func disconnectReconnect(*Task, modes) []byte { return make([]byte, 14) }

const writeCacheEnabled = 0x04

// caching is page 08 (SBC-3 section 6.4.5). By default WCE is what the device
// says: data is volatile until flushed exactly if it has a write cache.
func caching(t *Task, m modes) []byte {
	b := make([]byte, 18)
	if t.info.WriteCache && m&writeThrough == 0 {
		b[0] = writeCacheEnabled
	}
	return b
}

// cachingMask: a write cache can be written through. What a device without
// one does can't be had in a weaker way.
func cachingMask(t *Task) []byte {
	b := make([]byte, 18)
	if t.info.WriteCache {
		b[0] = writeCacheEnabled
	}
	return b
}

func cachingValues(b []byte, m modes) modes {
	return m.with(writeThrough, b[0]&writeCacheEnabled == 0)
}

const (
	controlDSense = 0x04 // of byte 2 of the page
	controlSWP    = 0x08 // of byte 4
)

// controlMode is page 0A (SPC-4 section 7.5.8).
func controlMode(_ *Task, m modes) []byte {
	b := make([]byte, 10)
	if m&descriptorSense != 0 {
		b[0] = controlDSense
	}
	b[1] = 0x10 // commands may be reordered without restriction
	if m&softwareProtect != 0 {
		b[2] = controlSWP
	}
	b[6], b[7] = 0xff, 0xff // busy timeout period: unlimited
	return b
}

func controlMask(t *Task) []byte {
	b := make([]byte, 10)
	b[0] = controlDSense
	if t.types() == disk {
		b[2] = controlSWP
	}
	return b
}

func controlValues(b []byte, m modes) modes {
	return m.with(descriptorSense, b[0]&controlDSense != 0).with(softwareProtect, b[2]&controlSWP != 0)
}

// controlExtension is page 0A subpage 01 (SPC-4 section 7.5.9): the clock of
// the machine gives the timestamp (TCMOS) until SET TIMESTAMP does (SCSIP).
func controlExtension(*Task, modes) []byte {
	b := make([]byte, 28)
	b[0] = 0x06 // TCMOS, SCSIP
	return b
}

// informationalExceptions is page 1C (SBC-3 section 6.4.6): none are reported.
func informationalExceptions(*Task, modes) []byte {
	b := make([]byte, 10)
	b[0] = 0x08 // DEXCPT
	return b
}

func (m modes) with(bit modes, on bool) modes {
	if on {
		return m | bit
	}
	return m &^ bit
}
