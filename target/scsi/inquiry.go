package scsi

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// noUnit is the first byte of INQUIRY data where there is no logical unit:
// peripheral qualifier 3, device type 1Fh.
const noUnit = 0x7f

// inquiry serves INQUIRY (SPC-4 section 6.6).
func (t *Task) inquiry() Result {
	page := t.cdb[2]
	if t.cdb[1]&1 == 0 {
		if page != 0 {
			return t.check(badCDB(2, noBit))
		}
		return t.reply(t.standardInquiry())
	}
	if page == 0 {
		return t.vitalPage(page, t.supportedPages())
	}
	for _, v := range vitalPages {
		if v.code == page && v.types&t.types() != 0 {
			return t.vitalPage(page, v.body(t))
		}
	}
	return t.check(badCDB(2, noBit))
}

// vitalPage returns a vital product data page with its header.
func (t *Task) vitalPage(page byte, body []byte) Result {
	b := append([]byte{t.peripheral(), page, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(body)))
	return t.reply(b)
}

// peripheral returns the peripheral qualifier and device type.
func (t *Task) peripheral() byte {
	switch t.types() {
	case disk:
		return 0x00
	case disc:
		return 0x05
	case wellKnown:
		return 0x1e
	}
	return noUnit
}

// versions are the standards that the unit claims: SAM-5, SPC-4, SBC-3 or MMC-6,
// and iSCSI, without revision (SPC-4 section 6.6.2).
func (t *Task) versions() []uint16 {
	v := []uint16{0x00a0, 0x0460}
	switch t.types() {
	case disk:
		v = append(v, 0x04c0)
	case disc:
		v = append(v, 0x04e0)
	}
	return append(v, 0x0960)
}

func (t *Task) standardInquiry() []byte {
	b := make([]byte, 96)
	b[0] = t.peripheral()
	b[2] = 0x06 // SPC-4
	b[3] = 0x12 // hierarchical LUNs, response data format 2
	b[4] = byte(len(b) - 5)
	b[5] = 0x10 // target port groups change implicitly
	if t.types() == disk {
		b[5] |= 0x08 // third-party copy
	}
	if t.nexus.device.portCount() > 1 {
		b[6] = 0x10 // MULTIP
	}
	b[7] = 0x02 // command queuing
	id := Identity{Vendor: "SANSTICK"}
	if t.path != nil {
		o := t.path.unit.o
		id = o.Identity
		if o.Removable {
			b[1] = 0x80
		}
	}
	copy(b[8:], fmt.Sprintf("%-8s%-16s%-4s", id.Vendor, id.Product, id.Revision))
	for i, v := range t.versions() {
		binary.BigEndian.PutUint16(b[58+2*i:], v)
	}
	return b
}

// reportLUNs serves REPORT LUNS (SPC-4 section 6.33).
func (t *Task) reportLUNs() Result {
	var luns []uint16
	paths := *t.nexus.paths.Load()
	switch t.cdb[2] {
	case 0x00, 0x02: // addressable ones, and with well-known ones
		luns = slices.Sorted(maps.Keys(paths))
	case 0x01: // well-known ones only
	default:
		return t.check(badCDB(2, noBit))
	}
	for _, p := range paths {
		p.attentions.drop(reportedLUNsChanged)
	}
	b := make([]byte, 8, 16+8*len(luns))
	for _, lun := range luns {
		l := encodeLUN(lun)
		b = append(b, l[:]...)
	}
	if t.cdb[2] != 0x00 {
		b = append(b, reportLUNsUnit[:]...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	return t.reply(b)
}

// requestSense serves REQUEST SENSE (SPC-4 section 6.39): a unit attention
// that waits, or that there is nothing to say.
func (t *Task) requestSense() Result {
	var s sense
	if t.types() == 0 {
		s = illegal(lunNotSupported)
	} else if t.path != nil {
		s = t.pollable()
	}
	return t.reply(s.encode(t.cdb[1]&1 != 0))
}

// pollable is what the unit has to say without being asked to do anything
// (SPC-4 section 4.5.6): a unit attention, or that the medium isn't ready.
func (t *Task) pollable() sense {
	if c, ok := t.path.attentions.take(); ok {
		return sense{key: unitAttention, code: c}
	}
	if c := t.path.unit.mediumStatus(); c != noAdditionalSense {
		return sense{key: notReady, code: c}
	}
	return t.path.unit.unready()
}

// testUnitReady serves TEST UNIT READY (SPC-4 section 6.47): checkReady has
// looked.
func (t *Task) testUnitReady() Result { return Result{Status: Good} }
