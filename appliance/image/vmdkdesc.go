package image

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxDescriptor bounds the text that describes a VMDK.
const maxDescriptor = 1 << 20

// maxExtents bounds how many files make one VMDK: 2 TiB in pieces of 2 GiB,
// and then some.
const maxExtents = 4096

// vmdk is a disk made of extents, one after another.
type vmdk struct {
	size    int64
	extents []vmdkExtent
}

type vmdkExtent struct {
	begin, size int64
	image       Image // nil: zeros
	from        int64 // of the image
}

func openVMDK(f File, sibling Opener) (Image, error) {
	head := make([]byte, 21)
	if err := readFull(f, VMDK, "header", head[:4], 0); err != nil {
		return nil, err
	}
	switch string(head[:4]) {
	case "COWD":
		return nil, bad(VMDK, "sparse extents of ESX (COWD) aren't read; export the VM as OVF, or convert with vmkfstools -i")
	case "KDMV":
		x, text, err := openSparse(f)
		if err != nil || text == nil {
			return x, err
		}
		text, _, _ = bytes.Cut(text, []byte{0})
		d, err := parseDescriptor(string(text))
		switch {
		case err != nil:
			return nil, err
		case len(d.extents) == 1 && d.extents[0].kind == "SPARSE":
			return x, nil
		}
		return nil, bad(VMDK, "it describes %d extents, and is one itself; that isn't known", len(d.extents))
	}
	if f.Size() > maxDescriptor {
		return nil, bad(VMDK, "it neither begins as a sparse one nor is a short description")
	}
	text := make([]byte, f.Size())
	if err := readFull(f, VMDK, "description", text, 0); err != nil {
		return nil, err
	}
	d, err := parseDescriptor(string(text))
	if err != nil {
		return nil, err
	}
	return d.open(sibling)
}

// descriptor is the text that describes a VMDK.
type descriptor struct {
	createType string
	extents    []extentLine
}

// extentLine is a line like: RW 4192256 SPARSE "disk-s001.vmdk" 0
type extentLine struct {
	sectors int64
	kind    string
	file    string
	offset  int64 // sectors
}

var (
	extentPattern = regexp.MustCompile(`^(RW|RDONLY|NOACCESS)\s+(\d+)\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d+))?)?`)
	keyPattern    = regexp.MustCompile(`^(\w+)\s*=\s*"?([^"]*)"?$`)
)

func parseDescriptor(text string) (descriptor, error) {
	var d descriptor
	var total int64
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := extentPattern.FindStringSubmatch(line); m != nil {
			x := extentLine{kind: m[3], file: m[4]}
			var err error
			if x.sectors, err = strconv.ParseInt(m[2], 10, 64); err == nil && m[5] != "" {
				x.offset, err = strconv.ParseInt(m[5], 10, 64)
			}
			if total += x.sectors; err != nil || x.sectors <= 0 || x.sectors > maxSize/512 || total > maxSize/512 || x.offset > maxSize/512 {
				return d, bad(VMDK, "an extent is described as %q, which is not allowed", line)
			}
			if d.extents = append(d.extents, x); len(d.extents) > maxExtents {
				return d, bad(VMDK, "it has more than %d extents", maxExtents)
			}
			continue
		}
		m := keyPattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		switch strings.ToLower(m[1]) {
		case "createtype":
			d.createType = m[2]
		case "parentcid":
			if strings.ToLower(m[2]) != "ffffffff" {
				return d, bad(VMDK, "it holds only what differs from a parent: consolidate the VM's snapshots, or export the VM, and import the result")
			}
		}
	}
	if len(d.extents) == 0 {
		return d, bad(VMDK, "it describes no extents")
	}
	return d, nil
}

// open opens the extents, which must lie beside the description.
func (d descriptor) open(sibling Opener) (Image, error) {
	v := &vmdk{}
	for _, x := range d.extents {
		e := vmdkExtent{begin: v.size, size: x.sectors * 512, from: x.offset * 512}
		v.size += e.size
		if x.kind == "ZERO" {
			v.extents = append(v.extents, e)
			continue
		}
		if sibling == nil {
			return nil, bad(VMDK, "its data is in other files (%q), which can't be reached from here; import it by its file name or URL", x.file)
		}
		if x.file == "" || x.file != path.Base(x.file) || strings.ContainsAny(x.file, "/\\\x00") || x.file == "." || x.file == ".." {
			return nil, bad(VMDK, "its extent %q is not beside it; put all its files into one directory, and their bare names into it", x.file)
		}
		f, err := sibling(x.file)
		if err != nil {
			return nil, fmt.Errorf("cannot open extent %s of VMDK image: %w", x.file, err)
		}
		switch x.kind {
		case "SPARSE":
			e.image, _, err = openSparse(f)
		case "FLAT", "VMFS": // an exported VMFS extent is as flat as the other
			e.image, err = openRaw(f)
		default:
			err = bad(VMDK, "extents of type %s aren't read; export the VM as OVF, or convert it with qemu-img or vmkfstools", x.kind)
		}
		if err != nil {
			return nil, err
		}
		if have := e.image.Size(); e.from > have || e.size > have-e.from {
			return nil, bad(VMDK, "extent %s has %d bytes instead of %d: it is truncated", x.file, have, e.from+e.size)
		}
		v.extents = append(v.extents, e)
	}
	return v, nil
}

func (v *vmdk) Format() string { return VMDK }
func (v *vmdk) Size() int64    { return v.size }

// at finds the extent that off lies in. There are few.
func (v *vmdk) at(off int64) vmdkExtent {
	for _, e := range v.extents {
		if off < e.begin+e.size {
			return e
		}
	}
	return v.extents[len(v.extents)-1]
}

func (v *vmdk) Extent(off int64) (int64, bool, error) {
	e := v.at(off)
	rest := e.begin + e.size - off
	if e.image == nil {
		return rest, true, nil
	}
	n, zero, err := e.image.Extent(off - e.begin + e.from)
	return min(n, rest), zero, err
}

func (v *vmdk) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(v, p, off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		e := v.at(at)
		part := p[n:min(int64(len(p)), int64(n)+e.begin+e.size-at)]
		if e.image == nil {
			clear(part)
		} else if _, err := e.image.ReadAt(part, at-e.begin+e.from); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}
