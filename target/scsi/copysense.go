package scsi

import "encoding/binary"

const copyAborted senseKey = 0xa

// Ends of a copy, as the descriptor of forwarded sense data numbers them
// (SPC-4 table 51).
const (
	ofSource      = 1
	ofDestination = 2
)

// copySense is what the sense data of a copy that has failed says on top
// (SPC-4 section 5.17.4.4).
type copySense struct {
	segment uint16 // number of the one that failed, from 0
	end     byte   // whose status this is; 0 = nobody's
	status  Status
	sense   []byte
}

// forward is the sense data for a READ or WRITE that has ended with r.
func (s *segment) forward(end byte, r Result) sense {
	return sense{key: copyAborted, copy: &copySense{segment: uint16(s.number), end: end, status: r.Status, sense: r.Sense}}
}

// fixed adds to sense data in fixed format: where in it the status and sense
// data of source and destination are, and the segment.
func (c *copySense) fixed(b []byte) []byte {
	binary.BigEndian.PutUint16(b[10:], c.segment)
	if c.end == 0 {
		return b
	}
	b[7+c.end] = byte(len(b))
	b = append(append(b, byte(c.status)), c.sense...)
	b[7] = byte(len(b) - 8)
	return b
}

// descriptors adds to sense data in descriptor format.
func (c *copySense) descriptors(b []byte) []byte {
	b = append(b, 0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, byte(c.segment>>8), byte(c.segment))
	if c.end != 0 {
		b = append(b, 0x0c, byte(2+len(c.sense)), c.end, byte(c.status))
		b = append(b, c.sense...)
	}
	return b
}
