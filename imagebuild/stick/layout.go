// Package stick assembles the disk image that is written to a USB stick, and changes the configuration in one.
//
// The image is a GPT disk with three partitions: GRUB's core image for a PC BIOS, the FAT32 volume SANBOOT with kernel
// and initramfs, and the FAT32 volume SANSTICK with appliance.toml, which any PC can edit. It is made with go-diskfs;
// what that leaves wrong in a FAT32 volume is repaired and checked afterwards (fat.go). Equal contents give an equal
// image: GUIDs, serial numbers and dates are fixed.
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

	// configMiB is the smallest size a FAT32 volume may have (65525 clusters), rounded up.
	configMiB = 33
)

// Partition numbers and where the first one lies.
const (
	biosPart, bootPart, configPart = 1, 2, 3

	coreLBA = mib / sector
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

// table lays out a stick whose SANBOOT volume has bootMiB. size is that of the whole image in bytes.
func table(bootMiB int64) (t *gpt.Table, size int64) {
	lba := func(m int64) uint64 { return uint64(m * mib / sector) }
	boot, config := int64(2), 2+bootMiB
	end := config + configMiB
	return &gpt.Table{
		ProtectiveMBR: true, LogicalSectorSize: sector, PhysicalSectorSize: sector,
		GUID: "5A4E5354-0000-4000-8000-000000000000",
		Partitions: []*gpt.Partition{
			{Index: biosPart, Start: coreLBA, End: lba(2) - 1, Type: gpt.BIOSBoot, Name: "bios",
				GUID: "5A4E5354-0000-4000-8000-000000000001"},
			{Index: bootPart, Start: lba(boot), End: lba(config) - 1, Type: gpt.EFISystemPartition, Name: "sanboot",
				GUID: "5A4E5354-0000-4000-8000-000000000002"},
			{Index: configPart, Start: lba(config), End: lba(end) - 1, Type: gpt.MicrosoftBasicData, Name: "sanstick",
				GUID: "5A4E5354-0000-4000-8000-000000000003"},
		},
	}, (end + 1) * mib // the last MiB holds the backup table
}

// bootSize returns how many MiB a SANBOOT volume with these files needs.
func bootSize(files []File) int64 {
	need := int64(64 << 10) // directories and reserved sectors
	for _, f := range files {
		need += (int64(len(f.Data)) + sector - 1) / sector * sector
	}
	need += need/64 + need/1024 // two tables with 4 bytes for each 512-byte cluster, and those for the tables
	m := max((need+mib-1)/mib, configMiB)
	for fatTooShort(m * mib) {
		m++
	}
	return m
}

// fatTooShort reports whether go-diskfs makes the tables of a volume of that size too short (its formula
// forgets the two reserved entries).
func fatTooShort(size int64) bool {
	const reserved, perFAT = 32, sector / 4
	sectors := size / sector
	fat := (4*(sectors-reserved) + sector + 8 - 1) / (sector + 8)
	clusters := sectors - reserved - 2*fat
	return fat*perFAT < clusters+2
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
