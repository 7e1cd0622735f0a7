package stick

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Offsets in a FAT32 boot sector, information sector and directory entry (Microsoft's FAT specification 1.03).
const (
	bpbOEM, bpbSectorSize, bpbClusterSectors, bpbReserved = 3, 11, 13, 14
	bpbTrackSectors, bpbHeads, bpbHidden, bpbSectors      = 24, 26, 28, 32
	bpbFATSectors, bpbRootCluster, bpbSerial              = 36, 44, 67

	bootSector, infoSector, bootCopy, infoCopy = 0, 1, 6, 7
	infoFree                                   = 488 // free clusters, then the next free one

	entrySize, entryAttr                          = 32, 11
	entryCreated, entryAccessed, entryClusterHigh = 14, 18, 20
	entryWritten, entryClusterLow, entryFileSize  = 22, 26, 28
	attrVolume, attrDirectory, attrLongName       = 0x08, 0x10, 0x0f
	entryDeleted                                  = 0xe5

	endOfChain, entryMask = 0x0fff_fff8, 0x0fff_ffff

	minClusters = 65525 // fewer, and by the specification the volume is a FAT16
)

// fixedDate is the date of every file, 2026-01-01 00:00, so that equal contents give an equal image.
const fixedDate, fixedTime = (2026-1980)<<9 | 1<<5 | 1, 0

// volume is the geometry of a FAT32 volume and its first table.
type volume struct {
	f        *os.File
	span     span
	boot     []byte // the boot sector
	cluster  int64  // bytes
	fatStart int64  // offset in the file
	fatSize  int64  // bytes of one table
	data     int64  // offset of cluster 2 in the file
	clusters uint32
	fat      []byte
}

var le = binary.LittleEndian

// openVolume reads the geometry and the table.
func openVolume(f *os.File, s span) (*volume, error) {
	v := &volume{f: f, span: s, boot: make([]byte, sector)}
	if _, err := f.ReadAt(v.boot, s.start); err != nil {
		return nil, fmt.Errorf("cannot read the boot sector: %w", err)
	}
	if n := le.Uint16(v.boot[bpbSectorSize:]); n != sector {
		return nil, fmt.Errorf("cannot use a volume with sectors of %d bytes", n)
	}
	reserved := int64(le.Uint16(v.boot[bpbReserved:])) * sector
	total := int64(le.Uint32(v.boot[bpbSectors:])) * sector
	v.cluster = int64(v.boot[bpbClusterSectors]) * sector
	v.fatSize = int64(le.Uint32(v.boot[bpbFATSectors:])) * sector
	v.fatStart = s.start + reserved
	v.data = v.fatStart + 2*v.fatSize
	if v.cluster == 0 || total > s.size || v.data >= s.start+total {
		return nil, fmt.Errorf("cannot use a volume with %d bytes in a partition of %d", total, s.size)
	}
	v.clusters = uint32((s.start + total - v.data) / v.cluster)
	v.fat = make([]byte, v.fatSize)
	if _, err := f.ReadAt(v.fat, v.fatStart); err != nil {
		return nil, fmt.Errorf("cannot read the allocation table: %w", err)
	}
	return v, nil
}

// entry is the table's entry for a cluster.
func (v *volume) entry(cluster uint32) uint32 { return le.Uint32(v.fat[4*cluster:]) & entryMask }

// check finds what would make the volume useless: a size that is no FAT32, a table that is too short, and clusters
// in use behind the end of the volume.
func (v *volume) check() error {
	if v.clusters < minClusters {
		return fmt.Errorf("cannot use a FAT32 volume with %d clusters: at least %d are needed", v.clusters, minClusters)
	}
	entries := uint32(v.fatSize / 4)
	if entries < v.clusters+2 {
		return fmt.Errorf("cannot use the volume: its table has %d entries for %d clusters", entries, v.clusters)
	}
	for c := v.clusters + 2; c < entries; c++ {
		if v.entry(c) != 0 {
			return fmt.Errorf("cannot fit the files: cluster %d is in use, the volume ends at %d", c, v.clusters+1)
		}
	}
	return nil
}

// resize sets the number of sectors of a volume to that of its span.
func resize(f *os.File, s span) error {
	for _, at := range []int64{bootSector, bootCopy} {
		if _, err := f.WriteAt(le.AppendUint32(nil, uint32(s.size/sector)), s.start+at*sector+bpbSectors); err != nil {
			return fmt.Errorf("cannot write the boot sector: %w", err)
		}
	}
	return nil
}

// repair gives a new volume the size of its span, checks it, sets right what go-diskfs 1.9.4 leaves wrong or empty in it (the serial number, the
// geometry for old BIOSes, the count of free clusters, the ".." of first-level directories, a cluster for each empty
// file), and makes its dates fixed.
func repair(f *os.File, s span, serial uint32) error {
	if err := resize(f, s); err != nil {
		return err
	}
	v, err := openVolume(f, s)
	if err != nil {
		return err
	}
	if err := v.check(); err != nil {
		return err
	}
	copy(v.boot[bpbOEM:], "MSWIN4.1")
	le.PutUint16(v.boot[bpbTrackSectors:], 63)
	le.PutUint16(v.boot[bpbHeads:], 255)
	le.PutUint32(v.boot[bpbHidden:], uint32(s.start/sector))
	le.PutUint32(v.boot[bpbSerial:], serial)
	for _, at := range []int64{bootSector, bootCopy} {
		if _, err := f.WriteAt(v.boot, s.start+at*sector); err != nil {
			return fmt.Errorf("cannot write the boot sector: %w", err)
		}
	}
	root := le.Uint32(v.boot[bpbRootCluster:])
	if err := v.repairDirectory(root, root, 0); err != nil {
		return err
	}
	for _, at := range []int64{v.fatStart, v.fatStart + v.fatSize} {
		if _, err := f.WriteAt(v.fat, at); err != nil {
			return fmt.Errorf("cannot write the allocation table: %w", err)
		}
	}
	return v.writeInfo()
}

// writeInfo counts the free clusters.
func (v *volume) writeInfo() error {
	free, next := uint32(0), uint32(0)
	for c := v.clusters + 1; c >= 2; c-- {
		if v.entry(c) == 0 {
			free++
			next = c
		}
	}
	var info [8]byte
	le.PutUint32(info[0:], free)
	le.PutUint32(info[4:], next)
	for _, at := range []int64{infoSector, infoCopy} {
		if _, err := v.f.WriteAt(info[:], v.span.start+at*sector+infoFree); err != nil {
			return fmt.Errorf("cannot write the information sector: %w", err)
		}
	}
	return nil
}

// repairDirectory walks a directory: fixed dates everywhere, and 0 for the root directory in "..", as the
// specification wants it. The image has few levels; a loop of directories ends at depth 8.
func (v *volume) repairDirectory(cluster, root uint32, depth int) error {
	if depth > 8 {
		return fmt.Errorf("cannot read the directories: more than 8 levels")
	}
	buf := make([]byte, v.cluster)
	for c, n := cluster, uint32(0); c < endOfChain; c, n = v.entry(c), n+1 {
		if c < 2 || c >= v.clusters+2 || n > v.clusters {
			return fmt.Errorf("cannot read a directory: bad cluster %d in its chain", c)
		}
		at := v.data + int64(c-2)*v.cluster
		if _, err := v.f.ReadAt(buf, at); err != nil {
			return fmt.Errorf("cannot read a directory: %w", err)
		}
		for e := 0; e < len(buf) && buf[e] != 0; e += entrySize {
			if err := v.repairEntry(buf[e:e+entrySize], root, depth); err != nil {
				return err
			}
		}
		if _, err := v.f.WriteAt(buf, at); err != nil {
			return fmt.Errorf("cannot write a directory: %w", err)
		}
	}
	return nil
}

func (v *volume) repairEntry(e []byte, root uint32, depth int) error {
	attr := e[entryAttr]
	if e[0] == entryDeleted || attr&0x3f == attrLongName {
		return nil
	}
	e[entryCreated-1] = 0 // tenths of a second
	le.PutUint16(e[entryCreated:], fixedTime)
	le.PutUint16(e[entryCreated+2:], fixedDate)
	le.PutUint16(e[entryAccessed:], fixedDate)
	le.PutUint16(e[entryWritten:], fixedTime)
	le.PutUint16(e[entryWritten+2:], fixedDate)
	first := uint32(le.Uint16(e[entryClusterHigh:]))<<16 | uint32(le.Uint16(e[entryClusterLow:]))
	switch {
	case attr&attrVolume != 0:
		return nil
	case attr&attrDirectory == 0:
		if le.Uint32(e[entryFileSize:]) == 0 && first != 0 {
			if first >= v.clusters+2 || v.entry(first) < endOfChain {
				return fmt.Errorf("cannot use an empty file with more than one cluster")
			}
			le.PutUint32(v.fat[4*first:], 0)
			setFirstCluster(e, 0)
		}
		return nil
	case e[0] == '.':
		if e[1] == '.' && first == root {
			setFirstCluster(e, 0)
		}
		return nil
	}
	return v.repairDirectory(first, root, depth+1)
}

func setFirstCluster(e []byte, cluster uint32) {
	le.PutUint16(e[entryClusterHigh:], uint16(cluster>>16))
	le.PutUint16(e[entryClusterLow:], uint16(cluster))
}

// setHiddenSectors tells a volume that was copied where it lies now.
func setHiddenSectors(f *os.File, s span) error {
	hidden := le.AppendUint32(nil, uint32(s.start/sector))
	for _, at := range []int64{bootSector, bootCopy} {
		if _, err := f.WriteAt(hidden, s.start+at*sector+bpbHidden); err != nil {
			return fmt.Errorf("cannot write the boot sector: %w", err)
		}
	}
	return nil
}
