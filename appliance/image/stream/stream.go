// Package stream is the format in which a disk's content is sent and kept:
// sparse, checked from end to end, and never to be taken for whole when a part
// is missing.
//
//	"sanstrm1"                    8 bytes
//	length of the header          4 bytes (all numbers are little-endian)
//	header                        JSON, see Header
//	CRC-32C of all the above      4 bytes
//	records                       see below
//
// A record begins with 32 bytes:
//
//	0   kind: 'D' data, 'Z' zeros, 'E' end
//	1   zero, 7 bytes
//	8   offset on the disk        8 bytes; of 'E': the disk's size
//	16  length                    8 bytes; of 'E': how many records came before
//	24  CRC-32C of what follows   4 bytes; of 'E': of the heads of all records before
//	28  CRC-32C of bytes 0 to 27  4 bytes
//
// Behind 'D' come that many bytes, MaxData at most. Records are in ascending
// order and don't overlap. A full stream covers everything from Header.Start to
// the disk's size; an incremental one has what differs from Header.From, and
// what it doesn't mention is as it is there. A stream ends with 'E'.
package stream

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A Header tells what a stream is of.
type Header struct {
	Volume string `json:"volume,omitempty"`
	Size   int64  `json:"size"`            // of the disk, in bytes; -1: the end tells
	Start  int64  `json:"start,omitempty"` // where a full stream begins
	// To is the snapshot that the stream brings about, and From the one that it
	// builds on; From is nil in a full stream.
	From *Point `json:"from,omitempty"`
	To   *Point `json:"to,omitempty"`
}

// A Point is a state of a volume that doesn't change.
type Point struct {
	Name string `json:"name"` // of the snapshot, "monday"
	UUID string `json:"uuid"` // of the snapshot, for life
}

// Bounds.
const (
	Magic     = "sanstrm1"
	MaxData   = 1 << 20
	maxHeader = 64 << 10
	headLen   = 32
	maxSize   = 1 << 56
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrCut says that a stream has no end mark.
var ErrCut = errors.New("the stream was cut off: its end mark is missing")

// A Writer writes a stream. Not for concurrent use.
type Writer struct {
	w       io.Writer
	zeroAt  int64 // zeros that aren't written yet
	zeroLen int64
	at      int64 // end of the last record
	records uint64
	heads   uint32
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the stream's header: %w", err)
	}
	if len(text) > maxHeader {
		return nil, fmt.Errorf("cannot encode the stream's header: it has %d bytes", len(text))
	}
	b := le.AppendUint32([]byte(Magic), uint32(len(text)))
	b = append(b, text...)
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err = w.Write(b)
	return &Writer{w: w, at: h.Start}, err
}

// Data writes a run of data.
func (w *Writer) Data(off int64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), MaxData)
		if err := w.flushZeros(); err != nil {
			return err
		}
		if err := w.record('D', off, int64(n), crc32.Checksum(p[:n], castagnoli)); err != nil {
			return err
		}
		if _, err := w.w.Write(p[:n]); err != nil {
			return err
		}
		off, p = off+int64(n), p[n:]
	}
	return nil
}

// Zeros writes a run of zeros; neighbours become one record.
func (w *Writer) Zeros(off, n int64) error {
	if w.zeroLen > 0 && w.zeroAt+w.zeroLen == off {
		w.zeroLen += n
		return nil
	}
	if err := w.flushZeros(); err != nil {
		return err
	}
	w.zeroAt, w.zeroLen = off, n
	return nil
}

// Flush writes zeros that wait for neighbours.
func (w *Writer) Flush() error { return w.flushZeros() }

func (w *Writer) flushZeros() error {
	if w.zeroLen == 0 {
		return nil
	}
	n := w.zeroLen
	w.zeroLen = 0
	return w.record('Z', w.zeroAt, n, 0)
}

// Close writes the end mark. size is the disk's.
func (w *Writer) Close(size int64) error {
	if err := w.flushZeros(); err != nil {
		return err
	}
	return w.record('E', size, int64(w.records), w.heads)
}

func (w *Writer) record(kind byte, off, n int64, sum uint32) error {
	if off < w.at {
		return fmt.Errorf("cannot write the stream: %d comes after %d", off, w.at)
	}
	h := make([]byte, headLen)
	h[0] = kind
	le.PutUint64(h[8:], uint64(off))
	le.PutUint64(h[16:], uint64(n))
	le.PutUint32(h[24:], sum)
	le.PutUint32(h[28:], crc32.Checksum(h[:28], castagnoli))
	w.heads = crc32.Update(w.heads, castagnoli, h)
	w.records++
	if kind != 'E' {
		w.at = off + n
	}
	_, err := w.w.Write(h)
	return err
}

