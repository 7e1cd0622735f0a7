// Package iscsitest is an iSCSI initiator for tests: it says whatever it is
// told to, right or wrong, and shows every PDU that comes back. It has a codec
// of its own, so that a mistake in the target's isn't mirrored here.
//
// A Conn belongs to one goroutine at a time.
package iscsitest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// PDU is one PDU as it is on the wire, without padding and digests. The
// lengths in the header are set by Send.
type PDU struct {
	BHS       [48]byte
	AHS, Data []byte
}

// Op returns the operation code.
func (p *PDU) Op() byte { return p.BHS[0] & 0x3f }

// U16 returns the 16-bit number at an offset of the header.
func (p *PDU) U16(off int) uint16 { return binary.BigEndian.Uint16(p.BHS[off:]) }

// U32 returns the 32-bit number at an offset of the header.
func (p *PDU) U32(off int) uint32 { return binary.BigEndian.Uint32(p.BHS[off:]) }

// Put16 stores a 16-bit number in the header.
func (p *PDU) Put16(off int, v uint16) { binary.BigEndian.PutUint16(p.BHS[off:], v) }

// Put32 stores a 32-bit number in the header.
func (p *PDU) Put32(off int, v uint32) { binary.BigEndian.PutUint32(p.BHS[off:], v) }

// ITT returns the initiator task tag.
func (p *PDU) ITT() uint32 { return p.U32(16) }

func (p *PDU) String() string {
	return fmt.Sprintf("PDU %#02x flags %#02x, header % x, %d bytes of data", p.Op(), p.BHS[1], p.BHS[2:], len(p.Data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bytes returns the PDU as it goes over the wire with these digests. It sets
// the lengths in the header.
func (p PDU) Bytes(headerDigest, dataDigest bool) []byte {
	return p.encode(headerDigest, dataDigest, SpoilNothing)
}

// ReadPDU reads one PDU that has these digests. A wrong one is an error.
func ReadPDU(r io.Reader, headerDigest, dataDigest bool) (PDU, error) {
	return decode(r, headerDigest, dataDigest)
}

// maxData bounds what a target may send.
const maxData = 1 << 24

func padded(b []byte) []byte { return append(b[:len(b):len(b)], make([]byte, -len(b)&3)...) }

func digest(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}

// encode makes the bytes of a PDU. What bad names is spoiled.
func (p PDU) encode(headerDigest, dataDigest bool, bad Spoil) []byte {
	p.BHS[4] = byte(len(p.AHS) / 4)
	p.BHS[5], p.BHS[6], p.BHS[7] = byte(len(p.Data)>>16), byte(len(p.Data)>>8), byte(len(p.Data))
	out := append(p.BHS[:], p.AHS...)
	if headerDigest {
		d := digest(out)
		if bad == SpoilHeaderDigest {
			d[0]++
		}
		out = append(out, d...)
	}
	if len(p.Data) == 0 {
		return out
	}
	data := padded(p.Data)
	out = append(out, data...)
	if dataDigest {
		d := digest(data)
		if bad == SpoilDataDigest {
			d[0]++
		}
		out = append(out, d...)
	}
	return out
}

// Spoil says what to make wrong in a PDU.
type Spoil int

// What can be spoiled.
const (
	SpoilNothing Spoil = iota
	SpoilHeaderDigest
	SpoilDataDigest
)

// decode reads one PDU.
func decode(r io.Reader, headerDigest, dataDigest bool) (PDU, error) {
	var p PDU
	if _, err := io.ReadFull(r, p.BHS[:]); err != nil {
		return p, err
	}
	n := int(p.BHS[4])*4 + 4
	if !headerDigest {
		n -= 4
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		return p, err
	}
	p.AHS = rest[:int(p.BHS[4])*4]
	if headerDigest && string(digest(append(p.BHS[:], p.AHS...))) != string(rest[len(p.AHS):]) {
		return p, fmt.Errorf("header digest of the target is wrong: %v", &p)
	}
	n = int(p.U32(4) & 0xffffff)
	if n == 0 {
		return p, nil
	}
	if n >= maxData {
		return p, fmt.Errorf("data segment of %d bytes", n)
	}
	whole := n + -n&3
	rest = make([]byte, whole+4)
	if !dataDigest {
		rest = rest[:whole]
	}
	if _, err := io.ReadFull(r, rest); err != nil {
		return p, err
	}
	if dataDigest && string(digest(rest[:whole])) != string(rest[whole:]) {
		return p, fmt.Errorf("data digest of the target is wrong: %v", &p)
	}
	p.Data = rest[:n]
	return p, nil
}
