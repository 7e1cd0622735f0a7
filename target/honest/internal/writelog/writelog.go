// Package writelog reads the log of a block device's writes that QEMU's
// blklogwrites and Linux's dm-log-writes make, and rebuilds from it what the
// disk holds after the power has gone.
//
// The log is a superblock and then the entries: a header of one sector, and
// the data of a write. Numbers are little-endian. The order is that in which
// the disk below was done with each.
package writelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flags say what an entry is. Without any it is a write.
type Flags uint64

const (
	Flush   Flags = 1 << iota // all that comes before is on stable storage
	FUA                       // so is what the entry writes
	Discard                   // there is no data: the range holds nothing of worth
	Mark                      // there is text in place of data
	metadata

	known = Flush | FUA | Discard | Mark | metadata
)

const (
	magic      = 0x6a736677736872
	version    = 1
	headerSize = 32
	superSize  = 28
	minSector  = 512
	maxSector  = 64 << 10
)

// Entry is one request that the disk has done. Offsets and lengths are bytes.
type Entry struct {
	Flags    Flags
	Off, Len int64 // on the disk
	Data     int64 // where in the log the data is that was written; 0 if there is none
	End      int64 // where in the log the entry ends
}

// Log is a log that has been read, but for the data of the entries.
type Log struct {
	r       io.ReaderAt
	Start   int64 // where in the log the first entry begins
	Entries []Entry
}

// ErrCut is wrapped by what Read returns if the last entry isn't whole.
var ErrCut = errors.New("the log ends within an entry")

// Read reads a log of size bytes, of the writes to a disk of so many. It finds
// the entries by itself: the superblock's number of them is brought up to date
// only now and then.
func Read(r io.ReaderAt, size, disk int64) (*Log, error) {
	var super [superSize]byte
	if size < superSize {
		return nil, fmt.Errorf("cannot read a write log: %d bytes have no superblock", size)
	}
	if _, err := r.ReadAt(super[:], 0); err != nil {
		return nil, fmt.Errorf("cannot read a write log: %w", err)
	}
	if m, v := binary.LittleEndian.Uint64(super[:]), binary.LittleEndian.Uint64(super[8:]); m != magic || v != version {
		return nil, fmt.Errorf("cannot read a write log: magic number %#x, version %d", m, v)
	}
	sector := int64(binary.LittleEndian.Uint32(super[24:]))
	if sector < minSector || sector > maxSector || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("cannot read a write log: sectors of %d bytes", sector)
	}
	l := &Log{r: r, Start: sector}
	for at := sector; at < size; {
		e, err := readEntry(r, at, size, sector, disk)
		if err != nil {
			return nil, fmt.Errorf("cannot read entry %d of a write log, at byte %d: %w", len(l.Entries), at, err)
		}
		l.Entries = append(l.Entries, e)
		at = e.End
	}
	return l, nil
}

func readEntry(r io.ReaderAt, at, size, sector, disk int64) (Entry, error) {
	var b [headerSize]byte
	if size-at < sector {
		return Entry{}, ErrCut
	}
	if _, err := r.ReadAt(b[:], at); err != nil {
		return Entry{}, err
	}
	first, count := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	e := Entry{Flags: Flags(binary.LittleEndian.Uint64(b[16:])), End: at + sector}
	text := binary.LittleEndian.Uint64(b[24:])
	sectors := uint64(disk / sector)
	switch {
	case e.Flags&^known != 0:
		return Entry{}, fmt.Errorf("unknown flags %#x", uint64(e.Flags))
	case first > sectors || count > sectors-first:
		return Entry{}, fmt.Errorf("sectors %d+%d of %d", first, count, sectors)
	case e.Flags == 0 && count == 0: // the log has a hole
		return Entry{}, errors.New("nothing is written")
	case e.Flags&Mark != 0 && (count != 0 || text > uint64(sector-headerSize)):
		return Entry{}, fmt.Errorf("a mark of %d bytes, for %d sectors", text, count)
	}
	e.Off, e.Len = int64(first)*sector, int64(count)*sector
	if e.Flags&(Discard|Mark) == 0 && count > 0 {
		e.Data = e.End
		if e.Len > size-e.End {
			return Entry{}, ErrCut
		}
		e.End += e.Len
	}
	return e, nil
}
