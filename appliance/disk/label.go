package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Partition is a part of a disk, or a whole disk that holds a filesystem
// without a partition table.
type Partition struct {
	Name string // "sda3"
	Path string // "/dev/sda3"
	Disk string // the kernel's name of the disk it is on, "sda"
	Size int64  // bytes
}

// Partitions lists all partitions of the disks that Scan lists.
func Partitions(sysfs string) ([]Partition, error) {
	disks, err := blockNames(sysfs)
	if err != nil {
		return nil, err
	}
	var parts []Partition
	for _, d := range disks {
		entries, err := os.ReadDir(filepath.Join(sysfs, "block", d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list partitions of %s: %w", d, err)
		}
		for _, e := range entries {
			dir := filepath.Join(sysfs, "block", d, e.Name())
			if !strings.HasPrefix(e.Name(), d) || attr(dir, "partition") == "" {
				continue
			}
			size, err := attrInt(dir, "size")
			if err != nil {
				continue // gone in the meantime
			}
			parts = append(parts, Partition{Name: e.Name(), Path: "/dev/" + e.Name(), Disk: d, Size: size * sectorSize})
		}
	}
	return parts, nil
}

// An Opener opens a block device for reading.
type Opener func(path string) (interface {
	io.ReaderAt
	io.Closer
}, error)

// A LabelFinder finds FAT filesystems by their label. A device that hangs is read by
// one goroutine only, however often it is looked for, and holds up nobody for longer
// than Limit. It is for one goroutine.
type LabelFinder struct {
	Sysfs, Label string
	Open         Opener        // nil: devices are opened as files
	Limit        time.Duration // for all answers together; 0 is 15 s, which disks need to spin up

	asked map[string]chan labelAnswer // devices that haven't answered yet, by path
}

type labelAnswer struct {
	label string
	err   error
}

// errNoAnswer says that a device hasn't answered in time.
var errNoAnswer = errors.New("it doesn't answer")

// Find returns the partitions, and whole disks without a partition table, that hold
// a FAT filesystem with the label; partitions first. A device that can't be read
// doesn't stop the search; its error is returned if nothing was found.
func (l *LabelFinder) Find(ctx context.Context) ([]Partition, error) {
	candidates, err := Partitions(l.Sysfs)
	if err != nil {
		return nil, err
	}
	disks, err := Scan(l.Sysfs)
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		candidates = append(candidates, Partition{Name: d.Name, Path: d.Path, Disk: d.Name, Size: d.Size})
	}
	for _, c := range candidates {
		l.ask(c.Path)
	}
	limit := l.Limit
	if limit == 0 {
		limit = 15 * time.Second
	}
	late, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	var found []Partition
	var failed error
	for _, c := range candidates {
		a := labelAnswer{err: errNoAnswer}
		select {
		case a = <-l.asked[c.Path]:
			delete(l.asked, c.Path)
		default:
			select {
			case a = <-l.asked[c.Path]:
				delete(l.asked, c.Path)
			case <-late.Done():
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case a.err == nil && a.label == l.Label:
			found = append(found, c)
		case a.err != nil && !errors.Is(a.err, ErrNotFAT):
			failed = errors.Join(failed, fmt.Errorf("cannot look for label %s on %s: %w", l.Label, c.Path, a.err))
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, failed
}

// FindLabel looks once; see LabelFinder.
func FindLabel(ctx context.Context, sysfs, label string, open Opener) ([]Partition, error) {
	l := LabelFinder{Sysfs: sysfs, Label: label, Open: open}
	return l.Find(ctx)
}

// Waiting tells whether some device hasn't answered yet. Find may be called again.
func (l *LabelFinder) Waiting() bool { return len(l.asked) > 0 }

// ask has a goroutine read a device's label, unless one does already.
func (l *LabelFinder) ask(path string) {
	if l.asked[path] != nil {
		return
	}
	if l.asked == nil {
		l.asked = map[string]chan labelAnswer{}
	}
	answer, open := make(chan labelAnswer, 1), l.Open
	l.asked[path] = answer
	go func() {
		if open == nil {
			open = func(path string) (interface {
				io.ReaderAt
				io.Closer
			}, error) {
				return os.Open(path)
			}
		}
		f, err := open(path)
		if err != nil {
			answer <- labelAnswer{err: err}
			return
		}
		defer f.Close()
		label, err := FATLabel(f)
		answer <- labelAnswer{label, err}
	}()
}

// BootDisks returns the kernel names of the disks that hold a partition with
// the label.
func BootDisks(parts []Partition) []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.Disk)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ErrNotFAT says that a device doesn't hold a FAT filesystem.
var ErrNotFAT = errors.New("not a FAT filesystem")

// maxRootDir bounds how much of a root directory is searched for the label:
// 512 entries is what FAT12/16 have, and mkfs puts the label first.
const maxRootDir = 512 * 32

// FATLabel reads the label of a FAT12, FAT16 or FAT32 filesystem: the root
// directory's entry, which is the one that every system changes, or else the
// boot sector's. It returns ErrNotFAT for anything else.
// Layout: Microsoft's "FAT: General Overview of On-Disk Format".
func FATLabel(r io.ReaderAt) (string, error) {
	var bs [512]byte
	if _, err := r.ReadAt(bs[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return "", ErrNotFAT
		}
		return "", err
	}
	le16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(bs[at:])) }
	le32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(bs[at:])) }

	bytesPerSector, perCluster := le16(11), int64(bs[13])
	reserved, fats, rootEntries := le16(14), int64(bs[16]), le16(17)
	if bs[510] != 0x55 || bs[511] != 0xaa || reserved == 0 || fats == 0 || fats > 2 ||
		!powerOfTwo(bytesPerSector, 512, 4096) || !powerOfTwo(perCluster, 1, 128) {
		return "", ErrNotFAT
	}
	// FAT32 has neither a fixed root directory nor a 16-bit FAT size.
	var root, rootSize int64
	var bootLabel []byte
	switch fatSize := le16(22); {
	case rootEntries == 0 && fatSize == 0 && string(bs[82:87]) == "FAT32":
		data := reserved + fats*le32(36)
		cluster := le32(44) & 0x0fffffff
		if cluster < 2 {
			return "", ErrNotFAT
		}
		root = (data + (cluster-2)*perCluster) * bytesPerSector
		rootSize = perCluster * bytesPerSector
		bootLabel = bs[71:82]
	case rootEntries != 0 && fatSize != 0 && string(bs[54:57]) == "FAT":
		root = (reserved + fats*fatSize) * bytesPerSector
		rootSize = rootEntries * 32
		bootLabel = bs[43:54]
	default:
		return "", ErrNotFAT
	}
	dir := make([]byte, min(rootSize, maxRootDir))
	if _, err := r.ReadAt(dir, root); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if l, ok := rootLabel(dir); ok {
		return l, nil
	}
	return trimLabel(bootLabel), nil
}

// rootLabel finds the volume label among directory entries of 32 bytes.
func rootLabel(dir []byte) (string, bool) {
	const attrAt, volumeID, longName = 11, 0x08, 0x0f
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		if dir[0] != 0xe5 && dir[attrAt]&0x3f != longName && dir[attrAt]&volumeID != 0 {
			return trimLabel(dir[:11]), true
		}
	}
	return "", false
}

func trimLabel(b []byte) string {
	s := string(bytes.TrimRight(b, " \x00"))
	if s == "NO NAME" {
		return ""
	}
	return s
}

func powerOfTwo(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }
