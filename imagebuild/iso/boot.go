package iso

// Places in GRUB's images.
const (
	codeSize   = 440   // of boot_hybrid.img; the rest of the sector belongs to the partition table
	hybridLBA  = 0x1b0 // boot_hybrid.img: the second sector of the core image, on a disk
	coreBlocks = 2548  // core image for El Torito: where its third sector lies, on a disk
)

// bootInfo fills the boot information table that GRUB's core image has for a CD: where the volume descriptor and the
// image lie, how large it is, and a checksum. It is at bytes 8 to 63.
func bootInfo(core []byte, at int) {
	le.PutUint32(core[8:], pvdBlock)
	le.PutUint32(core[12:], uint32(at))
	le.PutUint32(core[16:], uint32(len(core)))
	sum := uint32(0)
	for i := 64; i < len(core); i += 4 {
		var word [4]byte
		copy(word[:], core[i:])
		sum += le.Uint32(word[:])
	}
	le.PutUint32(core[20:], sum)
}

// bootRecord points to the boot catalog. El Torito wants it in block 17.
func bootRecord() []byte {
	b := descriptor(0)
	copy(b[7:], "EL TORITO SPECIFICATION")
	le.PutUint32(b[71:], catalogBlock)
	return b
}

// catalog is El Torito's boot catalog: an entry for a PC BIOS, which loads four sectors of 512 bytes of the core image,
// and one for UEFI, which takes the EFI volume for a disk.
func catalog(core, efi, efiSize int) []byte {
	const bios, uefi, bootable, lastHeader = 0x00, 0xef, 0x88, 0x91
	b := make([]byte, block)
	b[0], b[1] = 1, bios
	copy(b[4:], "SANSTICK")
	b[30], b[31] = 0x55, 0xaa
	sum := uint16(0)
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(b[i:])
	}
	le.PutUint16(b[28:], -sum)
	entry := func(at, sectors, block int) {
		b[at] = bootable
		le.PutUint16(b[at+6:], uint16(sectors))
		le.PutUint32(b[at+8:], uint32(block))
	}
	entry(32, 4, core)
	b[64], b[65] = lastHeader, uefi
	le.PutUint16(b[66:], 1)
	entry(96, efiSize/sector, efi)
	return b
}
