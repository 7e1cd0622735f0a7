package disk

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVPD(t *testing.T) {
	tests := []struct {
		name           string
		page           string
		serial, name83 string
	}{
		{name: "empty"},
		{name: "serial", page: "\x00\x80\x00\x04 AB ", serial: "AB"},
		{name: "unprintable", page: "\x00\x80\x00\x04A\x00\xffB", serial: "AB"},
		{name: "longer than it is", page: "\x00\x80\x00\x05ABCD"},
		{name: "NAA of 16 bytes", page: "\x00\x83\x00\x14\x01\x03\x00\x10\x60\x01\x40\x5a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", name83: "wwn-0x6001405a000000000000000000000001"},
		{name: "the port's NAA is not the disk's", page: "\x00\x83\x00\x0c\x61\x13\x00\x08\x50\x00\xc5\x00\xa1\xb2\xc3\xd4"},
		{name: "designator too long", page: "\x00\x83\x00\x08\x01\x03\x00\x08\x50\x00\xc5\x00"},
		{name: "other page", page: "\x00\xb0\x00\x04ABCD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := []string{serialVPD([]byte(tt.page)), nameVPD([]byte(tt.page))}
			if diff := cmp.Diff([]string{tt.serial, tt.name83}, got); diff != "" {
				t.Errorf("serial, name (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzVPD(f *testing.F) {
	f.Add([]byte("\x00\x80\x00\x04ABCD"))
	f.Add([]byte("\x00\x83\x00\x0c\x61\x13\x00\x08\x50\x00\xc5\x00\xa1\xb2\xc3\xd4"))
	f.Fuzz(func(t *testing.T, page []byte) {
		serialVPD(page)
		if s := nameVPD(page); s != "" && len(s) != len("wwn-0x")+16 && len(s) != len("wwn-0x")+32 {
			t.Errorf("name %q", s)
		}
	})
}
