package scsi

import (
	"crypto/sha256"
	"fmt"
)

// NAAFromUUID derives the NAA type 6 designator (SPC-4 section 7.8.6.6.5) of
// a volume from its UUID, or any other string that is the volume's alone for
// life. It compares byte by byte: LVM's UUIDs are case-sensitive.
//
//	bits 127..124  6, the NAA type
//	bits 123..100  02-53-54, an OUI with the "locally administered" bit set,
//	               so it can't be that of a manufacturer
//	bits  99..0    the first 100 bits of SHA-256("sanstick naa\x00" + uuid)
//
// This mapping must never change: initiators know disks by it.
func NAAFromUUID(uuid string) (naa [16]byte) {
	h := sha256.Sum256([]byte("sanstick naa\x00" + uuid))
	naa[0], naa[1], naa[2] = 0x60, 0x25, 0x35
	naa[3] = 0x40 | h[0]>>4
	for i := range 12 {
		naa[4+i] = h[i]<<4 | h[i+1]>>4
	}
	return naa
}

// SerialFromUUID derives a unit serial number of 20 hexadecimal digits: the
// first 80 bits of SHA-256("sanstick serial\x00" + uuid). It must never change
// either.
func SerialFromUUID(uuid string) string {
	h := sha256.Sum256([]byte("sanstick serial\x00" + uuid))
	return fmt.Sprintf("%x", h[:10])
}