// A Record is a run of the disk.
type Record struct {
	Off, Len int64
	Zero     bool
}

// A Reader reads a stream. Not for concurrent use.
type Reader struct {
	Header
	r       io.Reader
	at      int64 // end of the last record
	left    int64 // data of the current record that wasn't taken
	sum     uint32
	want    uint32
	records uint64
	heads   uint32
	ended   bool
}

// NewReader reads and checks the header.
func NewReader(r io.Reader) (*Reader, error) {
	b := make([]byte, len(Magic)+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, cut(err)
	}
	if string(b[:len(Magic)]) != Magic {
		return nil, errors.New("it is no stream of sanstick: it doesn't begin as one")
	}
	n := le.Uint32(b[len(Magic):])
	if n > maxHeader {
		return nil, fmt.Errorf("the stream is damaged: its header has %d bytes", n)
	}
	text := make([]byte, n+4)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, cut(err)
	}
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, text[:n])
	if sum != le.Uint32(text[n:]) {
		return nil, errors.New("the stream is damaged: its header has a wrong checksum")
	}
	s := &Reader{r: r}
	if err := json.Unmarshal(text[:n], &s.Header); err != nil {
		return nil, fmt.Errorf("cannot decode the stream's header: %w", err)
	}
	if s.Size < -1 || s.Size > maxSize || s.Start < 0 || s.Start > maxSize || s.Size >= 0 && s.Start > s.Size {
		return nil, fmt.Errorf("the stream is damaged: size %d, start %d", s.Size, s.Start)
	}
	s.at = s.Start
	return s, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

// Next goes to the next record. Data that wasn't taken is read over and
// checked. At the end it gives io.EOF, and Size is known then.
func (s *Reader) Next() (Record, error) {
	if s.ended {
		return Record{}, io.EOF
	}
	for buf := []byte(nil); s.left > 0; {
		if buf == nil {
			buf = make([]byte, 64<<10)
		}
		if _, err := s.Read(buf); err != nil {
			return Record{}, err
		}
	}
	h := make([]byte, headLen)
	if _, err := io.ReadFull(s.r, h); err != nil {
		return Record{}, cut(err)
	}
	if crc32.Checksum(h[:28], castagnoli) != le.Uint32(h[28:]) {
		return Record{}, fmt.Errorf("the stream is damaged: a record behind byte %d of the disk has a wrong checksum", s.at)
	}
	off, n, sum := le.Uint64(h[8:]), le.Uint64(h[16:]), le.Uint32(h[24:])
	if h[0] == 'E' {
		return Record{}, s.end(off, n, sum)
	}
	s.heads = crc32.Update(s.heads, castagnoli, h)
	s.records++
	end := off + n
	switch {
	case h[0] != 'D' && h[0] != 'Z':
		return Record{}, fmt.Errorf("the stream is damaged, or newer than this program: a record is of kind %q", h[0])
	case off > maxSize || n == 0 || n > maxSize || off < uint64(s.at) || s.Size >= 0 && end > uint64(s.Size),
		h[0] == 'D' && n > MaxData:
		return Record{}, fmt.Errorf("the stream is damaged: a record has %d bytes at %d", n, off)
	case s.From == nil && off != uint64(s.at):
		return Record{}, fmt.Errorf("the stream is damaged: bytes %d to %d of the disk are missing", s.at, off)
	}
	s.at = int64(end)
	if h[0] == 'D' {
		s.left, s.sum, s.want = int64(n), 0, sum
	}
	return Record{Off: int64(off), Len: int64(n), Zero: h[0] == 'Z'}, nil
}

func (s *Reader) end(size, records uint64, heads uint32) error {
	switch {
	case records != s.records || heads != s.heads:
		return fmt.Errorf("the stream is damaged: it has %d records instead of %d", s.records, records)
	case size > maxSize || s.Size >= 0 && size != uint64(s.Size) || size < uint64(s.at) || s.From == nil && size != uint64(s.at):
		return fmt.Errorf("the stream is damaged: it is of a disk of %d bytes, and ends at %d", size, s.at)
	}
	s.ended, s.Size = true, int64(size)
	return io.EOF
}

// Read reads data of the record that Next gave. The last of it comes only if
// its checksum is right.
func (s *Reader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := io.ReadFull(s.r, p[:min(int64(len(p)), s.left)])
	if err != nil {
		return 0, cut(err)
	}
	s.sum = crc32.Update(s.sum, castagnoli, p[:n])
	if s.left -= int64(n); s.left == 0 && s.sum != s.want {
		return 0, fmt.Errorf("the stream is damaged: data before byte %d of the disk has a wrong checksum", s.at)
	}
	return n, nil
}
