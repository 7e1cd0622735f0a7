// Package iso makes the ISO image: one file that boots as a CD by BIOS, by UEFI and with Secure Boot (El Torito), and as
// a disk when it is written to a stick (hybrid): then its partition table shows the same EFI volume, and a volume SANSTICK
// that can be edited.
//
// The system on it can't be updated: a CD has no writable place, and the hybrid's kernel lies in the ISO volume.
package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/renameio/v2"

	"sanstick/imagebuild/stick"
)

// Contents is what goes into an image.
type Contents struct {
	HybridCode []byte       // GRUB's boot_hybrid.img
	ElTorito   []byte       // GRUB's core image for a CD and a PC BIOS
	Loaders    []stick.File // boot loaders for UEFI and grub.cfg
	System     []stick.File // kernel, initramfs and manifest
	Config     []byte       // appliance.toml
}

const (
	sector = 512
	mib    = 1 << 20

	efiLabel  = "SANEFI"
	efiSerial = 0x5A4E_0011
	efiImage  = "boot/efi.img"
	coreImage = "boot/eltorito.img"
)

// Create writes an image. It appears under path when it is complete.
func Create(path string, c Contents) error {
	head, l, err := volume(c)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	p, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := write(p.File, c, head, l); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", path, err), p.Cleanup())
	}
	if err := p.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// Code is what of an image boots it by a PC BIOS: the boot sector's code, for when it is on a disk, and GRUB's core image
// as it is in the image. Neither depends on the content of c.System.
func Code(c Contents) ([]stick.File, error) {
	head, l, err := volume(c)
	if err != nil {
		return nil, fmt.Errorf("cannot lay out the image: %w", err)
	}
	return []stick.File{{Name: stick.BootCode, Data: head[:codeSize]}, {Name: coreImage, Data: l.files[0].Data}}, nil
}

// ReadCode reads the boot sector's code of an image.
func ReadCode(f io.ReaderAt) (stick.File, error) {
	b := make([]byte, codeSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return stick.File{}, fmt.Errorf("cannot read the boot sector: %w", err)
	}
	return stick.File{Name: stick.BootCode, Data: b}, nil
}

// volume lays out the ISO volume. head is all that comes before the files.
func volume(c Contents) (head []byte, l *layout, err error) {
	if len(c.HybridCode) < codeSize || len(c.ElTorito) < coreBlocks+8 {
		return nil, nil, fmt.Errorf("cannot use GRUB's images: %d and %d bytes", len(c.HybridCode), len(c.ElTorito))
	}
	efi, err := fat16(efiLabel, efiSerial, c.Loaders)
	if err != nil {
		return nil, nil, err
	}
	if len(efi)/sector > 0xffff {
		return nil, nil, fmt.Errorf("cannot use an EFI volume of %d bytes: El Torito can't say how large it is", len(efi))
	}
	core := bytes.Clone(c.ElTorito)
	files := []stick.File{{Name: coreImage, Data: core}, {Name: efiImage, Data: efi}}
	for _, f := range c.Loaders {
		if f.Name == configFile { // GRUB from a CD reads it from the ISO volume
			files = append(files, f)
		}
	}
	if l, err = plan(append(files, c.System...)); err != nil {
		return nil, nil, err
	}
	at := l.extent[coreImage]
	bootInfo(core, at)
	le.PutUint64(core[coreBlocks:], uint64(at)*4+5) // where the rest of it lies, if it was loaded from a disk
	head = make([]byte, firstDir*block)
	code := head[:codeSize]
	copy(code, c.HybridCode)
	le.PutUint64(code[hybridLBA:], uint64(at)*4+4)
	put := func(at int, b []byte) { copy(head[at*block:], b) }
	put(pvdBlock, l.primary(stick.BootLabel))
	put(bootBlock, bootRecord())
	put(endBlock, descriptor(255))
	put(catalogBlock, catalog(at, l.extent[efiImage], len(efi)))
	put(littleTable, l.pathTable(binary.LittleEndian))
	put(bigTable, l.pathTable(binary.BigEndian))
	for _, d := range l.dirs {
		b, err := l.directory(d)
		if err != nil {
			return nil, nil, err
		}
		head = append(head, b...)
	}
	return head, l, nil
}

// configFile is where GRUB's configuration is, on the EFI volume and on the ISO volume.
const configFile = "EFI/debian/grub.cfg"

// write writes the image.
func write(f *os.File, c Contents, head []byte, l *layout) error {
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	efiSize := 0
	for _, file := range l.files {
		if _, err := f.WriteAt(file.Data, int64(l.extent[file.Name])*block); err != nil {
			return err
		}
		if file.Name == efiImage {
			efiSize = len(file.Data)
		}
	}
	const backup = 33 * sector // of the partition table
	config := (int64(l.blocks)*block + mib - 1) / mib * mib
	total := (config + stick.ConfigSize + backup + block - 1) / block * block
	if err := f.Truncate(total); err != nil {
		return err
	}
	part := func(index int, start, size int64, kind gpt.Type, name string) *gpt.Partition {
		return &gpt.Partition{Index: index, Start: uint64(start / sector), End: uint64((start+size)/sector - 1), Type: kind, Name: name,
			GUID: fmt.Sprintf("5A4E5354-0000-4000-8000-%012d", 10+index)}
	}
	t := &gpt.Table{
		ProtectiveMBR: true, LogicalSectorSize: sector, PhysicalSectorSize: sector, GUID: "5A4E5354-0000-4000-8000-000000000010",
		Partitions: []*gpt.Partition{
			part(1, int64(l.extent[efiImage])*block, int64(efiSize), gpt.EFISystemPartition, "sanefi"),
			part(2, config, stick.ConfigSize, gpt.MicrosoftBasicData, "sanstick"),
		},
	}
	if err := t.Write(f, total); err != nil {
		return fmt.Errorf("cannot write the partition table: %w", err)
	}
	return stick.FormatConfig(f, config, c.Config)
}
