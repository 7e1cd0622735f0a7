package honest

import (
	"encoding/binary"
	"slices"

	"sanstick/target/scsi"
)

// fua is FUA in byte 1 of a CDB.
const fua = 0x08

// cdb makes a CDB with a range of blocks, whose form the operation code's group
// says.
func cdb(op, flags byte, lba int64, blocks int) []byte {
	switch op >> 5 {
	case 0:
		return []byte{op, byte(lba >> 16), byte(lba >> 8), byte(lba), byte(blocks), 0}
	case 1, 2:
		b := []byte{op, flags, 9: 0}
		binary.BigEndian.PutUint32(b[2:], uint32(lba))
		binary.BigEndian.PutUint16(b[7:], uint16(blocks))
		return b
	case 5:
		b := []byte{op, flags, 11: 0}
		binary.BigEndian.PutUint32(b[2:], uint32(lba))
		binary.BigEndian.PutUint32(b[6:], uint32(blocks))
		return b
	}
	b := []byte{op, flags, 15: 0}
	binary.BigEndian.PutUint64(b[2:], uint64(lba))
	switch op {
	case 0x89: // COMPARE AND WRITE
		b[13] = byte(blocks)
	case 0x9c: // WRITE ATOMIC
		binary.BigEndian.PutUint16(b[12:], uint16(blocks))
	default:
		binary.BigEndian.PutUint32(b[10:], uint32(blocks))
	}
	return b
}

// unmap makes an UNMAP of one range.
func unmap(lba int64, blocks int) (cdb, list []byte) {
	list = []byte{0, 22, 0, 16, 23: 0}
	binary.BigEndian.PutUint64(list[8:], uint64(lba))
	binary.BigEndian.PutUint32(list[16:], uint32(blocks))
	return []byte{0x42, 8: byte(len(list)), 9: 0}, list
}

// extendedCopy makes an EXTENDED COPY within the unit.
func extendedCopy(from, to int64, blocks, size int) (cdb, list []byte) {
	list = []byte{1, 3: 32, 11: 28, 15: 0}
	naa := scsi.NAAFromUUID(serial)
	unit := []byte{0xe4, 4: 1, 5: 3, 7: 16, 31: 0}
	copy(unit[8:], naa[:])
	unit[29], unit[30], unit[31] = byte(size>>16), byte(size>>8), byte(size)
	segment := []byte{2, 3: 24, 27: 0}
	binary.BigEndian.PutUint16(segment[10:], uint16(blocks))
	binary.BigEndian.PutUint64(segment[12:], uint64(from))
	binary.BigEndian.PutUint64(segment[20:], uint64(to))
	list = slices.Concat(list, unit, segment)
	cdb = []byte{0x83, 15: 0}
	binary.BigEndian.PutUint32(cdb[10:], uint32(len(list)))
	return cdb, list
}
