package image

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// DigestLen is the length of a piece's digest.
const DigestLen = sha256.Size

// PieceSize is what one digest is of. Behind the disk's end everything counts
// as zeros.
const PieceSize = pieceSize

// digest is the SHA-256 of a piece; that of zeros is zero.
func digest(p []byte) (d [DigestLen]byte) {
	if IsZero(p) {
		return d
	}
	if len(p) == pieceSize {
		return sha256.Sum256(p)
	}
	whole := make([]byte, pieceSize)
	copy(whole, p)
	return sha256.Sum256(whole)
}

// Digests writes the digests of all pieces of a disk. tell, if not nil, is
// called with how far it is.
func Digests(w io.Writer, src Source, tell func(done int64)) error {
	out := bufio.NewWriterSize(w, 64<<10)
	err := eachDigest(src, func(piece int64, d [DigestLen]byte) error {
		if tell != nil && piece%64 == 0 {
			tell(piece * pieceSize)
		}
		_, err := out.Write(d[:])
		return err
	})
	return errors.Join(err, out.Flush())
}

func eachDigest(src Source, visit func(piece int64, d [DigestLen]byte) error) error {
	buf := make([]byte, Window)
	for piece := int64(0); ; {
		n, zero, err := src.Next(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for off := int64(0); off < n; off, piece = off+pieceSize, piece+1 {
			var d [DigestLen]byte
			if !zero {
				d = digest(buf[off:min(n, off+pieceSize)])
			}
			if err := visit(piece, d); err != nil {
				return err
			}
		}
	}
}

// A Difference is a range in which two disks differ, in whole pieces.
type Difference struct{ Off, Len int64 }

// Compared is what Compare found.
type Compared struct {
	Bytes     int64        // compared
	Differing int64        // of these, in whole pieces
	First     []Difference // the first ones, neighbours joined

	theirs map[int64][DigestLen]byte // of the first pieces that differ
}

// keptDigests is how many pieces there are whose digests are kept.
const keptDigests = 16

// Excuse takes back that disks differ in pieces in which a third one, of size
// bytes, is as the other: all pieces in which they differ must be like that.
func (c *Compared) Excuse(third io.ReaderAt, size int64) (bool, error) {
	if c.Differing != int64(len(c.theirs))*pieceSize {
		return false, nil
	}
	for piece, want := range c.theirs {
		p := make([]byte, pieceSize)
		off := piece * pieceSize
		if off >= size {
			return false, nil
		}
		if _, err := third.ReadAt(p[:min(pieceSize, size-off)], off); err != nil {
			return false, err
		}
		if digest(p) != want {
			return false, nil
		}
	}
	c.Differing, c.First = 0, nil
	return true, nil
}

// Compare compares a disk with the digests of another one. What one has more
// than the other must be zeros. The first most differences are told.
func Compare(src Source, digests io.Reader, most int, tell func(done int64)) (c Compared, err error) {
	c.theirs = map[int64][DigestLen]byte{}
	in := bufio.NewReaderSize(digests, 64<<10)
	other := func() (d [DigestLen]byte, ok bool, err error) {
		_, err = io.ReadFull(in, d[:])
		switch {
		case errors.Is(err, io.EOF):
			return d, false, nil
		case err != nil:
			return d, false, fmt.Errorf("cannot receive the digests: %w", err)
		}
		return d, true, nil
	}
	note := func(piece int64, mine, theirs [DigestLen]byte) {
		c.Bytes = (piece + 1) * pieceSize
		if tell != nil {
			tell(c.Bytes)
		}
		if mine == theirs {
			return
		}
		if len(c.theirs) < keptDigests {
			c.theirs[piece] = theirs
		}
		c.Differing += pieceSize
		if n := len(c.First); n > 0 && c.First[n-1].Off+c.First[n-1].Len == piece*pieceSize {
			c.First[n-1].Len += pieceSize
		} else if n < most {
			c.First = append(c.First, Difference{piece * pieceSize, pieceSize})
		}
	}
	next := int64(0)
	err = eachDigest(src, func(piece int64, mine [DigestLen]byte) error {
		theirs, _, err := other() // behind its end: zeros
		note(piece, mine, theirs)
		next = piece + 1
		return err
	})
	for err == nil {
		var theirs [DigestLen]byte
		var ok bool
		if theirs, ok, err = other(); !ok {
			break
		}
		note(next, [DigestLen]byte{}, theirs)
		next++
	}
	return c, err
}
