package gpt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

// A Partition is an entry of a table.
type Partition struct {
	Number      int   // from 1
	Start, Size int64 // bytes
	// Room is how large it can become before the next partition, or the end of what the table may use.
	Room int64
}

// Restore writes the first copy of the table anew from the one at the end of the disk, if the first isn't valid and that
// one is. That is what a power cut during Resize leaves. It is only for a disk of which nothing else is expected.
func Restore(d Disk) (restored bool, err error) {
	g := gpt{d: d, lba: 512}
	if d.Size() < 8*g.lba {
		return false, nil
	}
	if _, why, err := g.header(1); err != nil || why == "" {
		return false, err
	}
	last := d.Size()/g.lba - 1
	backup, why, err := g.header(last)
	if err != nil || why != "" {
		return false, err
	}
	const entriesAt = 2
	if err := g.write(backup.entries, entriesAt*g.lba); err != nil {
		return false, err
	}
	seal(backup.raw, 1, last, backup.lastUsable, entriesAt)
	if err := g.write(backup.raw, g.lba); err != nil {
		return false, err
	}
	return true, g.flush()
}

// Find returns the partition with the GUID that is written guid, by the first copy of the table of a disk with blocks of
// 512 bytes; found is false if there is no such partition or no such table.
func Find(d Disk, guid string) (p Partition, found bool, err error) {
	h, at, err := find(gpt{d: d, lba: 512}, guid)
	if err != nil || at < 0 {
		return p, false, err
	}
	first, last := entryRange(h, at)
	end := h.lastUsable
	for i := 0; i < int(h.entryNo); i++ {
		if start, _ := entryRange(h, i*int(h.entrySize)); start > last {
			end = min(end, start-1)
		}
	}
	return Partition{Number: at/int(h.entrySize) + 1, Start: first * 512, Size: (last - first + 1) * 512, Room: (end - first + 1) * 512}, true, nil
}

// Resize makes the partition with that GUID size bytes long. The backup, which must be where the table says, is written
// first and is durable before the first copy changes. After a power cut the table is the old one or the new one, or only
// the backup is valid: then Restore comes first.
func Resize(d Disk, guid string, size int64) error {
	p, found, err := Find(d, guid)
	if err != nil {
		return err
	}
	if !found || size < 512 || size > p.Room {
		return fmt.Errorf("cannot make partition %s %d bytes long: it has %d, with room for %d", guid, size, p.Size, p.Room)
	}
	g := gpt{d: d, lba: 512}
	h, at, err := find(g, guid)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	le.PutUint64(h.entries[at+40:], uint64((p.Start+size)/512-1))
	le.PutUint32(h.raw[88:], crc32.ChecksumIEEE(h.entries))
	last := d.Size()/g.lba - 1
	blocks := (int64(len(h.entries)) + g.lba - 1) / g.lba
	if h.alternate != last || last-blocks <= h.lastUsable {
		return fmt.Errorf("cannot resize partition %s: the backup of the partition table isn't at the end of the disk", guid)
	}
	backup := make([]byte, (blocks+1)*g.lba)
	copy(backup, h.entries)
	copy(backup[blocks*g.lba:], h.raw)
	seal(backup[blocks*g.lba:], last, 1, h.lastUsable, last-blocks)
	if err := g.write(backup, (last-blocks)*g.lba); err != nil {
		return err
	}
	if err := g.flush(); err != nil {
		return err
	}
	if err := g.write(h.entries, h.entriesAt*g.lba); err != nil {
		return err
	}
	seal(h.raw, 1, last, h.lastUsable, h.entriesAt)
	if err := g.write(h.raw, g.lba); err != nil {
		return err
	}
	return g.flush()
}

// find reads the first copy of the table and the offset of an entry in it, which is negative if there is none.
func find(g gpt, guid string) (h gptHeader, at int, err error) {
	want, err := wireGUID(guid)
	if err != nil || g.d.Size() < 8*g.lba {
		return h, -1, err
	}
	h, why, err := g.header(1)
	if err != nil || why != "" {
		return h, -1, err
	}
	for at = 0; at < len(h.entries); at += int(h.entrySize) {
		first, last := entryRange(h, at)
		if bytes.Equal(h.entries[at+16:at+32], want) && first >= h.firstUsable && first <= last && last <= h.lastUsable {
			return h, at, nil
		}
	}
	return h, -1, nil
}

// entryRange is where the partition of the entry at offset at begins and ends, in blocks.
func entryRange(h gptHeader, at int) (first, last int64) {
	block := func(at int) int64 { return int64(min(binary.LittleEndian.Uint64(h.entries[at:]), 1<<54)) }
	return block(at + 32), block(at + 40)
}

// wireGUID is a GUID as it is on the disk: the first three of its numbers have their low byte first.
func wireGUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("cannot use GUID %q", s)
	}
	for _, r := range [][2]int{{0, 3}, {1, 2}, {4, 5}, {6, 7}} {
		b[r[0]], b[r[1]] = b[r[1]], b[r[0]]
	}
	return b, nil
}
