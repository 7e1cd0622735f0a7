package scsi

import (
	"encoding/binary"
	"fmt"
)

// vitalPage is a vital product data page: what follows its four-byte header.
type vitalPage struct {
	code  byte
	types types
	body  func(*Task) []byte
}

// vitalPages are in ascending order, as page 00, which isn't one of them,
// lists them.
var vitalPages = []vitalPage{
	{0x80, anyType, serialNumber},
	{0x83, everyType, deviceIdentification},
	{0x85, anyType, managementAddresses},
	{0x86, anyType, extendedInquiry},
	{0x87, anyType, modePagePolicy},
	{0x88, anyType, ports},
	{0xb0, disk, blockLimits},
	{0xb1, disk, blockCharacteristics},
	{0xb2, disk, provisioning},
}

// supportedPages is page 00 (SPC-4 section 7.8.14).
func (t *Task) supportedPages() []byte {
	b := []byte{0x00}
	for _, v := range vitalPages {
		if v.types&t.types() != 0 {
			b = append(b, v.code)
		}
	}
	return b
}

// serialNumber is page 80 (SPC-4 section 7.8.15).
func serialNumber(t *Task) []byte { return []byte(t.path.unit.o.Identity.Serial) }

// Associations, code sets and types of designation descriptors.
const (
	ofUnit   = 0x00
	ofPort   = 0x10
	ofDevice = 0x20

	binarySet = 1
	asciiSet  = 2
	utf8Set   = 3

	t10Vendor    = 1
	naa          = 3
	relativePort = 4
	portGroup    = 5
	nameString   = 8

	iSCSI = 5 // protocol identifier, high nibble of byte 0
)

// deviceIdentification is page 83 (SPC-4 section 7.8.5).
func deviceIdentification(t *Task) []byte {
	port := t.nexus.port
	var b []byte
	add := func(set, association, kind byte, designator []byte) {
		piv := byte(0)
		if association != ofUnit {
			piv, set = 0x80, set|iSCSI<<4
		}
		b = append(b, set, piv|association|kind, 0, byte(len(designator)))
		b = append(b, designator...)
	}
	number := func(v uint16) []byte { return []byte{0, 0, byte(v >> 8), byte(v)} }

	if t.path != nil {
		id := t.path.unit.o.Identity
		add(binarySet, ofUnit, naa, id.NAA[:])
		add(asciiSet, ofUnit, t10Vendor, fmt.Appendf(nil, "%-8s%s", id.Vendor, id.Serial))
	}
	add(binarySet, ofPort, relativePort, number(port.RelativeID))
	add(binarySet, ofPort, portGroup, number(port.GroupID))
	add(utf8Set, ofPort, nameString, padName(port.Name))
	add(utf8Set, ofDevice, nameString, padName(t.nexus.device.name))
	return b
}

// padName ends a SCSI name string with NULs so that its length is a multiple
// of four, and below 256 (SPC-4 section 7.8.6.11). An iSCSI name always fits.
func padName(name string) []byte {
	name = name[:min(len(name), 251)]
	b := make([]byte, (len(name)/4+1)*4)
	copy(b, name)
	return b
}

// blockLimits is page B0 (SBC-3 section 6.5.3).
func blockLimits(t *Task) []byte {
	i := t.info
	size := uint32(i.LogicalBlock)
	b := make([]byte, 60)
	b[0] = 0x01                                                                            // WSNZ: WRITE SAME takes no count of zero
	b[1] = byte(maxCompare / size)                                                         // maximum COMPARE AND WRITE
	binary.BigEndian.PutUint16(b[2:], uint16(min(i.PhysicalBlock/i.LogicalBlock, 0xffff))) // optimal granularity
	binary.BigEndian.PutUint32(b[4:], MaxTransfer/size)                                    // maximum transfer
	binary.BigEndian.PutUint32(b[8:], uint32(min(i.OptimalIO, MaxTransfer))/size)          // optimal transfer
	binary.BigEndian.PutUint32(b[12:], MaxTransfer/size)                                   // maximum prefetch
	if t.path.unit.thin() {
		binary.BigEndian.PutUint32(b[16:], maxUnmap/size)
		binary.BigEndian.PutUint32(b[20:], maxUnmapDescriptors)
		binary.BigEndian.PutUint32(b[24:], uint32(min(i.UnmapGranularity/int64(size), 0xffffffff)))
		b[28] = 0x80 // UGAVALID, with an alignment of 0
	}
	binary.BigEndian.PutUint64(b[32:], maxSame/uint64(size))
	// No write with an atomic boundary: the last two fields stay zero.
	binary.BigEndian.PutUint32(b[40:], uint32(t.maxAtomic())/size)
	if t.maxAtomic() > 0 {
		binary.BigEndian.PutUint32(b[44:], uint32(i.AtomicAlign)/size) // alignment
		binary.BigEndian.PutUint32(b[48:], 1)                          // granularity
	}
	return b
}

// blockCharacteristics is page B1 (SBC-3 section 6.5.2). The rate of a medium
// that rotates isn't known.
func blockCharacteristics(t *Task) []byte {
	b := make([]byte, 60)
	if !t.info.Rotational {
		b[1] = 0x01 // non-rotating
	}
	if t.path.unit.thin() {
		b[3] = 0x40 // WABEREQ: what SANITIZE has erased can be read without writing it first
	}
	return b
}

// provisioning is page B2 (SBC-3 section 6.5.4).
func provisioning(t *Task) []byte {
	b := make([]byte, 4)
	if t.path.unit.thin() {
		b[1] = 0xe0 // LBPU, LBPWS, LBPWS10
		if t.info.ReadsZero {
			b[1] |= 0x04 // LBPRZ
		}
		b[0] = t.path.unit.thresholdExponent(t.info)
		b[2] = 0x02 // thin
	}
	return b
}
