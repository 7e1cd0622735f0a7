package scsi

import (
	"encoding/hex"
	"fmt"
	"testing"
)

// READ FULL STATUS, byte by byte.
func TestReadFullStatus(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	c.do("a", prRegister, 0, 0, 0xa)
	c.do("b", prRegister, 0, 0, 0xb)
	c.do("b", prReserve, exclusiveAccessRegistrants, 0xb, 0)
	tid := func(n string) string { return hex.EncodeToString(appendTransportID(nil, nodePort(n))) }
	want := "00000002 00000088" +
		"000000000000000a 00000000 00 00 00000000 0001 0000002c" + tid("a") +
		"000000000000000b 00000000 01 06 00000000 0001 0000002c" + tid("b")
	wantBytes(t, "READ FULL STATUS", c.good(t, "5e 03 0000000000 ffff 00", nil), want)
	wantBytes(t, "TransportID", appendTransportID(nil, nodePort("a")),
		"45 00 0028"+hexOf("iqn.2006-12.example:a,i,0x00000000000a")+"00 00")
	wantBytes(t, "REPORT CAPABILITIES", c.good(t, "5e 02 0000000000 ffff 00", nil), "0008 1c c0 ea 01 0000")
	wantBytes(t, "READ RESERVATION", c.good(t, "5e 01 0000000000 ffff 00", nil), "00000002 00000010 000000000000000b 00000000 00 06 0000")
	for n := range 0x90 {
		if got := c.good(t, fmt.Sprintf("5e 03 0000000000 %04x 00", n), nil); len(got) != n {
			t.Fatalf("allocation length %d: %d bytes", n, len(got))
		}
	}
}

// The number of registrations is bounded.
func TestTooManyRegistrations(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	for i := range maxRegistrations {
		n := c.dev.NewNexus(fmt.Sprintf("iqn.2006-12.example:x,i,0x%x", i), testPort, nil)
		run(n, 0, "00", nil)
		if r := run(n, 0, "5f 00 00 0000 00000018 00", parameters(0, 1, 0)); r.Status != Good {
			t.Fatalf("%d: %v, sense %x", i, r.Status, r.Sense)
		}
		n.Close() // the registration stays
	}
	wantSense(t, c.prOut("a", prRegister, 0, parameters(0, 1, 0)), illegalRequest, insufficientRegistration)
	if got := len(c.good(t, "5e 00 0000000000 ffff 00", nil)); got != 8+8*maxRegistrations {
		t.Errorf("READ KEYS: %d bytes", got)
	}
}

// A parameter list of any other length than the right one is refused, and so
// is one that has not come as a whole.
func TestPROutListLength(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	for action := range byte(8) {
		for n := range 100 {
			if n == prList {
				continue
			}
			list := make([]byte, n)
			copy(list, parameters(0, 1, 0))
			wantSense(t, c.prOut("a", action, 1, list), illegalRequest, parameterListLength)
		}
		for _, n := range []uint32{prList + 1, maxPROut, maxPROut + 1, 1 << 31, 0xffffffff} {
			cdb := fmt.Sprintf("5f %02x 01 0000 %08x 00", action, n)
			wantSense(t, run(c.nodes["a"], 0, cdb, parameters(0, 1, 0)), illegalRequest, parameterListLength)
		}
	}
	c.want("", "")
	for sa := byte(8); sa < 32; sa++ {
		wantSense(t, c.prOut("a", sa, 1, parameters(0, 1, 0)), illegalRequest, invalidFieldInCDB)
	}
	// More than the list is ignored.
	if r := run(c.nodes["a"], 0, "5f 00 00 0000 00000018 00", append(parameters(0, 1, 0), 1, 2, 3)); r.Status != Good {
		t.Errorf("%v, sense %x", r.Status, r.Sense)
	}
}
