// Package gpt moves the backup of a partition table to where a larger disk
// wants it.
package gpt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A Disk is what a partition table is on. Ranges are of any length, anywhere.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Size() int64 // bytes
	Sync() error // until everything is on stable storage
}

// Fix puts the partition table of a disk right that has landed on a larger
// volume: the backup goes to the end, the table may use the new space, and the
// protective MBR covers the whole disk (UEFI 2.10, chapter 5). It does so only
// if both copies of the table are valid and agree; in all other cases nothing
// is written. said tells what was done, or why nothing was, and is empty if
// there is no such table or it is right.
//
// Its writes are in such an order that after a power cut at any point one copy
// is valid, and that it can be done again.
func Fix(d Disk) (said string, err error) {
	for _, lba := range []int64{512, 4096} {
		g := gpt{d: d, lba: lba}
		if d.Size() < 8*lba {
			return "", nil
		}
		head := make([]byte, lba)
		if err := g.read(head, lba); err != nil {
			return "", err
		}
		if string(head[:8]) != gptMagic {
			continue
		}
		return g.fix()
	}
	return "", nil
}

const (
	gptMagic      = "EFI PART"
	gptMinHeader  = 92
	gptEntryBytes = 16 << 10 // the least that is kept free for the entries
	gptMaxEntries = 1 << 20  // bytes
)

// gpt is a disk with a partition table. lba is the size of its blocks.
type gpt struct {
	d   Disk
	lba int64
}

// gptHeader is one copy of the header with its entries.
type gptHeader struct {
	raw                []byte // one block
	my, alternate      int64
	firstUsable        int64
	lastUsable         int64
	entriesAt          int64
	entries            []byte
	entrySize, entryNo uint32
}

func (g gpt) fix() (string, error) {
	first, why, err := g.header(1)
	if err != nil {
		return "", err
	}
	if why != "" {
		return "the disk has a GPT that isn't valid (" + why + "), so it was left as it is", nil
	}
	last := g.d.Size()/g.lba - 1
	why = ""
	for _, at := range []int64{first.alternate, last} { // last: where an interrupted run has put it
		second, bad, err := g.header(at)
		if err != nil {
			return "", err
		}
		if bad == "" && !bytes.Equal(first.entries, second.entries) {
			bad = "the two copies differ"
		}
		if bad == "" {
			why = ""
			break
		}
		if why == "" {
			why = bad
		}
	}
	if why != "" {
		return "the disk has a GPT whose backup isn't valid (" + why + "), so it was left as it is", nil
	}
	if first.alternate == last { // the MBR may be all that is left to do
		if err := g.fixMBR(last); err != nil {
			return "", err
		}
		return "", g.flush()
	}
	blocks := (int64(len(first.entries)) + g.lba - 1) / g.lba
	reserved := max(blocks, gptEntryBytes/g.lba)
	usable := last - reserved - 1
	if usable < first.lastUsable {
		return "the disk has a GPT that needs more room at the end than the volume has, so it was left as it is", nil
	}
	// The new backup may lie upon the old one, so it is one write.
	backup := make([]byte, (reserved+1)*g.lba)
	copy(backup, first.entries)
	header := backup[reserved*g.lba:]
	copy(header, first.raw)
	seal(header, last, 1, usable, last-reserved)
	if err := g.write(backup, (last-reserved)*g.lba); err != nil {
		return "", err
	}
	if err := g.flush(); err != nil {
		return "", err
	}
	primary := bytes.Clone(first.raw)
	seal(primary, 1, last, usable, first.entriesAt)
	if err := g.write(primary, g.lba); err != nil {
		return "", err
	}
	if err := g.fixMBR(last); err != nil {
		return "", err
	}
	return fmt.Sprintf("the backup of the disk's GPT was moved to the end of the volume (block %d of %d bytes)", last, g.lba), g.flush()
}

