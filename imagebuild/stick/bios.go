package stick

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// What lies outside of the volumes: GRUB for a PC BIOS. No file of a FAT volume can be called so.
const (
	BootCode = "bios:boot.img" // the first 440 bytes of the disk; the rest of the sector belongs to the partition table
	CoreCode = "bios:core.img" // the whole BIOS boot partition
)

const codeSize = 440

// Code is what lies outside of the volumes of a stick: GRUB's first stage and its core, each told where its next part
// lies, as grub-bios-setup does.
func Code(bootCode, core []byte) ([]File, error) {
	const (
		kernelLBA   = 0x5c  // boot.img: first sector of core.img
		bootDrive   = 0x64  // boot.img: 0xff = the drive the BIOS says
		driveCheck  = 0x66  // boot.img: two NOPs here = do not trust a BIOS that says it booted a floppy
		blockStart  = 0x1f4 // first sector of core.img: where its second one lies
		blockLength = 0x1fc // and how many follow
	)
	if len(bootCode) < codeSize || len(core) < 2*sector || len(core) > configStart-coreStart {
		return nil, fmt.Errorf("cannot use GRUB's images: %d and %d bytes", len(bootCode), len(core))
	}
	if n, want := int(binary.LittleEndian.Uint16(core[blockLength:])), (len(core)+sector-1)/sector-1; n != want {
		return nil, fmt.Errorf("cannot use GRUB's core image: it says it has %d more sectors, not %d", n, want)
	}
	boot := bytes.Clone(bootCode[:codeSize])
	binary.LittleEndian.PutUint64(boot[kernelLBA:], coreStart/sector)
	boot[bootDrive] = 0xff
	boot[driveCheck], boot[driveCheck+1] = 0x90, 0x90
	part := make([]byte, configStart-coreStart)
	copy(part, core)
	binary.LittleEndian.PutUint64(part[blockStart:], coreStart/sector+1)
	return []File{{BootCode, boot}, {CoreCode, part}}, nil
}

// ReadCode reads from an image or a stick what Code gives.
func ReadCode(f *os.File) ([]File, error) {
	boot, core := make([]byte, codeSize), make([]byte, configStart-coreStart)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return nil, fmt.Errorf("cannot read the boot sector: %w", err)
	}
	if _, err := f.ReadAt(core, coreStart); err != nil {
		return nil, fmt.Errorf("cannot read GRUB's core image: %w", err)
	}
	return []File{{BootCode, boot}, {CoreCode, core}}, nil
}

// writeBIOS places GRUB for a PC BIOS.
func writeBIOS(f *os.File, bootCode, core []byte) error {
	code, err := Code(bootCode, core)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(code[0].Data, 0); err != nil {
		return fmt.Errorf("cannot write the boot sector: %w", err)
	}
	if _, err := f.WriteAt(code[1].Data[:len(core)], coreStart); err != nil {
		return fmt.Errorf("cannot write GRUB's core image: %w", err)
	}
	return nil
}
