package scsi

import (
	"encoding/binary"
	"math/bits"
)

// readCapacity10 serves READ CAPACITY (10), SBC-3 section 5.15.
func (t *Task) readCapacity10() Result {
	last := t.lastLBA()
	b := make([]byte, 8)
	binary.BigEndian.PutUint32(b, uint32(min(last, 0xffffffff))) // then READ CAPACITY (16) tells
	binary.BigEndian.PutUint32(b[4:], uint32(t.info.LogicalBlock))
	return t.reply(b)
}

// readCapacity16 serves READ CAPACITY (16), SBC-3 section 5.16.
func (t *Task) readCapacity16() Result {
	b := make([]byte, 32)
	binary.BigEndian.PutUint64(b, t.lastLBA())
	binary.BigEndian.PutUint32(b[8:], uint32(t.info.LogicalBlock))
	b[13] = byte(bits.Len(uint(t.info.PhysicalBlock/t.info.LogicalBlock)) - 1)
	if t.path.unit.thin() {
		b[14] = 0x80 // LBPME
		if t.info.ReadsZero {
			b[14] |= 0x40 // LBPRZ
		}
	}
	return t.reply(b)
}

// lastLBA returns the number of the last block. A device that has shrunk to
// nothing is told to have one, which can't be read.
func (t *Task) lastLBA() uint64 {
	return max(uint64(t.info.Size)/uint64(t.info.LogicalBlock), 1) - 1
}
