package scsi

import "encoding/binary"

// Limits of EXTENDED COPY, told by RECEIVE COPY OPERATING PARAMETERS. There is
// none on the length of a segment below what its count of blocks can say.
const (
	maxCopyTargets     = 16
	maxCopySegments    = 64
	maxCopyDescriptors = maxCopyTargets*copyTargetSize + maxCopySegments*copySegmentSize // bytes
	maxCopySegment     = 256 << 20                                                       // bytes
	maxCopies          = 32                                                              // at once, a unit

	copyHeaderSize  = 16
	copyTargetSize  = 32
	copySegmentSize = 28

	// Descriptor types.
	blockToBlock   = 0x02
	identification = 0xe4
)

const (
	tooManyTargets      code = 0x2606
	targetTypeUnknown   code = 0x2607
	tooManySegments     code = 0x2608
	segmentTypeUnknown  code = 0x2609
	inlineDataTooLong   code = 0x260b
	inexactSegment      code = 0x260a
	unreachableTarget   code = 0x0804
	targetNotReachable  code = 0x0d02
	targetTypeIncorrect code = 0x0d03
	operationInProgress code = 0x0016
)

// Values of LIST ID USAGE (SPC-4 section 6.4.3.2).
const (
	listIDKeep     = 0
	listIDReserved = 1
	listIDDiscard  = 2 // held data may be; there never is any
	listIDNone     = 3
)

// copyList is the parameter list of an EXTENDED COPY.
type copyList struct {
	id       byte
	noID     bool
	targets  []copyTarget
	segments []copySegment
}

// copyTarget is a CSCD descriptor of the identification type (SPC-4 section
// 6.4.5.6).
type copyTarget struct {
	null       bool
	kind       byte   // peripheral device type
	designator []byte // as in VPD page 83, without the header
	codeSet    byte
	identifier byte // association and designator type
	block      uint32
}

// copySegment is a block device to block device segment descriptor (SPC-4
// section 6.4.6.5).
type copySegment struct {
	byDestination bool // DC: blocks are those of the destination
	source        uint16
	destination   uint16
	blocks        uint64
	from, to      uint64 // LBA
}

// decodeCopyList reads a parameter list (SPC-4 section 6.4.3.1) and finds all
// that is wrong with it by itself. Whether there are such units and blocks
// shows when it is their turn.
func decodeCopyList(b []byte) (copyList, sense) {
	var l copyList
	if len(b) < copyHeaderSize {
		return l, illegal(parameterListLength)
	}
	usage := b[1] >> 3 & 3
	targets, segments := int(binary.BigEndian.Uint16(b[2:])), binary.BigEndian.Uint32(b[8:])
	l.id, l.noID = b[0], usage == listIDNone
	switch {
	case b[1]&0xc0 != 0:
		return l, badParameter(1)
	case usage == listIDReserved:
		return l, sense{key: illegalRequest, code: invalidFieldInParameter, where: inParameters, byte: 1, bit: 4}
	case l.noID && l.id != 0:
		return l, badParameter(0)
	case binary.BigEndian.Uint32(b[4:]) != 0:
		return l, badParameter(4)
	case binary.BigEndian.Uint32(b[12:]) != 0:
		return l, pointed(inlineDataTooLong, 12)
	case targets%copyTargetSize != 0:
		return l, badParameter(2)
	case uint64(targets)+uint64(segments) > maxCopyDescriptors,
		copyHeaderSize+targets+int(segments) > len(b):
		return l, illegal(parameterListLength)
	case targets > maxCopyTargets*copyTargetSize:
		return l, pointed(tooManyTargets, 2)
	}
	for at := copyHeaderSize; at < copyHeaderSize+targets; at += copyTargetSize {
		t, bad := decodeCopyTarget(b[at:at+copyTargetSize], at)
		if bad.failed() {
			return l, bad
		}
		l.targets = append(l.targets, t)
	}
	bad := l.decodeSegments(b[:copyHeaderSize+targets+int(segments)], copyHeaderSize+targets)
	return l, bad
}

// pointed is the sense data for something about a parameter list, at byte i.
func pointed(c code, i int) sense {
	s := badParameter(i)
	s.code = c
	return s
}

// decodeCopyTarget reads the CSCD descriptor that is at byte at of the list.
// LU ID TYPE is about descriptors with an LU IDENTIFIER field; this kind has
// none, so it is ignored (SPC-4 section 6.4.5).
func decodeCopyTarget(d []byte, at int) (copyTarget, sense) {
	n := int(d[7])
	switch {
	case d[0] != identification:
		return copyTarget{}, pointed(targetTypeUnknown, at)
	case d[2] != 0 || d[3] != 0: // there are no initiator ports to choose from
		return copyTarget{}, badParameter(at + 2)
	case d[4]&0xf0 != 0:
		return copyTarget{}, badParameter(at + 4)
	case d[5]&0xc0 != 0:
		return copyTarget{}, badParameter(at + 5)
	case d[6] != 0:
		return copyTarget{}, badParameter(at + 6)
	case n > 20:
		return copyTarget{}, badParameter(at + 7)
	case d[28]&^4 != 0: // but PAD: what it would apply to is refused
		return copyTarget{}, badParameter(at + 28)
	}
	return copyTarget{
		null: d[1]&0x20 != 0, kind: d[1] & 0x1f, codeSet: d[4], identifier: d[5], designator: d[8 : 8+n],
		block: binary.BigEndian.Uint32(d[28:]) & 0xffffff,
	}, sense{}
}

// decodeSegments reads the segment descriptors, from byte at to the end of the
// list. CAT may be set: what it would apply to is refused.
func (l *copyList) decodeSegments(b []byte, at int) sense {
	for at < len(b) {
		d := b[at:]
		switch {
		case len(l.segments) == maxCopySegments:
			return pointed(tooManySegments, at)
		case d[0] != blockToBlock:
			return pointed(segmentTypeUnknown, at)
		case len(d) < 4:
			return illegal(parameterListLength)
		case binary.BigEndian.Uint16(d[2:]) != copySegmentSize-4:
			return badParameter(at + 2)
		case len(d) < copySegmentSize:
			return illegal(parameterListLength)
		case d[1]&0xfc != 0:
			return badParameter(at + 1)
		case d[8] != 0 || d[9] != 0:
			return badParameter(at + 8)
		}
		l.segments = append(l.segments, copySegment{
			byDestination: d[1]&2 != 0,
			source:        binary.BigEndian.Uint16(d[4:]),
			destination:   binary.BigEndian.Uint16(d[6:]),
			blocks:        uint64(binary.BigEndian.Uint16(d[10:])),
			from:          binary.BigEndian.Uint64(d[12:]),
			to:            binary.BigEndian.Uint64(d[20:]),
		})
		at += copySegmentSize
	}
	return sense{}
}
