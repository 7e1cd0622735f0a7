package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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
	gone int         // of bufs, how many are written
	send net.Buffers // a copy that WriteTo may eat up

	now attempt
}

// attempt is one call of writev.
type attempt struct {
	run func(fd uintptr) bool // made once, so that it costs nothing
	iov []unix.Iovec
	n   int
	err error
}

// maxParts is how many pieces of memory writev takes at once (IOV_MAX).
const maxParts = 1024

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
func (b *Batch) Parts() int { return len(b.bufs) - b.gone + 1 }

// Flush writes everything that was added and empties the batch.
func (b *Batch) Flush(w io.Writer) error {
	if b.size == 0 {
		return nil
	}
	b.cut()
	b.send = append(b.send[:0], b.bufs[b.gone:]...)
	whole := b.send
	_, err := b.send.WriteTo(w)
	clear(whole)
	b.send = whole[:0]
	b.empty()
	return err
}

// FlushNow writes as much as a nonblocking socket takes without a wait, and
// says whether that was everything. What is left stays in the batch.
func (b *Batch) FlushNow(c syscall.RawConn) (all bool, err error) {
	b.cut()
	a := &b.now
	if a.run == nil {
		a.run = a.writev
	}
	for b.size > 0 {
		a.iov = a.iov[:0]
		for _, p := range b.bufs[b.gone:min(len(b.bufs), b.gone+maxParts)] {
			v := unix.Iovec{Base: unsafe.SliceData(p)}
			v.SetLen(len(p))
			a.iov = append(a.iov, v)
		}
		err := c.Write(a.run)
		clear(a.iov)
		switch {
		case err != nil:
			return false, err
		case errors.Is(a.err, unix.EAGAIN):
			return false, nil
		case a.err != nil:
			return false, fmt.Errorf("cannot write: %w", a.err)
		}
		b.wrote(a.n)
	}
	return true, nil
}

// writev is for syscall.RawConn.
func (a *attempt) writev(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(a.iov))), uintptr(len(a.iov)))
		switch errno {
		case unix.EINTR:
			continue
		case 0:
			a.n, a.err = int(n), nil
		default:
			a.n, a.err = 0, errno
		}
		return true // with EAGAIN too: no waiting
	}
}

// wrote takes n bytes off the beginning.
func (b *Batch) wrote(n int) {
	if b.size -= n; b.size == 0 {
		b.empty()
		return
	}
	for n > 0 {
		p := b.bufs[b.gone]
		if n < len(p) {
			b.bufs[b.gone] = p[n:]
			return
		}
		n -= len(p)
		b.gone++
	}
}

func (b *Batch) empty() {
	clear(b.bufs)
	b.bufs, b.slab, b.mark, b.size, b.gone = b.bufs[:0], b.slab[:0], 0, 0, 0
}

// cut closes the current piece of the slab. When append moves the slab, the
// pieces cut before stay in the old one.
func (b *Batch) cut() {
	if len(b.slab) > b.mark {
		b.bufs = append(b.bufs, b.slab[b.mark:len(b.slab):len(b.slab)])
		b.mark = len(b.slab)
	}
}
