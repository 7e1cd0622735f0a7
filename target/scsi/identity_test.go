package scsi

import (
	"fmt"
	"testing"
)

// Initiators know disks by these. If this test fails, the code is wrong, not
// the test: a changed value makes another disk of every volume there is.
func TestIdentityIsStable(t *testing.T) {
	for _, tt := range []struct{ uuid, naa, serial string }{
		{"", "6025354582c135fdc0a8a87dd72aae5c", "69ee84d4c9dcf562b1bd"},
		{"uOQmTk-JvhT-0f5D-2Wk1-oJ7d-rYcZ-9mXyPq", "602535422cebc6d6699bf465dfa18ae5", "3e80fece26ea05f53549"},
		{"UOQmTk-JvhT-0f5D-2Wk1-oJ7d-rYcZ-9mXyPq", "6025354b18a35d3efb27609ad844732e", "86bc4fe84baa245425ea"},
	} {
		if got := fmt.Sprintf("%x", NAAFromUUID(tt.uuid)); got != tt.naa {
			t.Errorf("NAAFromUUID(%q) = %q, want %q", tt.uuid, got, tt.naa)
		}
		if got := SerialFromUUID(tt.uuid); got != tt.serial {
			t.Errorf("SerialFromUUID(%q) = %q, want %q", tt.uuid, got, tt.serial)
		}
	}
}

// An OUI whose first octet has the second-lowest bit set belongs to nobody.
func TestNAAIsLocallyAdministered(t *testing.T) {
	naa := NAAFromUUID("x")
	if naa[0]>>4 != 6 {
		t.Errorf("NAA type is %d, want 6", naa[0]>>4)
	}
	oui := [3]byte{naa[0]<<4 | naa[1]>>4, naa[1]<<4 | naa[2]>>4, naa[2]<<4 | naa[3]>>4}
	if want := [3]byte{0x02, 'S', 'T'}; oui != want {
		t.Errorf("OUI is %x, want %x", oui, want)
	}
}
