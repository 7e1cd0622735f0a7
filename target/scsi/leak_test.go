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
					res := task.Run(nil, AllocFunc(func(n int) []byte { return bytes.Repeat([]byte{poison}, n) }))
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

// requests are CDBs of a data-in command: all values of the byte
// that has the page, and each bit of the others, one byte after the other.
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
			if i != 2 && v&(v-1) != 0 {
				continue // where no page is
			}
			b := bytes.Clone(first)
			b[i] |= byte(v)
			all = append(all, b)
		}
	}
	return all
}

// Every answer is cut to the allocation length, whatever kind of unit gives it.
func TestAllocationLengthsOfAll(t *testing.T) {
	for _, r := range allRigs(t) {
		for _, c := range rows() {
			if c.allocation.size == 0 || !r.offers(&c) || c.name == "REPORT TIMESTAMP" {
				continue
			}
			done := 0
			for _, b := range requests(&c) {
				set := func(n int) {
					for i := range c.allocation.size {
						b[c.allocation.at+i] = byte(n >> (8 * (c.allocation.size - 1 - i)))
					}
				}
				most := 1<<(8*min(c.allocation.size, 2)) - 1
				set(most)
				whole := r.do(b, nil)
				if whole.Status != Good || commands.find([16]byte(append(bytes.Clone(b), make([]byte, 16)...))).name != c.name {
					continue
				}
				if done++; done > 5 {
					break
				}
				for n := range min(len(whole.Data)+8, 300) {
					set(n)
					if got := r.do(b, nil); got.Status != Good || !bytes.Equal(got.Data, whole.Data[:min(n, len(whole.Data))]) {
						t.Fatalf("%s, CDB %x: %v, %d bytes", c.name, b, got.Status, len(got.Data))
					}
				}
			}
		}
	}
}
