package pdu

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
)

// smallData is copied next to its header; longer data is sent from where it is.
const smallData = 512

// padding is what data segments are filled up with; never written to.
var padding = []byte{0, 0, 0}

// A Batch collects PDUs and writes them all in one go, with writev where the
// connection has it. Not safe for concurrent use. The zero value is ready.
type Batch struct {
	// HeaderDigest and DataDigest say which digests are in force. They may be
	// changed between PDUs.
	HeaderDigest, DataDigest bool

	slab []byte      // headers, small data, padding and digests
	bufs net.Buffers // parts of slab and callers' data, in order
	mark int         // start in slab of what is not in bufs yet
	size int
	send net.Buffers // a copy that WriteTo may eat up
}

// Add appends a PDU. The lengths in h are set from ahs and data. ahs must be
// padded. Data over 512 bytes is not copied: it must stay as it is until
// Flush has returned.
func (b *Batch) Add(h *BHS, ahs, data []byte) {
	h.SetAHSLen(len(ahs))
	h.SetDataLen(len(data))
	before := len(b.slab)
	b.slab = append(append(b.slab, h[:]...), ahs...)
	if b.HeaderDigest {
		crc := crc32.Checksum(b.slab[before:], castagnoli)
		b.slab = binary.LittleEndian.AppendUint32(b.slab, crc)
	}
	b.size += len(b.slab) - before
	if len(data) == 0 {
		return
	}
	if len(data) <= smallData {
		b.slab = append(b.slab, data...)
	} else {
		b.cut()
		b.bufs = append(b.bufs, data)
	}
	b.size += len(data)
	before = len(b.slab)
	pad := padding[:Pad(len(data))]
	b.slab = append(b.slab, pad...)
	if b.DataDigest {
		crc := crc32.Update(crc32.Checksum(data, castagnoli), castagnoli, pad)
		b.slab = binary.LittleEndian.AppendUint32(b.slab, crc)
	}
	b.size += len(b.slab) - before
}

// Size returns how many bytes Flush would write.
func (b *Batch) Size() int { return b.size }

// Copied returns how many of these bytes are copies of the batch's own:
// headers, digests and small data.
func (b *Batch) Copied() int { return len(b.slab) }

// Parts returns how many separate pieces of memory Flush would write.
func (b *Batch) Parts() int { return len(b.bufs) + 1 }

// Flush writes everything that was added and empties the batch.
func (b *Batch) Flush(w io.Writer) error {
	if b.size == 0 {
		return nil
	}
	b.cut()
	b.send = append(b.send[:0], b.bufs...)
	whole := b.send
	_, err := b.send.WriteTo(w)
	clear(whole)
	b.send = whole[:0]
	clear(b.bufs)
	b.bufs, b.slab, b.mark, b.size = b.bufs[:0], b.slab[:0], 0, 0
	return err
}

// cut closes the current piece of the slab. When append moves the slab, the
// pieces cut before stay in the old one.
func (b *Batch) cut() {
	if len(b.slab) > b.mark {
		b.bufs = append(b.bufs, b.slab[b.mark:len(b.slab):len(b.slab)])
		b.mark = len(b.slab)
	}
}
