// Package pdu is the iSCSI wire format of RFC 7143 section 11: one struct per
// PDU with fixed-offset Decode and Encode, additional header segments, the
// CRC32C digests, text key=value segments, and a framer over io.Reader and
// io.Writer.
//
// It keeps no protocol state: sequence numbers, negotiation and tasks are the
// callers' business. Every length that comes from the wire is compared with a
// limit before anything is allocated or copied.
package pdu

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of a basic header segment.
const HeaderLen = 48

// MaxDataLen is the longest data segment that the 24-bit length field can say.
const MaxDataLen = 1<<24 - 1

// Reserved is the task tag and transfer tag that names nothing (section 11.2.1.8).
const Reserved uint32 = 0xffffffff

// Opcode is the operation code of a PDU (RFC 7143 section 11.2.1.2).
type Opcode byte

// Operation codes. Those below 0x20 come from initiators.
const (
	OpNOPOut       Opcode = 0x00
	OpSCSICommand  Opcode = 0x01
	OpTaskRequest  Opcode = 0x02
	OpLoginRequest Opcode = 0x03
	OpTextRequest  Opcode = 0x04
	OpDataOut      Opcode = 0x05
	OpLogout       Opcode = 0x06
	OpSNACK        Opcode = 0x10

	OpNOPIn          Opcode = 0x20
	OpSCSIResponse   Opcode = 0x21
	OpTaskResponse   Opcode = 0x22
	OpLoginResponse  Opcode = 0x23
	OpTextResponse   Opcode = 0x24
	OpDataIn         Opcode = 0x25
	OpLogoutResponse Opcode = 0x26
	OpR2T            Opcode = 0x31
	OpAsync          Opcode = 0x32
	OpReject         Opcode = 0x3f
)

func (o Opcode) String() string {
	switch o {
	case OpNOPOut:
		return "NOP-Out"
	case OpSCSICommand:
		return "SCSI Command"
	case OpTaskRequest:
		return "Task Management Request"
	case OpLoginRequest:
		return "Login Request"
	case OpTextRequest:
		return "Text Request"
	case OpDataOut:
		return "Data-Out"
	case OpLogout:
		return "Logout Request"
	case OpSNACK:
		return "SNACK Request"
	case OpNOPIn:
		return "NOP-In"
	case OpSCSIResponse:
		return "SCSI Response"
	case OpTaskResponse:
		return "Task Management Response"
	case OpLoginResponse:
		return "Login Response"
	case OpTextResponse:
		return "Text Response"
	case OpDataIn:
		return "Data-In"
	case OpLogoutResponse:
		return "Logout Response"
	case OpR2T:
		return "R2T"
	case OpAsync:
		return "Asynchronous Message"
	case OpReject:
		return "Reject"
	}
	return fmt.Sprintf("opcode %#02x", byte(o))
}

// BHS is a basic header segment as it is on the wire:
//
//	 0 |.|I| opcode  |F| opcode-specific                             |
//	 4 | TotalAHSLen | DataSegmentLength                             |
//	 8 | LUN or opcode-specific                                      |
//	16 | Initiator Task Tag                                          |
//	20 | opcode-specific, to byte 47                                 |
type BHS [HeaderLen]byte

// Opcode returns the operation code, without the immediate bit.
func (h *BHS) Opcode() Opcode { return Opcode(h[0] & 0x3f) }

// Immediate reports the I bit: deliver at once, no CmdSN is used up.
func (h *BHS) Immediate() bool { return h[0]&0x40 != 0 }

// Final reports the F bit.
func (h *BHS) Final() bool { return h[1]&0x80 != 0 }

// AHSLen returns the total length of the additional header segments in bytes.
func (h *BHS) AHSLen() int { return int(h[4]) * 4 }

// DataLen returns the length of the data segment in bytes, without padding.
func (h *BHS) DataLen() int { return int(h[5])<<16 | int(h[6])<<8 | int(h[7]) }

// SetDataLen stores the length of the data segment.
func (h *BHS) SetDataLen(n int) { h[5], h[6], h[7] = byte(n>>16), byte(n>>8), byte(n) }

// SetAHSLen stores the total length of the additional header segments, a
// multiple of 4 up to 1020.
func (h *BHS) SetAHSLen(n int) { h[4] = byte(n / 4) }

// ITT returns the initiator task tag.
func (h *BHS) ITT() uint32 { return h.u32(16) }

// CmdSN returns the command sequence number of a request that carries one.
func (h *BHS) CmdSN() uint32 { return h.u32(24) }

func (h *BHS) u16(off int) uint16        { return binary.BigEndian.Uint16(h[off:]) }
func (h *BHS) u32(off int) uint32        { return binary.BigEndian.Uint32(h[off:]) }
func (h *BHS) put16(off int, v uint16)   { binary.BigEndian.PutUint16(h[off:], v) }
func (h *BHS) put32(off int, v uint32)   { binary.BigEndian.PutUint32(h[off:], v) }
func (h *BHS) lun() (l [8]byte)          { copy(l[:], h[8:16]); return l }
func (h *BHS) putLUN(l [8]byte)          { copy(h[8:16], l[:]) }
func (h *BHS) flag(off int, m byte) bool { return h[off]&m != 0 }

func (h *BHS) start(op Opcode, immediate, final bool) {
	*h = BHS{}
	h[0] = byte(op)
	if immediate {
		h[0] |= 0x40
	}
	if final {
		h[1] = 0x80
	}
}

func (h *BHS) setFlag(off int, m byte, on bool) {
	if on {
		h[off] |= m
	}
}

// Pad returns how many bytes round n up to a multiple of four.
func Pad(n int) int { return -n & 3 }
