package image

import (
	"errors"
	"fmt"
	"io"
)

// Window is how much of a disk is handled at a time.
const Window = 4 << 20

// A Source gives a disk's content once, from some place on to its end, in
// windows that begin at multiples of Window.
type Source interface {
	// Size is the disk's size in bytes, -1 if it shows only at the end.
	Size() int64
	// Next gives what comes next. Either p, of Window bytes, holds n bytes of
	// it; these are Window, but for the last ones. Or zero is true, p is
	// worthless and n bytes are zeros: a multiple of Window, but for the last
	// ones. The end is n = 0 and io.EOF.
	Next(p []byte) (n int64, zero bool, err error)
}

// FromImage gives an image's content from start on, a multiple of Window.
func FromImage(i Image, start int64) Source { return &imageSource{i: i, at: start} }

type imageSource struct {
	i  Image
	at int64
}

func (s *imageSource) Size() int64 { return s.i.Size() }

func (s *imageSource) Next(p []byte) (int64, bool, error) {
	rest := s.i.Size() - s.at
	if rest <= 0 {
		return 0, false, io.EOF
	}
	want := min(rest, Window)
	// Zeros as far as they go.
	var zeros int64
	for zeros < rest {
		n, zero, err := s.i.Extent(s.at + zeros)
		if err != nil {
			return 0, false, err
		}
		if !zero {
			break
		}
		zeros += n
	}
	if zeros >= want {
		if zeros < rest {
			zeros = zeros / Window * Window
		}
		s.at += zeros
		return zeros, true, nil
	}
	// Zeros within a window may be worth a read less, and always are where
	// reading goes over a network.
	clear(p[:zeros])
	for n := zeros; n < want; {
		run, zero, err := s.i.Extent(s.at + n)
		if err != nil {
			return 0, false, err
		}
		run = min(run, want-n)
		if part := p[n : n+run]; zero {
			clear(part)
		} else if _, err := s.i.ReadAt(part, s.at+n); err != nil {
			return 0, false, err
		}
		n += run
	}
	s.at += want
	return want, false, nil
}

// FromSequence gives what a sequence holds from start on. size is how much it
// must be, -1 if nobody knows.
func FromSequence(r io.Reader, size, start int64) Source {
	return &sequenceSource{r: r, size: size, start: start}
}

type sequenceSource struct {
	r               io.Reader
	size, start, at int64
	ended           bool
}

func (s *sequenceSource) Size() int64 { return s.size }

func (s *sequenceSource) Next(p []byte) (int64, bool, error) {
	if s.at < s.start {
		n, err := io.CopyN(io.Discard, s.r, s.start-s.at)
		if s.at += n; errors.Is(err, io.EOF) {
			return 0, false, fmt.Errorf("it ends after %d bytes, and went on to %d the last time", s.at, s.start)
		} else if err != nil {
			return 0, false, err
		}
	}
	if s.ended {
		return 0, false, io.EOF
	}
	// Not io.ReadFull: it makes an end look like one that comes too early.
	n := 0
	for n < Window && !s.ended {
		m, err := s.r.Read(p[n:Window])
		n += m
		if s.ended = errors.Is(err, io.EOF); err != nil && !s.ended {
			return 0, false, err
		}
	}
	s.at += int64(n)
	switch {
	case s.size >= 0 && s.at > s.size:
		return 0, false, fmt.Errorf("it holds more than the %d bytes that it should", s.size)
	case s.ended && s.size >= 0 && s.at < s.size:
		return 0, false, fmt.Errorf("it ends after %d bytes instead of %d: it was cut off", s.at, s.size)
	case n == 0:
		return 0, false, io.EOF
	}
	return int64(n), false, nil
}

// Skip reads over what a source gives before start, a multiple of Window: it
// was brought already.
func Skip(s Source, start int64) Source { return &skipping{Source: s, left: start} }

type skipping struct {
	Source
	left int64
}

func (s *skipping) Next(p []byte) (int64, bool, error) {
	for {
		n, zero, err := s.Source.Next(p)
		switch {
		case errors.Is(err, io.EOF) && s.left > 0:
			return 0, false, errors.New("it is shorter than the last time")
		case err != nil || s.left == 0:
			return n, zero, err
		case n > s.left: // zeros: data comes in single windows
			n, s.left = n-s.left, 0
			return n, zero, nil
		}
		s.left -= n
	}
}

// pieceSize is the grain in which zeros are looked for.
const pieceSize = 64 << 10

var zeros [pieceSize]byte

// Pieces cuts a window into runs that are zero and runs that aren't. The last
// one may be shorter than a piece.
func Pieces(p []byte, visit func(off int, run []byte, zero bool) error) error {
	begin, was := 0, false
	for off := 0; off < len(p); off += pieceSize {
		zero := IsZero(p[off:min(len(p), off+pieceSize)])
		if off > 0 && zero != was {
			if err := visit(begin, p[begin:off], was); err != nil {
				return err
			}
			begin = off
		}
		was = zero
	}
	if len(p) == 0 {
		return nil
	}
	return visit(begin, p[begin:], was)
}

// IsZero tells whether there is nothing but zeros.
func IsZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), pieceSize)
		if string(p[:n]) != string(zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
