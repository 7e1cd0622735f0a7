package iso

import (
	"fmt"
	"io"
	"path"
	"strings"

	"sanstick/imagebuild/stick"
)

// Bounds for what is read of an image that may be damaged.
const (
	maxDepth   = 8
	maxEntries = 10000
	maxDir     = 1 << 20
	maxFile    = 1 << 30
)

// Is tells whether there is an ISO 9660 volume in f.
func Is(f io.ReaderAt) bool {
	b := make([]byte, 6)
	_, err := f.ReadAt(b, pvdBlock*block)
	return err == nil && string(b) == "\x01CD001"
}

// EFIImage is the file in which the EFI volume lies.
const EFIImage = efiImage

// Files reads all files of an ISO image of ours, and those of its EFI volume. The names are in lower case.
func Files(f io.ReaderAt) (files, efi []stick.File, err error) {
	b := make([]byte, block)
	if _, err := f.ReadAt(b, pvdBlock*block); err != nil {
		return nil, nil, fmt.Errorf("cannot read the ISO volume: %w", err)
	}
	if !Is(f) || int(le.Uint16(b[128:])) != block {
		return nil, nil, fmt.Errorf("cannot read the ISO volume: it isn't one of ours")
	}
	r := &reader{f: f, blocks: int64(le.Uint32(b[80:]))}
	if err := r.directory(b[156:], "", 0); err != nil {
		return nil, nil, err
	}
	for _, file := range r.files {
		if file.Name == efiImage {
			efi, err = readFAT16(file.Data)
			return r.files, efi, err
		}
	}
	return nil, nil, fmt.Errorf("cannot read the EFI volume: there is no %s", efiImage)
}

type reader struct {
	f       io.ReaderAt
	blocks  int64
	files   []stick.File
	entries int
}

// extent reads what a directory record stands for.
func (r *reader) extent(record []byte, limit int64) ([]byte, error) {
	at, size := int64(le.Uint32(record[2:])), int64(le.Uint32(record[10:]))
	if size > limit || at+(size+block-1)/block > r.blocks {
		return nil, fmt.Errorf("%d bytes at block %d of %d", size, at, r.blocks)
	}
	// In parts, so that a wrong size can't take more memory than there is to read.
	var out []byte
	for int64(len(out)) < size {
		part := make([]byte, min(size-int64(len(out)), 1<<20))
		if n, err := r.f.ReadAt(part, at*block+int64(len(out))); n < len(part) {
			return nil, fmt.Errorf("it ends after %d of %d bytes: %w", len(out)+n, size, err)
		}
		out = append(out, part...)
	}
	return out, nil
}

func (r *reader) directory(record []byte, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("cannot read %s: more than %d levels of directories", dir, maxDepth)
	}
	data, err := r.extent(record, maxDir)
	if err != nil {
		return fmt.Errorf("cannot read directory /%s: %w", dir, err)
	}
	for at := 0; at < len(data); {
		n := int(data[at])
		if n == 0 { // records don't cross blocks
			at = (at/block + 1) * block
			continue
		}
		if n < 34 || at+n > len(data) || 33+int(data[at+32]) > n {
			return fmt.Errorf("cannot read directory /%s: bad record at %d", dir, at)
		}
		if r.entries++; r.entries > maxEntries {
			return fmt.Errorf("cannot read the ISO volume: more than %d files", maxEntries)
		}
		e := data[at : at+n]
		at += n
		id := string(e[33 : 33+int(e[32])])
		if id == "\x00" || id == "\x01" { // the directory and its parent
			continue
		}
		id, _, _ = strings.Cut(id, ";")
		name := path.Join(dir, strings.ToLower(strings.TrimSuffix(id, ".")))
		if e[25]&2 != 0 {
			if err := r.directory(e, name, depth+1); err != nil {
				return err
			}
			continue
		}
		content, err := r.extent(e, maxFile)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", name, err)
		}
		r.files = append(r.files, stick.File{Name: name, Data: content})
	}
	return nil
}

// fatReader walks a FAT16 volume.
type fatReader struct {
	image            []byte
	table            []byte
	data, cluster    int // where cluster 2 is, and bytes in a cluster
	clusters, visits int
	files            []stick.File
}

// readFAT16 reads the files of a FAT16 volume that has short names only.
func readFAT16(b []byte) ([]stick.File, error) {
	bad := func(what string) error { return fmt.Errorf("cannot read the EFI volume: %s", what) }
	if len(b) < fatSector || le.Uint16(b[11:]) != fatSector {
		return nil, bad("it is no FAT with sectors of 512 bytes")
	}
	reserved, tables, rootSize := int(le.Uint16(b[14:]))*fatSector, int(b[16]), int(le.Uint16(b[17:]))*entrySize
	tableSize := int(le.Uint16(b[22:])) * fatSector
	r := &fatReader{image: b, cluster: int(b[13]) * fatSector}
	root := reserved + tables*tableSize
	r.data = root + rootSize
	if reserved == 0 || tables == 0 || r.cluster == 0 || r.data > len(b) {
		return nil, bad("its parts don't fit its size")
	}
	r.table = b[reserved : reserved+tableSize]
	r.clusters = min((len(b)-r.data)/r.cluster, tableSize/2-2)
	if err := r.directory(b[root:r.data], "", 0); err != nil {
		return nil, bad(err.Error())
	}
	return r.files, nil
}

// chain reads a chain of clusters. No more is visited in all than a volume of that size has, a few times over.
func (r *fatReader) chain(first int) ([]byte, error) {
	var out []byte
	for c := first; c < 0xfff8; c = int(le.Uint16(r.table[2*c:])) {
		r.visits++
		if c < 2 || c >= r.clusters+2 || r.visits > 4*r.clusters {
			return nil, fmt.Errorf("bad cluster %d", c)
		}
		at := r.data + (c-2)*r.cluster
		out = append(out, r.image[at:at+r.cluster]...)
	}
	return out, nil
}

func (r *fatReader) directory(data []byte, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels of directories", maxDepth)
	}
	for at := 0; at+entrySize <= len(data) && data[at] != 0; at += entrySize {
		e := data[at : at+entrySize]
		if e[0] == 0xe5 || e[0] == '.' || e[11]&attrVolume != 0 {
			continue
		}
		name := strings.TrimRight(string(e[:8]), " ")
		if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
			name += "." + ext
		}
		name = path.Join(dir, strings.ToLower(name))
		content, err := r.chain(int(le.Uint16(e[26:])))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if e[11]&attrDirectory != 0 {
			if err := r.directory(content, name, depth+1); err != nil {
				return err
			}
			continue
		}
		size := int(le.Uint32(e[28:]))
		if size > len(content) {
			return fmt.Errorf("%s ends after %d of %d bytes", name, len(content), size)
		}
		r.files = append(r.files, stick.File{Name: name, Data: content[:size]})
	}
	return nil
}
