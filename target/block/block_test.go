package block

import (
	"errors"
	"math"
	"testing"
)

func TestCheck(t *testing.T) {
	i := Info{Size: 16384, LogicalBlock: 4096}
	for _, tt := range []struct {
		off, length int64
		ok          bool
	}{
		{0, 0, true}, {0, 4096, true}, {0, 16384, true}, {12288, 4096, true}, {16384, 0, true},
		{0, 16385, false}, {12288, 8192, false}, {16384, 4096, false}, {20480, 0, false},
		{512, 4096, false}, {0, 512, false}, {-4096, 4096, false}, {4096, -4096, false},
		{4096, math.MaxInt64 - 4095, false}, {math.MaxInt64 - 4095, 4096, false},
	} {
		err := i.Check(tt.off, tt.length)
		if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrRange)) {
			t.Errorf("Check(%d, %d) = %v, want ok %t", tt.off, tt.length, err, tt.ok)
		}
	}
}

func TestCheckGeometry(t *testing.T) {
	for _, tt := range []struct {
		logical, physical int
		ok                bool
	}{
		{512, 512, true}, {512, 4096, true}, {4096, 4096, true}, {512, 1 << 20, true},
		{0, 0, false}, {1024, 4096, false}, {4096, 512, false}, {512, 0, false}, {512, 1536, false}, {512, 1 << 21, false},
	} {
		if err := CheckGeometry(tt.logical, tt.physical); (err == nil) != tt.ok {
			t.Errorf("CheckGeometry(%d, %d) = %v, want ok %t", tt.logical, tt.physical, err, tt.ok)
		}
	}
}
