package scsi

import (
	"bytes"
	"testing"
)

// What a buffer held before it was handed out never gets to an initiator:
// whatever is in it, every command answers the same.
func TestNothingUninitialised(t *testing.T) {
	answers := func(poison byte) map[string][]byte {
		got := make(map[string][]byte)
		for i, r := range allRigs(t) {
			for _, c := range rows() {
				if c.direction != DataIn || !r.offers(&c) {
					continue
				}
				for _, b := range requests(&c) {
					task := r.nexus.NewTask([8]byte{}, b)
					if task.command != nil && task.command.name == "REPORT TIMESTAMP" { // it may be later by now
						continue
					}
					res := task.Run(nil, func(n int) []byte { return bytes.Repeat([]byte{poison}, n) })
					if res.Status == Good {
						got[string(append([]byte{byte(i)}, b...))] = res.Data
					}
				}
			}
		}
		return got
	}
	one, other := answers(0x5a), answers(0xa5)
	if len(one) < 100 || len(one) != len(other) {
		t.Fatalf("%d and %d good answers", len(one), len(other))
	}
	for b, data := range one {
		if !bytes.Equal(data, other[b]) {
			t.Errorf("CDB %x: two answers differ", b[1:])
		}
	}
}

// requests are CDBs of a data-in command: all values of the first
// bytes, each bit of the others, one byte after the other.
func requests(c *command) [][]byte {
	first := make([]byte, len(c.usage))
	first[0] = c.usage[0]
	if c.flags&action != 0 {
		first[1] = c.action()
	}
	for i := range c.allocation.size {
		first[c.allocation.at+i] = 0x3f
	}
	if c.flags&transfers != 0 {
		_, blocks := c.extent()
		first[blocks.at+blocks.size-1] = 3
	}
	all := [][]byte{first}
	for i := 1; i < len(first)-1; i++ {
		for v := range 256 {
			if i > 3 && v&(v-1) != 0 {
				continue // where no page and no action is
			}
			b := bytes.Clone(first)
			b[i] |= byte(v)
			all = append(all, b)
		}
	}
	return all
}
