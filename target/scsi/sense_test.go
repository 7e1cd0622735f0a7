package scsi

import (
	"errors"
	"fmt"
	"testing"

	"sanstick/target/block"
)

func TestSenseEncoding(t *testing.T) {
	for _, tt := range []struct {
		name       string
		s          sense
		fixed      string
		descriptor string
	}{{
		"nothing", sense{},
		"70 00 00 00000000 0a 00000000 0000 00 000000",
		"72 00 0000 000000 00",
	}, {
		"unit attention", sense{key: unitAttention, code: capacityChanged},
		"70 00 06 00000000 0a 00000000 2a09 00 000000",
		"72 06 2a09 000000 00",
	}, {
		"field of a CDB", badCDB(2, noBit),
		"70 00 05 00000000 0a 00000000 2400 00 c00002",
		"72 05 2400 000000 08  02 06 0000 c00002 00",
	}, {
		"bit of a CDB", badCDB(1, 3),
		"70 00 05 00000000 0a 00000000 2400 00 cb0001",
		"72 05 2400 000000 08  02 06 0000 cb0001 00",
	}, {
		"parameter list", badParameter(300),
		"70 00 05 00000000 0a 00000000 2600 00 80012c",
		"72 05 2600 000000 08  02 06 0000 80012c 00",
	}, {
		"information", sense{key: miscompare, code: miscompareDuringVerify, info: 0x12345678, hasInfo: true},
		"f0 00 0e 12345678 0a 00000000 1d00 00 000000",
		"72 0e 1d00 000000 0c  00 0a 80 00 0000000012345678",
	}, {
		"information of more than 32 bits", sense{key: mediumError, code: unrecoveredReadError, info: 1 << 32, hasInfo: true},
		"70 00 03 00000000 0a 00000000 1100 00 000000",
		"72 03 1100 000000 0c  00 0a 80 00 0000000100000000",
	}} {
		wantBytes(t, tt.name+", fixed", tt.s.encode(false), tt.fixed)
		wantBytes(t, tt.name+", descriptor", tt.s.encode(true), tt.descriptor)
	}
}

func TestDeviceError(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("x: %w: y", err) }
	for _, tt := range []struct {
		err  error
		a    access
		want sense
	}{
		{nil, reading, sense{}},
		{wrap(block.ErrNoSpace), writing, sense{key: dataProtect, code: spaceAllocationFailed}},
		{wrap(block.ErrReadOnly), writing, sense{key: dataProtect, code: writeProtected}},
		{wrap(block.ErrRange), reading, sense{key: illegalRequest, code: lbaOutOfRange}},
		{wrap(block.ErrMedium), reading, sense{key: mediumError, code: unrecoveredReadError}},
		{wrap(block.ErrMedium), writing, sense{key: mediumError, code: writeError}},
		{wrap(block.ErrNotSupported), writing, sense{key: hardwareError, code: internalTargetFailure}},
		{errors.New("anything"), reading, sense{key: mediumError, code: unrecoveredReadError}},
		{errors.New("anything"), writing, sense{key: mediumError, code: writeError}},
	} {
		if got := deviceError(tt.err, tt.a); got != tt.want {
			t.Errorf("deviceError(%v, %d) = %+v, want %+v", tt.err, tt.a, got, tt.want)
		}
	}
}
