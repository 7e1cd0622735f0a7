package pdu

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Errors of the framer. After ErrDataDigest the stream is still in step: the
// next PDU can be read. After any other the connection is of no use.
var (
	ErrHeaderDigest = errors.New("header digest does not match")
	ErrDataDigest   = errors.New("data digest does not match")
	ErrTooLong      = errors.New("data segment is longer than was declared acceptable")
)

// castagnoli is CRC32C; a table, never written to.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const maxAHSLen = 255 * 4

// A Reader cuts a byte stream into PDUs. Not safe for concurrent use.
type Reader struct {
	// HeaderDigest and DataDigest say which digests are in force. They may be
	// changed between PDUs.
	HeaderDigest, DataDigest bool
	// MaxData is the longest data segment to accept, in bytes.
	MaxData int

	r    *bufio.Reader
	bhs  BHS
	ahs  [maxAHSLen + 4]byte
	left int    // bytes of the data segment not yet read
	pad  int    // pad bytes after it
	crc  uint32 // of what was read of the data segment
	open bool   // the data segment, or its digest, has not been finished
	tail [4]byte
}

// NewReader returns a Reader with a buffer of size bytes, no digests, and
// MaxData 8192, as at the start of a connection.
func NewReader(r io.Reader, size int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, size), MaxData: 8192}
}

// Grow makes the buffer at least size bytes large.
func (r *Reader) Grow(size int) { r.r = bufio.NewReaderSize(r.r, size) }

// Buffered returns how many bytes have come in beyond what was read.
func (r *Reader) Buffered() int { return r.r.Buffered() }

// Next reads the next header and its additional segments. What it returns is
// valid until the next call. Data not read yet by Body is skipped first. It
// returns io.EOF only between PDUs.
func (r *Reader) Next() (*BHS, []byte, error) {
	if err := r.End(); err != nil && !errors.Is(err, ErrDataDigest) {
		return nil, nil, err
	}
	if _, err := io.ReadFull(r.r, r.bhs[:]); err != nil {
		return nil, nil, err
	}
	n := r.bhs.AHSLen()
	want := n
	if r.HeaderDigest {
		want += 4
	}
	if want > 0 {
		if _, err := io.ReadFull(r.r, r.ahs[:want]); err != nil {
			return nil, nil, unexpected(err)
		}
	}
	if r.HeaderDigest {
		crc := crc32.Update(crc32.Checksum(r.bhs[:], castagnoli), castagnoli, r.ahs[:n])
		if crc != binary.LittleEndian.Uint32(r.ahs[n:]) {
			return nil, nil, ErrHeaderDigest
		}
	}
	d := r.bhs.DataLen()
	if d > r.MaxData {
		return nil, nil, fmt.Errorf("%w: %v with %d bytes, limit %d", ErrTooLong, r.bhs.Opcode(), d, r.MaxData)
	}
	r.left, r.pad, r.crc, r.open = d, Pad(d), 0, d > 0
	return &r.bhs, r.ahs[:n], nil
}

// Body fills p with the next bytes of the data segment. p must not be longer
// than what is left of it. The bytes are not proven until End returns nil.
func (r *Reader) Body(p []byte) error {
	if len(p) > r.left {
		return fmt.Errorf("cannot read %d bytes of a data segment with %d left", len(p), r.left)
	}
	if _, err := io.ReadFull(r.r, p); err != nil {
		return unexpected(err)
	}
	if r.DataDigest {
		r.crc = crc32.Update(r.crc, castagnoli, p)
	}
	r.left -= len(p)
	return nil
}

// End skips what is left of the data segment and its padding, and checks the
// digest over all of it. It returns ErrDataDigest if that is wrong, once.
func (r *Reader) End() error {
	if !r.open {
		return nil
	}
	r.open = false
	for skip := r.left + r.pad; skip > 0; {
		// Peek and Discard need no buffer of our own.
		b, err := r.r.Peek(min(skip, r.r.Size()))
		if err != nil {
			return unexpected(err)
		}
		if r.DataDigest {
			r.crc = crc32.Update(r.crc, castagnoli, b)
		}
		if _, err := r.r.Discard(len(b)); err != nil {
			return unexpected(err)
		}
		skip -= len(b)
	}
	r.left, r.pad = 0, 0
	if !r.DataDigest {
		return nil
	}
	if _, err := io.ReadFull(r.r, r.tail[:]); err != nil {
		return unexpected(err)
	}
	if r.crc != binary.LittleEndian.Uint32(r.tail[:]) {
		return ErrDataDigest
	}
	return nil
}

// Data reads the whole data segment into p, which has its length, and checks
// the digest.
func (r *Reader) Data(p []byte) error {
	if err := r.Body(p); err != nil {
		return err
	}
	return r.End()
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
