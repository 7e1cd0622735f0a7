package box

import (
	"strings"
	"testing"

	"sanstick/appliance/disk/transfer"
)

// counted is a device that counts writes.
type counted struct {
	transfer.Device
	writes int
}

func (c *counted) WriteAt(p []byte, _ int64) (int, error) {
	c.writes++
	return len(p), nil
}

// An import stops before its pool is full, whoever it would push out.
func TestSparing(t *testing.T) {
	full := false
	dev := &counted{}
	s := sparing{dev, "tank", "vm1", func(pool, volume string) bool { return full && pool == "tank" && volume == "vm1" }}
	if n, err := s.WriteAt(make([]byte, 4096), 0); n != 4096 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	full = true
	if n, err := s.WriteAt(make([]byte, 4096), 0); n != 0 || err == nil || !strings.Contains(err.Error(), "pool tank is nearly full") {
		t.Errorf("%d, %v", n, err)
	}
	if dev.writes != 1 {
		t.Errorf("%d writes", dev.writes)
	}
}