// seal changes what depends on where a header lies.
func seal(h []byte, my, alternate, lastUsable, entriesAt int64) {
	le := binary.LittleEndian
	le.PutUint64(h[24:], uint64(my))
	le.PutUint64(h[32:], uint64(alternate))
	le.PutUint64(h[48:], uint64(lastUsable))
	le.PutUint64(h[72:], uint64(entriesAt))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:le.Uint32(h[12:])]))
}

// header reads and checks a copy; why is empty if it is valid.
func (g gpt) header(at int64) (h gptHeader, why string, err error) {
	total := g.d.Size() / g.lba
	if at < 1 || at >= total {
		return h, fmt.Sprintf("block %d is not on the disk", at), nil
	}
	h.raw = make([]byte, g.lba)
	if err := g.read(h.raw, at*g.lba); err != nil {
		return h, "", err
	}
	le := binary.LittleEndian
	size := le.Uint32(h.raw[12:])
	switch {
	case string(h.raw[:8]) != gptMagic:
		return h, fmt.Sprintf("there is none at block %d", at), nil
	case size < gptMinHeader || int64(size) > g.lba:
		return h, fmt.Sprintf("the header at block %d has a length of %d", at, size), nil
	}
	plain := bytes.Clone(h.raw[:size])
	clear(plain[16:20])
	if crc32.ChecksumIEEE(plain) != le.Uint32(h.raw[16:]) {
		return h, fmt.Sprintf("the header at block %d has a wrong checksum", at), nil
	}
	block := func(at int) int64 { return int64(min(le.Uint64(h.raw[at:]), 1<<55)) }
	h.my, h.alternate, h.firstUsable, h.lastUsable, h.entriesAt = block(24), block(32), block(40), block(48), block(72)
	h.entryNo, h.entrySize = le.Uint32(h.raw[80:]), le.Uint32(h.raw[84:])
	n := int64(h.entryNo) * int64(h.entrySize)
	switch {
	case h.my != at:
		return h, fmt.Sprintf("the header at block %d says that it is at %d", at, h.my), nil
	case h.entrySize < 128 || h.entrySize%8 != 0 || n == 0 || n > gptMaxEntries:
		return h, fmt.Sprintf("the header at block %d has %d entries of %d bytes", at, h.entryNo, h.entrySize), nil
	case h.entriesAt < 2 || h.entriesAt > total || (n+g.lba-1)/g.lba > total-h.entriesAt:
		return h, fmt.Sprintf("the entries at block %d are not on the disk", h.entriesAt), nil
	}
	h.entries = make([]byte, n)
	if err := g.read(h.entries, h.entriesAt*g.lba); err != nil {
		return h, "", err
	}
	if crc32.ChecksumIEEE(h.entries) != le.Uint32(h.raw[88:]) {
		return h, fmt.Sprintf("the entries at block %d have a wrong checksum", h.entriesAt), nil
	}
	return h, "", nil
}

// fixMBR has the protective MBR cover the disk. One with other partitions is
// left alone.
func (g gpt) fixMBR(last int64) error {
	mbr := make([]byte, 512)
	if err := g.read(mbr, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	if mbr[510] != 0x55 || mbr[511] != 0xaa || mbr[446+4] != 0xee || le.Uint32(mbr[446+8:]) != 1 || len(bytes.Trim(mbr[462:510], "\x00")) != 0 {
		return nil
	}
	want := uint32(min(last, 0xffffffff))
	if le.Uint32(mbr[446+12:]) == want {
		return nil
	}
	le.PutUint32(mbr[446+12:], want)
	return g.write(mbr, 0)
}

func (g gpt) flush() error {
	if err := g.d.Sync(); err != nil {
		return fmt.Errorf("cannot flush the partition table: %w", err)
	}
	return nil
}

func (g gpt) read(p []byte, off int64) error {
	if _, err := g.d.ReadAt(p, off); err != nil {
		return fmt.Errorf("cannot read the partition table: %w", err)
	}
	return nil
}

func (g gpt) write(p []byte, off int64) error {
	if _, err := g.d.WriteAt(p, off); err != nil {
		return fmt.Errorf("cannot write the partition table: %w", err)
	}
	return nil
}
