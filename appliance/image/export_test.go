package image

import "hash/crc32"

// Seal puts the right sum into a VHDX structure.
func Seal(b []byte) {
	clear(b[4:8])
	le.PutUint32(b[4:], crc32.Checksum(b, castagnoli))
}
