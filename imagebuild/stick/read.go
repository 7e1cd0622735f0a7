package stick

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Bounds for what is read of a volume that somebody else has written to.
const (
	maxFile    = 1 << 30
	maxEntries = 10000
)

// BootFiles reads all files of the SANBOOT volume of an image or a stick.
func BootFiles(f *os.File) ([]File, error) {
	s, err := partition(file.New(f, true), bootPart)
	if err != nil {
		return nil, err
	}
	return readVolume(f, s)
}

// ConfigFiles reads all files of the SANSTICK volume of a disk. was tells whether the disk is a stick at all: one with a
// partition that is called so.
func ConfigFiles(f *os.File) (files []File, was bool, err error) {
	t, err := gpt.Read(file.New(f, true), sector, sector)
	if err != nil {
		return nil, false, nil // no table: no stick
	}
	for _, p := range t.Partitions {
		if p.Type == gpt.MicrosoftBasicData && strings.EqualFold(p.Name, ConfigLabel) {
			files, err = readVolume(f, span{p.GetStart(), p.GetSize()})
			return files, true, err
		}
	}
	return nil, false, nil
}

// readVolume reads the files of a volume.
func readVolume(f *os.File, s span) ([]File, error) {
	v, err := openVolume(f, s)
	if err != nil {
		return nil, err
	}
	if v.clusters < minClusters || int64(v.clusters)+2 > v.fatSize/4 {
		return nil, fmt.Errorf("cannot read the volume: its tables don't fit its size")
	}
	r := &reader{volume: v}
	if err := r.directory(le.Uint32(v.boot[bpbRootCluster:]), "", 0); err != nil {
		return nil, err
	}
	return r.files, nil
}

// reader walks a FAT32 volume. It follows no chain further than the volume has clusters.
type reader struct {
	*volume
	files   []File
	entries int
}

// chain reads at most limit bytes of a chain of clusters.
func (r *reader) chain(cluster uint32, limit int64) ([]byte, error) {
	var out []byte
	for c := cluster; int64(len(out)) < limit && c < endOfChain; c = r.entry(c) {
		if c < 2 || c >= r.clusters+2 || int64(len(out)) > int64(r.clusters)*r.cluster {
			return nil, fmt.Errorf("cannot follow a chain of clusters: bad cluster %d", c)
		}
		at := len(out)
		out = append(out, make([]byte, r.cluster)...)
		if _, err := r.f.ReadAt(out[at:], r.data+int64(c-2)*r.cluster); err != nil && err != io.EOF {
			return nil, fmt.Errorf("cannot read the volume: %w", err)
		}
	}
	return out, nil
}

func (r *reader) directory(cluster uint32, dir string, depth int) error {
	if depth > 8 {
		return fmt.Errorf("cannot read %s: more than 8 levels of directories", dir)
	}
	data, err := r.chain(cluster, maxEntries*entrySize)
	if err != nil {
		return fmt.Errorf("cannot read directory /%s: %w", dir, err)
	}
	long := ""
	for at := 0; at+entrySize <= len(data) && data[at] != 0; at += entrySize {
		e := data[at : at+entrySize]
		if r.entries++; r.entries > maxEntries {
			return fmt.Errorf("cannot read the volume: more than %d files", maxEntries)
		}
		attr := e[entryAttr]
		switch {
		case e[0] == entryDeleted:
			long = ""
			continue
		case attr&0x3f == attrLongName:
			if e[0]&0x40 != 0 {
				long = ""
			}
			long = longPart(e) + long
			continue
		}
		name := long
		if long = ""; name == "" {
			name = shortName(e)
		}
		if attr&attrVolume != 0 || name == "." || name == ".." {
			continue
		}
		if err := r.one(e, path.Join(dir, name), depth); err != nil {
			return err
		}
	}
	return nil
}

// one reads a file, or what is in a directory.
func (r *reader) one(e []byte, name string, depth int) error {
	first := uint32(le.Uint16(e[entryClusterHigh:]))<<16 | uint32(le.Uint16(e[entryClusterLow:]))
	if e[entryAttr]&attrDirectory != 0 {
		return r.directory(first, name, depth+1)
	}
	size := int64(le.Uint32(e[entryFileSize:]))
	if size > maxFile {
		return fmt.Errorf("cannot read %s: it has %d bytes", name, size)
	}
	var data []byte
	if size > 0 {
		var err error
		if data, err = r.chain(first, size); err != nil {
			return fmt.Errorf("cannot read %s: %w", name, err)
		}
		if int64(len(data)) < size {
			return fmt.Errorf("cannot read %s: it ends after %d of %d bytes", name, len(data), size)
		}
		data = data[:size]
	}
	r.files = append(r.files, File{Name: name, Data: data})
	return nil
}

// longPart is the part of a long name in a directory entry.
func longPart(e []byte) string {
	var units []uint16
	for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for at := r[0]; at < r[1]; at += 2 {
			u := le.Uint16(e[at:])
			if u == 0 {
				return string(utf16.Decode(units))
			}
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}

// shortName is the name in a directory entry. Two bits say which half of it is in lower case.
func shortName(e []byte) string {
	base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return base
}
