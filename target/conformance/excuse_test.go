package main

import (
	"testing"

	"sanstick/target/iscsitest"
)

func TestExcused(t *testing.T) {
	vpd := func(length byte) []byte { return []byte{0x12, 1, 0x83, 0, length, 0} }
	page := []byte{0, 0x83, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	capacity := []byte{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0}
	for _, tt := range []struct {
		name   string
		cdb    []byte
		answer []byte
		change func(response *iscsitest.PDU)
		want   bool
	}{
		{"cut", vpd(8), page[:8], nil, true},
		{"cut in its header", vpd(2), page[:2], nil, true},
		{"whole", vpd(16), page, nil, false},
		{"whole and shorter than allowed", vpd(100), page, nil, false},
		{"shorter than allowed, and than it says", vpd(12), page[:8], nil, false},
		{"no length of its own", capacity, make([]byte, 20), nil, true},
		{"another command", []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, make([]byte, 512), nil, false},
		{"not its command", vpd(8), page[:8], func(p *iscsitest.PDU) { p.Put32(16, 9) }, false},
		{"no status", vpd(8), page[:8], func(p *iscsitest.PDU) { p.BHS[1] = 0x80 }, false},
		{"an error", vpd(8), page[:8], func(p *iscsitest.PDU) { p.BHS[3] = 2 }, false},
		{"not the first part", vpd(8), page[:8], func(p *iscsitest.PDU) { p.Put32(40, 8) }, false},
		{"cut to what is expected", []byte{0x9e, 0x10, 13: 32, 15: 0}, page, func(p *iscsitest.PDU) { p.BHS[1] = 0x85; p.Put32(44, 16) }, false},
		{"cut to what is expected, of 8", vpd(255), page[:8], func(p *iscsitest.PDU) { p.BHS[1] = 0x85; p.Put32(44, 8) }, true},
		{"overflow of nothing", vpd(255), page[:8], func(p *iscsitest.PDU) { p.BHS[1] = 0x85 }, false},
		{"list of log pages", []byte{0x4d, 0, 0x40, 8: 255, 9: 0}, page, nil, true},
		{"log page", []byte{0x4d, 0, 0x42, 8: 255, 9: 0}, []byte{2, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, nil, false},
		{"text that goes on", vpd(8), []byte("key=val"), func(p *iscsitest.PDU) { p.BHS[0], p.BHS[1] = 0x24, 0x40 }, true},
		{"text that ends", vpd(8), []byte("key=val"), func(p *iscsitest.PDU) { p.BHS[0], p.BHS[1] = 0x24, 0x80 }, false},
		{"reject", vpd(8), make([]byte, 48), func(p *iscsitest.PDU) { p.BHS[0], p.BHS[1] = 0x3f, 0x80 }, true},
		{"reject with half a header", vpd(8), make([]byte, 40), func(p *iscsitest.PDU) { p.BHS[0], p.BHS[1] = 0x3f, 0x80 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var req, resp iscsitest.PDU
			req.BHS[0] = 0x01
			copy(req.BHS[32:], tt.cdb)
			req.Put32(16, 7)
			req.Put32(20, 8)
			resp.BHS[0], resp.BHS[1], resp.Data = 0x25, 0x81, tt.answer
			resp.Put32(16, 7)
			if tt.change != nil {
				tt.change(&resp)
			}
			nop := iscsitest.PDU{BHS: [48]byte{0x40}}
			for _, digests := range [][2]bool{{false, false}, {true, false}, {true, true}} {
				h, d := digests[0], digests[1]
				got := excused(resp.Bytes(h, d), append(nop.Bytes(h, d), req.Bytes(h, d)...), h, d)
				if (got == 1) != tt.want {
					t.Errorf("digests %v: %v, want %v", digests, got, tt.want)
				}
			}
		})
	}
}
