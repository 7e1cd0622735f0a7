package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AHS is what the additional header segments of a SCSI command can say
// (section 11.2.2).
type AHS struct {
	// ExtendedCDB is the CDB beyond its first 16 bytes. It is a part of the
	// decoded slice.
	ExtendedCDB []byte
	// BidiReadLength is the expected read length of a bidirectional command;
	// HasBidi says whether it was there.
	BidiReadLength uint32
	HasBidi        bool
}

const (
	ahsExtendedCDB = 1
	ahsBidiLength  = 2
	// maxExtendedCDB keeps a whole CDB within the 260 bytes SPC-4 allows.
	maxExtendedCDB = 260 - 16
)

var errAHS = errors.New("malformed additional header segment")

// DecodeAHS reads the segments in b:
//
//	0 | AHSLength (2)  | type (1) | reserved (1) |   AHSLength counts from the
//	4 | AHSLength - 1 bytes, padded to four      |   reserved byte on
func DecodeAHS(b []byte) (AHS, error) {
	var a AHS
	for len(b) > 0 {
		if len(b) < 4 {
			return AHS{}, fmt.Errorf("%w: %d bytes left over", errAHS, len(b))
		}
		n := int(binary.BigEndian.Uint16(b))
		if n < 1 || 3+n > len(b) {
			return AHS{}, fmt.Errorf("%w: length %d, %d bytes there", errAHS, n, len(b)-3)
		}
		body := b[4 : 3+n]
		switch typ := b[2] & 0x3f; typ {
		case ahsExtendedCDB:
			if a.ExtendedCDB != nil || len(body) == 0 || len(body) > maxExtendedCDB {
				return AHS{}, fmt.Errorf("%w: extended CDB of %d bytes", errAHS, len(body))
			}
			a.ExtendedCDB = body
		case ahsBidiLength:
			if a.HasBidi || len(body) != 4 {
				return AHS{}, fmt.Errorf("%w: bidirectional length of %d bytes", errAHS, len(body))
			}
			a.HasBidi, a.BidiReadLength = true, binary.BigEndian.Uint32(body)
		default:
			return AHS{}, fmt.Errorf("%w: type %d", errAHS, typ)
		}
		b = b[min(3+n+Pad(3+n), len(b)):]
	}
	return a, nil
}

// Append adds the segments' wire form to b.
func (a *AHS) Append(b []byte) []byte {
	if a.ExtendedCDB != nil {
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.ExtendedCDB)+1))
		b = append(b, ahsExtendedCDB, 0)
		b = append(b, a.ExtendedCDB...)
		b = append(b, make([]byte, Pad(len(a.ExtendedCDB)))...)
	}
	if a.HasBidi {
		b = append(b, 0, 5, ahsBidiLength, 0)
		b = binary.BigEndian.AppendUint32(b, a.BidiReadLength)
	}
	return b
}
