// Package bootdisk fits the stick's image to a stick that is larger: the backup of the partition table goes to the end,
// and the EFI system partition, which is the last one, grows until it has room for two systems.
//
// imagebuild gives that partition's FAT32 volume allocation tables that are long enough for the larger size. So growing
// it is three steps, of which each can be cut off by a loss of power and is done again at the next start: the table's
// backup moves, the entry of the partition changes (package gpt), and then the volume's own count of sectors, in one
// sector that is written whole or not at all.
package bootdisk

import (
	"encoding/binary"
	"fmt"

	"sanstick/appliance/image/gpt"
)

// PartitionGUID is the GUID of the EFI system partition of a stick.
const PartitionGUID = "5A4E5354-0000-4000-8000-000000000002"

// A Result says what Fit has done. The zero value: nothing was to do.
type Result struct {
	Said []string       // for a person
	Grew *gpt.Partition // the partition as it is now, if the table has changed
}

// Offsets in a FAT32 boot sector and information sector (Microsoft's FAT specification 1.03).
const (
	bpbSectorSize, bpbClusterSectors, bpbReserved, bpbTables     = 11, 13, 14, 16
	bpbSectors16, bpbTableSectors16, bpbSectors, bpbTableSectors = 19, 22, 32, 36
	bpbInfo, bpbBackup                                           = 48, 50

	infoSignature, infoFree = 484, 488

	sector = 512
	mib    = 1 << 20
)

// Fit fits what is on the disk to its size. The partition must not be mounted. resized is called when the table has
// changed and before the volume does: the kernel has to learn the partition's new size.
func Fit(d gpt.Disk, resized func(gpt.Partition) error) (r Result, err error) {
	restored, err := gpt.Restore(d)
	if err != nil {
		return r, err
	}
	if restored {
		r.Said = append(r.Said, "the partition table was damaged, and was restored from its backup")
	}
	_, found, err := gpt.Find(d, PartitionGUID)
	if err != nil {
		return r, err
	}
	said, err := gpt.Fix(d)
	if err != nil {
		return r, err
	}
	if said != "" {
		r.Said = append(r.Said, said)
	}
	if !found {
		return r, nil
	}
	p, _, err := gpt.Find(d, PartitionGUID)
	if err != nil {
		return r, err
	}
	v, err := openVolume(d, p)
	if err != nil {
		return r, err
	}
	if want := min(v.most, p.Room) / mib * mib; want > p.Size {
		if err := gpt.Resize(d, PartitionGUID, want); err != nil {
			return r, err
		}
		p.Size = want
		r.Grew = &p
		if err := resized(p); err != nil {
			return r, err
		}
	}
	if v.size < p.Size && v.size < v.most {
		if err := v.grow(min(p.Size, v.most)); err != nil {
			return r, err
		}
		r.Said = append(r.Said, fmt.Sprintf("the boot partition has grown to %d MiB", p.Size/mib))
	}
	return r, nil
}

// volume is a FAT32 volume on a disk.
type volume struct {
	d          gpt.Disk
	start      int64
	boot, info []byte
	infoAt     [2]int64 // offsets in the volume
	bootAt     int64    // of the copy of the boot sector
	size, most int64    // bytes: as the volume says, and as its tables allow
	reserved   int64    // bytes before the first table
	table      int64    // bytes of a table
	data       int64    // offset of the first cluster
}

func openVolume(d gpt.Disk, p gpt.Partition) (*volume, error) {
	v := &volume{d: d, start: p.Start, boot: make([]byte, sector), info: make([]byte, sector)}
	if err := v.read(v.boot, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	reserved, cluster, tables := int64(le.Uint16(v.boot[bpbReserved:])), int64(v.boot[bpbClusterSectors]), int64(v.boot[bpbTables])
	info, backup, table := int64(le.Uint16(v.boot[bpbInfo:])), int64(le.Uint16(v.boot[bpbBackup:])), int64(le.Uint32(v.boot[bpbTableSectors:]))
	v.size = int64(le.Uint32(v.boot[bpbSectors:])) * sector
	if le.Uint16(v.boot[510:]) != 0xaa55 || le.Uint16(v.boot[bpbSectorSize:]) != sector || cluster == 0 || tables == 0 || table == 0 ||
		le.Uint16(v.boot[bpbSectors16:]) != 0 || le.Uint16(v.boot[bpbTableSectors16:]) != 0 ||
		info == 0 || backup == 0 || backup+info >= reserved || v.size > p.Size || table > 1<<14 {
		return nil, fmt.Errorf("cannot use the boot partition: there is no FAT32 volume on it that fits")
	}
	v.infoAt, v.bootAt = [2]int64{(backup + info) * sector, info * sector}, backup*sector
	v.reserved, v.table, v.data = reserved*sector, table*sector, (reserved+tables*table)*sector
	v.most = v.data + (v.table/4-2)*cluster*sector
	if err := v.read(v.info, v.infoAt[1]); err != nil {
		return nil, err
	}
	return v, nil
}

// grow sets the volume's size. The boot sector is the last that is written: it decides. The count of free clusters, which
// is only a hint, is counted anew, so that doing all this again is the same.
func (v *volume) grow(size int64) error {
	le := binary.LittleEndian
	le.PutUint32(v.boot[bpbSectors:], uint32(size/sector))
	if le.Uint32(v.info[infoSignature:]) == 0x61417272 {
		free, err := v.free(size)
		if err != nil {
			return err
		}
		le.PutUint32(v.info[infoFree:], free)
	}
	for _, at := range v.infoAt {
		if err := v.write(v.info, at); err != nil {
			return err
		}
	}
	if err := v.write(v.boot, v.bootAt); err != nil {
		return err
	}
	if err := v.d.Sync(); err != nil {
		return fmt.Errorf("cannot grow the boot partition: %w", err)
	}
	if err := v.write(v.boot, 0); err != nil {
		return err
	}
	if err := v.d.Sync(); err != nil {
		return fmt.Errorf("cannot grow the boot partition: %w", err)
	}
	return nil
}

// free counts the free clusters of a volume of that size.
func (v *volume) free(size int64) (uint32, error) {
	table := make([]byte, v.table)
	if err := v.read(table, v.reserved); err != nil {
		return 0, err
	}
	clusters := (size - v.data) / (int64(v.boot[bpbClusterSectors]) * sector)
	free := uint32(0)
	for at := int64(8); at < min((clusters+2)*4, v.table); at += 4 {
		if binary.LittleEndian.Uint32(table[at:])&0x0fff_ffff == 0 {
			free++
		}
	}
	return free, nil
}

func (v *volume) read(p []byte, at int64) error {
	if _, err := v.d.ReadAt(p, v.start+at); err != nil {
		return fmt.Errorf("cannot read the boot partition: %w", err)
	}
	return nil
}

func (v *volume) write(p []byte, at int64) error {
	if _, err := v.d.WriteAt(p, v.start+at); err != nil {
		return fmt.Errorf("cannot write the boot partition: %w", err)
	}
	return nil
}
