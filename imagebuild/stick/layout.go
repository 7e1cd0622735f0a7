// Package stick assembles the disk image that is written to a USB stick, and changes the configuration in one.
//
// The image is a GPT disk with three partitions: GRUB's core image for a PC BIOS; the FAT32 volume SANSTICK with
// appliance.toml, which any PC can edit; and, last, the EFI system partition SANBOOT, a FAT32 volume with boot loaders,
// kernel and initramfs. SANBOOT is only as large in the image as its files need, but its allocation tables have entries
// for twice the room and more, so that the appliance can grow it in place at its first start (appliance/bootdisk).
//
// It is made with go-diskfs; what that leaves wrong in a FAT32 volume is repaired and checked afterwards (fat.go). Equal
// contents give an equal image: GUIDs, serial numbers and dates are fixed.
package stick

import (
	"fmt"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Sizes in bytes.
const (
	sector = 512
	mib    = 1 << 20
	align  = 4096 // of partitions whose place isn't a whole MiB

	// ConfigSize is the smallest that a FAT32 volume may have (65525 clusters), rounded up to MiB.
	ConfigSize = 33 * mib
	// minRoom is the least that SANBOOT can be grown to: two slots, and then half of it is free.
	minRoom = 128 * mib
	// backupSize is the end of the disk: the backup of the partition table.
	backupSize = 33 * sector
)

// Partition numbers and where they begin. GRUB's core image takes the second half of the first MiB, which the partition
// table leaves free.
const (
	biosPart, bootPart, configPart = 1, 2, 3

	coreStart   = mib / 2
	configStart = mib
	bootStart   = configStart + ConfigSize
)

// Volume labels, and the file in the configuration volume.
const (
	BootLabel   = "SANBOOT"
	ConfigLabel = "SANSTICK"
	ConfigFile  = "appliance.toml"
)

// Volume serial numbers.
const (
	bootSerial   = 0x5A4E_0002
	configSerial = 0x5A4E_0003
)

// table lays out a stick whose SANBOOT volume has bootSize bytes. size is that of the whole image in bytes.
func table(bootSize int64) (t *gpt.Table, size int64) {
	guid := func(index int) string { return fmt.Sprintf("5A4E5354-0000-4000-8000-%012d", index) } // bootdisk knows the second
	part := func(index int, start, size int64, kind gpt.Type, name string) *gpt.Partition {
		return &gpt.Partition{Index: index, Start: uint64(start / sector), End: uint64((start+size)/sector - 1), Type: kind, Name: name,
			GUID: guid(index)}
	}
	return &gpt.Table{
		ProtectiveMBR: true, LogicalSectorSize: sector, PhysicalSectorSize: sector,
		GUID: guid(0),
		Partitions: []*gpt.Partition{
			part(biosPart, coreStart, configStart-coreStart, gpt.BIOSBoot, "bios"),
			part(bootPart, bootStart, bootSize, gpt.EFISystemPartition, "sanboot"),
			part(configPart, configStart, ConfigSize, gpt.MicrosoftBasicData, "sanstick"),
		},
	}, roundUp(bootStart+bootSize+backupSize, align)
}

// bootSize returns how many bytes a SANBOOT volume with these files needs, and how many it can be grown to.
func bootSize(files []File) (size, room int64) {
	data := int64(64 << 10) // directories, and a little to spare
	for _, f := range files {
		data += roundUp(int64(len(f.Data)), sector)
	}
	room = max(roundUp(3*data, mib), minRoom)
	for fatTooShort(room) {
		room += mib
	}
	clusters := max(data/sector, minClusters)
	return roundUp((fatReserved+2*fatSectors(room)+clusters)*sector, align), room
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// fatReserved is how many sectors go-diskfs puts before the first allocation table.
const fatReserved = 32

// fatSectors is how many sectors go-diskfs gives each allocation table of a volume with clusters of one sector.
func fatSectors(size int64) int64 {
	return (4*(size/sector-fatReserved) + sector + 8 - 1) / (sector + 8)
}

// fatTooShort reports whether go-diskfs makes the tables of a volume of that size too short (its formula
// forgets the two reserved entries).
func fatTooShort(size int64) bool {
	fat := fatSectors(size)
	return fat*sector/4 < size/sector-fatReserved-2*fat+2
}

// A span is a part of an image.
type span struct {
	start, size int64 // bytes
}

// partition finds a partition of one of our images.
func partition(s backend.Storage, index int) (span, error) {
	t, err := gpt.Read(s, sector, sector)
	if err != nil {
		return span{}, fmt.Errorf("cannot read the partition table: %w", err)
	}
	for _, p := range t.Partitions {
		if p.GetIndex() == index && p.Type != gpt.Unused {
			return span{p.GetStart(), p.GetSize()}, nil
		}
	}
	return span{}, fmt.Errorf("cannot find partition %d: this is not a sanstick image", index)
}
