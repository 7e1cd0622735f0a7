package pool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"sanstick/appliance/sys"
)

// The stamp lies in the first 4 KiB, behind the four sectors where LVM keeps
// its label and before LVM's metadata area: bytes that LVM never uses.
const (
	stampOffset = 2048
	stampSize   = 512
	stampBlock  = 4096    // what is read and written at once: fits any disk's blocks
	stampReset  = 1 << 20 // what LVM's unfinished label and metadata may take
	stampMagic  = "sanstick is creating a pool here\n"
)

// A Stamp says that a disk was blank when we started to make it part of a
// pool, and that the pool isn't finished.
type Stamp struct {
	Pool string
	Disk string // its serial number or WWN: a copy on another disk counts for nothing
}

var errNoStamp = errors.New("no stamp")

// encode writes the stamp: magic, "pool\ndisk\n", zeros, and a CRC-32 over all
// of that in the last four bytes.
func (s Stamp) encode() ([]byte, error) {
	text := stampMagic + s.Pool + "\n" + s.Disk + "\n"
	if len(text) > stampSize-4 || strings.Count(text, "\n") != 3 {
		return nil, fmt.Errorf("cannot stamp disk %q for pool %q: bad name", s.Disk, s.Pool)
	}
	b := make([]byte, stampSize)
	copy(b, text)
	binary.LittleEndian.PutUint32(b[stampSize-4:], crc32.ChecksumIEEE(b[:stampSize-4]))
	return b, nil
}

// decodeStamp reads a stamp; anything else is errNoStamp.
func decodeStamp(b []byte) (Stamp, error) {
	if len(b) != stampSize || !strings.HasPrefix(string(b), stampMagic) ||
		binary.LittleEndian.Uint32(b[stampSize-4:]) != crc32.ChecksumIEEE(b[:stampSize-4]) {
		return Stamp{}, errNoStamp
	}
	lines := strings.Split(strings.TrimRight(string(b[len(stampMagic):stampSize-4]), "\x00"), "\n")
	if len(lines) != 3 || lines[2] != "" {
		return Stamp{}, errNoStamp
	}
	return Stamp{Pool: lines[0], Disk: lines[1]}, nil
}

// readStamp reads a disk's stamp, or errNoStamp. Before it there may be nothing
// but LVM's label, in the second sector: a partition table or a filesystem has
// come later than the stamp, and is somebody's.
func readStamp(r io.ReaderAt) (Stamp, error) {
	block := sys.AlignedBuffer(stampBlock)
	if _, err := r.ReadAt(block, 0); err != nil {
		return Stamp{}, err
	}
	for _, b := range append(block[:512:512], block[1024:stampOffset]...) {
		if b != 0 {
			return Stamp{}, errNoStamp
		}
	}
	return decodeStamp(block[stampOffset:][:stampSize])
}

// writeStamp puts the stamp on a disk that was found blank. With reset the
// disk has a stamp, and whatever LVM left in the first MiB is zeroed; the
// stamp is there all the time.
func writeStamp(d Device, s Stamp, reset bool) error {
	enc, err := s.encode()
	if err != nil {
		return err
	}
	if reset {
		zeros := sys.AlignedBuffer(stampReset - stampBlock)
		if _, err := d.WriteAt(zeros, stampBlock); err != nil {
			return err
		}
		if err := d.Sync(); err != nil {
			return err
		}
	}
	block := sys.AlignedBuffer(stampBlock)
	copy(block[stampOffset:], enc)
	if _, err := d.WriteAt(block, 0); err != nil {
		return err
	}
	return d.Sync()
}

// clearStamp removes a stamp and leaves everything around it as it is. A
// disk without one isn't written to.
func clearStamp(d Device) error {
	block := sys.AlignedBuffer(stampBlock)
	if _, err := d.ReadAt(block, 0); err != nil {
		return err
	}
	stamp := block[stampOffset:][:stampSize]
	if _, err := decodeStamp(stamp); err != nil {
		return nil
	}
	clear(stamp)
	if _, err := d.WriteAt(block, 0); err != nil {
		return err
	}
	return d.Sync()
}
