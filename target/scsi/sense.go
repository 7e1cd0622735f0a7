package scsi

import (
	"encoding/binary"
	"errors"

	"sanstick/target/block"
)

// senseKey is the coarse kind of a failure (SPC-4 section 4.5.6).
type senseKey byte

const (
	noSense        senseKey = 0x0
	notReady       senseKey = 0x2
	mediumError    senseKey = 0x3
	hardwareError  senseKey = 0x4
	illegalRequest senseKey = 0x5
	unitAttention  senseKey = 0x6
	dataProtect    senseKey = 0x7
	abortedCommand senseKey = 0xb
	miscompare     senseKey = 0xe
)

// code is an additional sense code and its qualifier (SPC-4 annex F), ASC in
// the high byte.
type code uint16

const (
	noAdditionalSense        code = 0x0000
	writeError               code = 0x0c00
	invalidFieldInIU         code = 0x0e03
	unrecoveredReadError     code = 0x1100
	parameterListLength      code = 0x1a00
	miscompareDuringVerify   code = 0x1d00
	invalidOperationCode     code = 0x2000
	lbaOutOfRange            code = 0x2100
	invalidFieldInCDB        code = 0x2400
	lunNotSupported          code = 0x2500
	invalidFieldInParameter  code = 0x2600
	invalidRelease           code = 0x2604 // of persistent reservation
	writeProtected           code = 0x2700
	spaceAllocationFailed    code = 0x2707
	powerOnReset             code = 0x2900 // power on, reset, or bus device reset occurred
	scsiBusReset             code = 0x2902
	deviceReset              code = 0x2903
	reservationsPreempted    code = 0x2a03
	reservationsReleased     code = 0x2a04
	registrationsPreempted   code = 0x2a05
	capacityChanged          code = 0x2a09
	savingNotSupported       code = 0x3900
	reportedLUNsChanged      code = 0x3f0e
	internalTargetFailure    code = 0x4400
	insufficientRegistration code = 0x5504
)

// sense says how a command failed. The zero value says it hasn't.
type sense struct {
	key   senseKey
	code  code
	where where  // what the sense-key specific bytes point at
	byte  uint16 // or the progress
	bit   byte   // 0..7, or noBit
	// info is a byte offset or an LBA, by command; valid if hasInfo.
	info    uint64
	hasInfo bool
	copy    *copySense // of a copy that was begun
}

// where is the place a field pointer points into.
type where byte

const (
	nowhere where = iota
	inCDB
	inParameters
	// inTime: not a place, but how far something has come, in 1/65536 of it.
	inTime
	inSegment // of a copy: relative to its descriptor
)

const noBit = 0xff

func (s sense) failed() bool { return s.key != noSense }

// badCDB is the sense data for a CDB with a wrong value at byte i. bit is the
// leftmost wrong bit, or noBit.
func badCDB(i int, bit byte) sense {
	return sense{key: illegalRequest, code: invalidFieldInCDB, where: inCDB, byte: uint16(i), bit: bit}
}

// badParameter is the sense data for a parameter list with a wrong value at
// byte i.
func badParameter(i int) sense {
	return sense{key: illegalRequest, code: invalidFieldInParameter, where: inParameters, byte: uint16(i), bit: noBit}
}

func illegal(c code) sense { return sense{key: illegalRequest, code: c} }

// access is what a command was doing to the device when an error came.
type access byte

const (
	reading access = iota
	writing        // flushing, unmapping and zeroing too
)

// deviceError tells what an error of a block.Device means to an initiator.
// Whatever the error is, the result is a failure.
func deviceError(err error, a access) sense {
	switch {
	case err == nil:
		return sense{}
	case errors.Is(err, block.ErrNoSpace):
		return sense{key: dataProtect, code: spaceAllocationFailed}
	case errors.Is(err, block.ErrReadOnly):
		return sense{key: dataProtect, code: writeProtected}
	case errors.Is(err, block.ErrRange): // the device shrank under us
		return illegal(lbaOutOfRange)
	case errors.Is(err, block.ErrNotSupported):
		return sense{key: hardwareError, code: internalTargetFailure}
	case a == writing:
		return sense{key: mediumError, code: writeError}
	}
	return sense{key: mediumError, code: unrecoveredReadError}
}

// specific returns the three sense-key specific bytes (SPC-4 table 40).
func (s sense) specific() (b [3]byte, ok bool) {
	if s.where == nowhere {
		return b, false
	}
	b[0] = 0x80
	switch s.where {
	case inCDB:
		b[0] |= 0x40
	case inSegment:
		b[0] |= 0x20
	}
	if s.bit != noBit && s.where != inTime {
		b[0] |= 0x08 | s.bit&7
	}
	binary.BigEndian.PutUint16(b[1:], s.byte)
	return b, true
}

// encode returns sense data in descriptor format (SPC-4 section 4.5.2) or in
// fixed format (4.5.3), always as current information.
func (s sense) encode(descriptor bool) []byte {
	if descriptor {
		return s.descriptor()
	}
	b := make([]byte, 18)
	b[0] = 0x70
	if s.hasInfo && s.info <= 0xffffffff {
		b[0] |= 0x80
		binary.BigEndian.PutUint32(b[3:], uint32(s.info))
	}
	b[2] = byte(s.key)
	b[7] = byte(len(b) - 8)
	binary.BigEndian.PutUint16(b[12:], uint16(s.code))
	if f, ok := s.specific(); ok {
		copy(b[15:], f[:])
	}
	if s.copy != nil {
		return s.copy.fixed(b)
	}
	return b
}

func (s sense) descriptor() []byte {
	b := make([]byte, 8, 32)
	b[0] = 0x72
	b[1] = byte(s.key)
	binary.BigEndian.PutUint16(b[2:], uint16(s.code))
	if s.hasInfo {
		b = append(b, 0x00, 0x0a, 0x80, 0)
		b = binary.BigEndian.AppendUint64(b, s.info)
	}
	if f, ok := s.specific(); ok {
		b = append(b, 0x02, 0x06, 0, 0, f[0], f[1], f[2], 0)
	}
	if s.copy != nil {
		b = s.copy.descriptors(b)
	}
	b[7] = byte(len(b) - 8)
	return b
}
