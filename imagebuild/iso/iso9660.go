package iso

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"sanstick/imagebuild/stick"
)

const (
	block = 2048

	// Where things lie, in blocks. The system area before them has the boot code and the partition table.
	pvdBlock, bootBlock, endBlock, catalogBlock, littleTable, bigTable, firstDir = 16, 17, 18, 19, 20, 21, 22
)

// layout is where each file and directory of an ISO 9660 volume lies (ECMA-119). Names are upper case there, without
// extensions to the format; GRUB and Linux show them in lower case.
type layout struct {
	dirs   []string // "" is the root; parents before children, siblings sorted
	files  []stick.File
	extent map[string]int // of files and directories, in blocks
	blocks int            // in all
}

// plan gives each directory a block and each file the blocks it needs, in the order of files.
func plan(files []stick.File) (*layout, error) {
	l := &layout{files: files, extent: make(map[string]int), dirs: []string{""}}
	for _, f := range files {
		for d := dirOf(f.Name); d != "" && !slices.Contains(l.dirs, d); d = dirOf(d) {
			l.dirs = append(l.dirs, d)
		}
	}
	slices.SortFunc(l.dirs, func(a, b string) int {
		if n := depth(a) - depth(b); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	at := firstDir
	for _, d := range l.dirs {
		l.extent[d] = at
		at++
	}
	for _, f := range files {
		if _, dup := l.extent[f.Name]; dup {
			return nil, fmt.Errorf("cannot put %s on the volume twice", f.Name)
		}
		l.extent[f.Name] = at
		at += (len(f.Data) + block - 1) / block
	}
	l.blocks = at
	return l, nil
}

func dirOf(name string) string {
	if d := path.Dir(name); d != "." {
		return d
	}
	return ""
}

func depth(dir string) int {
	if dir == "" {
		return 0
	}
	return 1 + strings.Count(dir, "/")
}

// date is 2026-01-01 00:00 UTC in a directory record, and fullDate in a descriptor.
var date = [7]byte{126, 1, 1}

const fullDate, noDate = "2026010100000000\x00", "0000000000000000\x00"

// record is a directory record (9.1).
func record(id string, extent, size int, dir bool) []byte {
	n := 33 + len(id)
	n += n % 2
	r := make([]byte, n)
	r[0] = byte(n)
	both32(r[2:], extent)
	both32(r[10:], size)
	copy(r[18:], date[:])
	if dir {
		r[25] = 2
	}
	both16(r[28:], 1)
	r[32] = byte(len(id))
	copy(r[33:], id)
	return r
}

// directory is the content of a directory: itself, its parent, and its entries by name.
func (l *layout) directory(dir string) ([]byte, error) {
	out := record("\x00", l.extent[dir], block, true)
	out = append(out, record("\x01", l.extent[dirOf(dir)], block, true)...)
	type entry struct {
		id     string
		record []byte
	}
	var entries []entry
	for _, d := range l.dirs[1:] {
		if dirOf(d) == dir {
			id := strings.ToUpper(path.Base(d))
			entries = append(entries, entry{id, record(id, l.extent[d], block, true)})
		}
	}
	for _, f := range l.files {
		if dirOf(f.Name) == dir {
			id := strings.ToUpper(path.Base(f.Name))
			if !strings.Contains(id, ".") {
				id += "."
			}
			id += ";1"
			entries = append(entries, entry{id, record(id, l.extent[f.Name], len(f.Data), false)})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.id, b.id) })
	for _, e := range entries {
		out = append(out, e.record...)
	}
	if len(out) > block {
		return nil, fmt.Errorf("cannot put so many files into %q: its directory has %d bytes", dir, len(out))
	}
	return append(out, make([]byte, block-len(out))...), nil
}

// pathTable lists the directories (9.4).
func (l *layout) pathTable(order binary.AppendByteOrder) []byte {
	var out []byte
	for _, d := range l.dirs {
		id := strings.ToUpper(path.Base(d))
		if d == "" {
			id = "\x00"
		}
		out = append(out, byte(len(id)), 0)
		out = order.AppendUint32(out, uint32(l.extent[d]))
		out = order.AppendUint16(out, uint16(slices.Index(l.dirs, dirOf(d))+1))
		out = append(out, id...)
		if len(id)%2 == 1 {
			out = append(out, 0)
		}
	}
	return out
}

// primary is the primary volume descriptor (8.4).
func (l *layout) primary(label string) []byte {
	b := descriptor(1)
	copy(b[8:], strings.Repeat(" ", 64))
	copy(b[40:], label)
	both32(b[80:], l.blocks)
	both16(b[120:], 1)
	both16(b[124:], 1)
	both16(b[128:], block)
	both32(b[132:], len(l.pathTable(binary.LittleEndian)))
	binary.LittleEndian.PutUint32(b[140:], littleTable)
	binary.BigEndian.PutUint32(b[148:], bigTable)
	copy(b[156:], record("\x00", l.extent[""], block, true))
	copy(b[190:], strings.Repeat(" ", 813-190))
	copy(b[813:], fullDate+fullDate+noDate+noDate)
	b[881] = 1
	return b
}

func descriptor(kind byte) []byte {
	b := make([]byte, block)
	b[0] = kind
	copy(b[1:], "CD001\x01")
	return b
}

func both16(b []byte, v int) {
	binary.LittleEndian.PutUint16(b, uint16(v))
	binary.BigEndian.PutUint16(b[2:], uint16(v))
}

func both32(b []byte, v int) {
	binary.LittleEndian.PutUint32(b, uint32(v))
	binary.BigEndian.PutUint32(b[4:], uint32(v))
}
