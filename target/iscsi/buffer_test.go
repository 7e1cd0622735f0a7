package iscsi

import "testing"

func TestBuffers(t *testing.T) {
	p := newBuffers()
	for _, tt := range []struct{ n, size int }{
		{0, 4096}, {1, 4096}, {4096, 4096}, {4097, 8192}, {65536, 65536}, {65537, 131072}, {16 << 20, 16 << 20}, {16<<20 + 1, 16<<20 + 1},
	} {
		for range 3 {
			b := p.get(tt.n)
			if len(b.b) != tt.size {
				t.Errorf("get(%d) has %d bytes, want %d", tt.n, len(b.b), tt.size)
			}
			if offset(b.b) != 0 {
				t.Errorf("get(%d) is not aligned", tt.n)
			}
			p.put(b)
		}
	}
	p.put(nil)
}
