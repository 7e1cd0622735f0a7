// Package image reads disk images: raw, qcow2, VMDK, VHDX and VHD, and raw
// ones in gzip, zstd or xz. An image is untrusted: lengths are checked before
// memory is allocated, tables are read piece by piece, and no file is opened
// that the image names, save an extent of a VMDK in the same directory.
//
// An image that needs another one below it (a backing file, a parent) is
// refused, as is everything that isn't understood to the last bit.
package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Formats.
const (
	Raw   = "raw"
	QCOW2 = "qcow2"
	VMDK  = "vmdk"
	VHDX  = "vhdx"
	VHD   = "vhd"
)

// Formats lists the formats that Open reads.
func Formats() []string { return []string{Raw, QCOW2, VMDK, VHDX, VHD} }

// An Image is what a disk image stands for: the disk's content. Methods are
// for one goroutine at a time.
type Image interface {
	// Format is one of the formats above.
	Format() string
	// Size is the disk's size in bytes, a multiple of 512 unless the image
	// is raw.
	Size() int64
	// Extent tells what begins at off, which is below Size: n bytes of
	// the same kind, at least 1 and never beyond Size. Zero means they are
	// known to be zeros without being read.
	Extent(off int64) (n int64, zero bool, err error)
	// ReadAt reads the disk's content. Ranges within Size only.
	io.ReaderAt
}

// A File is what an image lies in.
type File interface {
	io.ReaderAt
	Size() int64
}

// An Opener opens a file beside the image by its bare name.
type Opener func(name string) (File, error)

// A FormatError says that an image can't be read, and why.
type FormatError struct {
	Format string
	Why    string
}

func (e *FormatError) Error() string { return e.Format + " image: " + e.Why }

func bad(format, why string, args ...any) error {
	return &FormatError{Format: format, Why: fmt.Sprintf(why, args...)}
}

// maxSize bounds the disk's size; it keeps sums of offsets from overflowing.
const maxSize = 1 << 56

// sniffLen is how much of a file's beginning tells its format.
const sniffLen = 512

// Open reads the tables of an image. An empty format means to find it out by
// the magic numbers; name is the file's name, by which alone a fixed VHD can be
// told from a raw image. sibling may be nil.
func Open(f File, name, format string, sibling Opener) (Image, error) {
	if format == "" {
		head := make([]byte, sniffLen)
		n, err := f.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("cannot read image: %w", err)
		}
		format = Sniff(head[:n])
		switch {
		case format == textVMDK && f.Size() > maxDescriptor:
			format = Raw
		case format == textVMDK:
			format = VMDK
		case format == "" && strings.HasSuffix(strings.ToLower(name), ".vhd"):
			format = VHD
		case format == "":
			format = Raw
		}
	}
	switch format {
	case Raw:
		return openRaw(f)
	case QCOW2:
		return openQCOW2(f)
	case VMDK:
		return openVMDK(f, sibling)
	case VHDX:
		return openVHDX(f)
	case VHD:
		return openVHD(f)
	}
	if isCompression(format) || format == Stream {
		return nil, fmt.Errorf("%s can only be read from its beginning to its end", format)
	}
	return nil, fmt.Errorf("%q is no format; there are %s", format, strings.Join(Formats(), ", "))
}

// textVMDK is what Sniff says of a text file that describes a VMDK.
const textVMDK = "vmdk descriptor"

// magics are how files begin.
var magics = [...]struct{ magic, format string }{
	{"QFI\xfb", QCOW2},
	{"KDMV", VMDK},
	{"COWD", VMDK},
	{"# Disk DescriptorFile", textVMDK},
	{"vhdxfile", VHDX},
	{"conectix", VHD},
	{"sanstrm1", Stream},
	{"\x1f\x8b", Gzip},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"\xfd7zXZ\x00", XZ},
}

// Sniff tells the format by a file's first bytes: one of the formats, a
// compression, or "" if it is none that is known, hence raw.
func Sniff(head []byte) string {
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.magic) {
			return m.format
		}
	}
	return ""
}

// readFull reads a piece of an image's file, which must be there wholly.
func readFull(f File, format, what string, p []byte, off int64) error {
	if off < 0 || off > f.Size() || int64(len(p)) > f.Size()-off {
		return bad(format, "%s at byte %d lies beyond the end of the file (%d bytes): it is truncated or damaged", what, off, f.Size())
	}
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read %s of %s image: %w", what, format, err)
}

// checkRange is what each ReadAt begins with.
func checkRange(i Image, p []byte, off int64) error {
	if off < 0 || off > i.Size() || int64(len(p)) > i.Size()-off {
		return fmt.Errorf("read of %d bytes at %d is beyond the image's %d", len(p), off, i.Size())
	}
	return nil
}

// tables keeps a few tables of an image in memory.
type tables struct {
	most  int
	order []int64
	kept  map[int64][]byte
}

// tableMemory is how much all kept tables may take.
const tableMemory = 4 << 20

func newTables(size int64) *tables {
	return &tables{most: int(max(2, min(64, tableMemory/size))), kept: map[int64][]byte{}}
}

// get returns the table at off, read by load if it isn't kept.
func (t *tables) get(off int64, load func() ([]byte, error)) ([]byte, error) {
	if b, ok := t.kept[off]; ok {
		return b, nil
	}
	b, err := load()
	if err != nil {
		return nil, err
	}
	if len(t.order) >= t.most {
		delete(t.kept, t.order[0])
		t.order = t.order[1:]
	}
	t.order = append(t.order, off)
	t.kept[off] = b
	return b, nil
}

var le, be = binary.LittleEndian, binary.BigEndian

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }
