package iso

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"sanstick/imagebuild/stick"
)

// Parts of a FAT16 volume (Microsoft's FAT specification 1.03), in sectors, and of a directory entry, in bytes. A cluster
// is a sector.
const (
	fatSector, fatReserved, fatRoot = 512, 1, 32
	entrySize, entriesPerSector     = 32, fatSector / entrySize

	minFAT16, maxFAT16 = 4085, 65524 // clusters

	attrVolume, attrDirectory, attrArchive = 0x08, 0x10, 0x20
	fatEnd                                 = 0xffff

	fatDate = (2026-1980)<<9 | 1<<5 | 1 // 2026-01-01, like everything in an image
)

// fat16 makes a FAT16 volume that is as large as the files need. Firmware reads it, nobody writes to it. go-diskfs has
// one, too, with the time of day in it and a lost cluster.
func fat16(label string, serial uint32, files []stick.File) ([]byte, error) {
	root := &fatDir{}
	clusters := 0
	for _, f := range files {
		dir := root
		parts := strings.Split(f.Name, "/")
		for _, name := range parts[:len(parts)-1] {
			next, isNew, err := dir.sub(name)
			if err != nil {
				return nil, err
			}
			if dir = next; isNew {
				clusters++
			}
		}
		name, err := shortName(path.Base(f.Name))
		if err != nil {
			return nil, err
		}
		if len(f.Data) == 0 {
			return nil, fmt.Errorf("cannot put the empty file %s on the EFI volume", f.Name)
		}
		dir.nodes = append(dir.nodes, fatNode{name: name, data: f.Data})
		clusters += sectors(len(f.Data))
	}
	clusters = max(clusters, minFAT16)
	if clusters > maxFAT16 {
		return nil, fmt.Errorf("cannot make the EFI volume: %d sectors are too many", clusters)
	}
	table := sectors((clusters + 2) * 2)
	total := fatReserved + 2*table + fatRoot + clusters
	v := &fatVolume{image: make([]byte, total*fatSector), table: make([]uint16, clusters+2), data: (fatReserved + 2*table + fatRoot) * fatSector, next: 2}
	v.table[0], v.table[1] = 0xfff8, fatEnd
	rootAt := (fatReserved + 2*table) * fatSector
	entry := v.image[rootAt:]
	copy(entry, fmt.Sprintf("%-11s", label))
	entry[11] = attrVolume
	if err := v.fill(v.image[rootAt+entrySize:rootAt+fatSector*fatRoot], root, 0); err != nil {
		return nil, err
	}
	for i, e := range v.table {
		for n := range 2 {
			le.PutUint16(v.image[(fatReserved+n*table)*fatSector+2*i:], e)
		}
	}
	v.boot(label, serial, total, table)
	return v.image, nil
}

var le = binary.LittleEndian

func sectors(bytes int) int { return (bytes + fatSector - 1) / fatSector }

type fatDir struct{ nodes []fatNode }

type fatNode struct {
	name string // 11 bytes
	data []byte
	dir  *fatDir
}

// sub returns a directory in d, which is made if it isn't there.
func (d *fatDir) sub(name string) (dir *fatDir, isNew bool, err error) {
	short, err := shortName(name)
	if err != nil {
		return nil, false, err
	}
	if i := slices.IndexFunc(d.nodes, func(n fatNode) bool { return n.name == short && n.dir != nil }); i >= 0 {
		return d.nodes[i].dir, false, nil
	}
	dir = &fatDir{}
	d.nodes = append(d.nodes, fatNode{name: short, dir: dir})
	return dir, true, nil
}

// shortName is a name as a directory entry has it. There are no long ones here.
func shortName(name string) (string, error) {
	base, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || strings.ContainsAny(base+ext, ". +,;=[]\"*/:<>?\\|") {
		return "", fmt.Errorf("cannot use the name %q on the EFI volume: at most 8 letters, a dot and 3 more", name)
	}
	return fmt.Sprintf("%-8s%-3s", base, ext), nil
}

// fatVolume is a volume that is being written.
type fatVolume struct {
	image []byte
	table []uint16
	data  int // offset of cluster 2
	next  int // the next free cluster
}

// allocate takes clusters for n bytes, one behind the other, and returns the first and the space.
func (v *fatVolume) allocate(n int) (first int, space []byte) {
	first = v.next
	count := sectors(n)
	for c := first; c < first+count; c++ {
		v.table[c] = uint16(c + 1)
	}
	v.next += count
	v.table[v.next-1] = fatEnd
	at := v.data + (first-2)*fatSector
	return first, v.image[at : at+count*fatSector]
}

// fill writes the entries of a directory into space, and all that is below it. self is its first cluster, 0 for the root.
func (v *fatVolume) fill(space []byte, d *fatDir, self int) error {
	if len(d.nodes)*entrySize > len(space) {
		return fmt.Errorf("cannot make the EFI volume: %d files in a directory are too many", len(d.nodes))
	}
	for i, n := range d.nodes {
		e := space[i*entrySize:]
		if n.dir == nil {
			first, to := v.allocate(len(n.data))
			copy(to, n.data)
			putEntry(e, n.name, attrArchive, first, len(n.data))
			continue
		}
		first, to := v.allocate(fatSector)
		putEntry(e, n.name, attrDirectory, first, 0)
		putEntry(to, fmt.Sprintf("%-11s", "."), attrDirectory, first, 0)
		putEntry(to[entrySize:], fmt.Sprintf("%-11s", ".."), attrDirectory, self, 0)
		if err := v.fill(to[2*entrySize:], n.dir, first); err != nil {
			return err
		}
	}
	return nil
}

func putEntry(e []byte, name string, attr byte, first, size int) {
	copy(e, name)
	e[11] = attr
	for _, at := range []int{16, 18, 24} { // created, accessed, written
		le.PutUint16(e[at:], fatDate)
	}
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(size))
}

// boot writes the boot sector.
func (v *fatVolume) boot(label string, serial uint32, total, table int) {
	b := v.image
	copy(b, "\xeb\x3c\x90MSWIN4.1")
	le.PutUint16(b[11:], fatSector)
	b[13] = 1 // sectors in a cluster
	le.PutUint16(b[14:], fatReserved)
	b[16] = 2 // tables
	le.PutUint16(b[17:], fatRoot*entriesPerSector)
	if total < 1<<16 {
		le.PutUint16(b[19:], uint16(total))
	} else {
		le.PutUint32(b[32:], uint32(total))
	}
	b[21] = 0xf8
	le.PutUint16(b[22:], uint16(table))
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	b[36], b[38] = 0x80, 0x29
	le.PutUint32(b[39:], serial)
	copy(b[43:], fmt.Sprintf("%-11sFAT16   ", label))
	b[510], b[511] = 0x55, 0xaa
}
