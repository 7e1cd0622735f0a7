package stream

import (
	"errors"
	"fmt"
	"io"
	"time"

	"sanstick/appliance/image"
)

// Source gives the content that a full stream holds. The end comes only after
// the stream's end mark.
func (s *Reader) Source() image.Source { return &source{s: s} }

type source struct {
	s     *Reader
	run   Record // the rest of the current record
	at    int64
	begun bool
	ended bool
}

func (s *source) Size() int64 { return s.s.Size }

// advance makes run hold something, or ended true.
func (s *source) advance() error {
	if !s.begun {
		s.begun, s.at = true, s.s.Start
		if s.s.From != nil {
			return errors.New("the stream holds only what differs from another one")
		}
		if s.at%image.Window != 0 {
			return fmt.Errorf("the stream begins at byte %d, within a window", s.at)
		}
	}
	if s.run.Len > 0 || s.ended {
		return nil
	}
	run, err := s.s.Next()
	if s.ended = errors.Is(err, io.EOF); s.ended {
		return nil
	}
	s.run = run
	return err
}

func (s *source) Next(p []byte) (int64, bool, error) {
	if err := s.advance(); err != nil {
		return 0, false, err
	}
	if s.ended {
		return 0, false, io.EOF
	}
	if s.run.Zero && s.run.Len >= image.Window {
		n := s.run.Len / image.Window * image.Window
		s.take(n)
		return n, true, nil
	}
	allZero := true
	filled := int64(0)
	for filled < image.Window {
		if err := s.advance(); err != nil {
			return 0, false, err
		}
		if s.ended {
			break
		}
		part := p[filled:min(image.Window, filled+s.run.Len)]
		if s.run.Zero {
			clear(part)
		} else {
			allZero = false
			if _, err := io.ReadFull(s.s, part); err != nil {
				return 0, false, err
			}
		}
		s.take(int64(len(part)))
		filled += int64(len(part))
	}
	return filled, allZero, nil
}

func (s *source) take(n int64) {
	s.run.Off, s.run.Len, s.at = s.run.Off+n, s.run.Len-n, s.at+n
}

// alive is how often something is sent, though there be nothing but zeros: who
// receives gives up when nothing comes for long.
const alive = 3 * time.Second

// Write sends a whole source as a stream. tell, if not nil, is called with how
// far it is.
func Write(w io.Writer, h Header, src image.Source, tell func(done int64)) error {
	out, err := NewWriter(w, h)
	if err != nil {
		return err
	}
	at, buf, flushed := h.Start, make([]byte, image.Window), time.Now()
	for {
		n, zero, err := src.Next(buf)
		if errors.Is(err, io.EOF) {
			return out.Close(at)
		}
		if err != nil {
			return err
		}
		if zero {
			err = out.Zeros(at, n)
		} else {
			err = image.Pieces(buf[:n], func(off int, run []byte, zero bool) error {
				if zero {
					return out.Zeros(at+int64(off), int64(len(run)))
				}
				return out.Data(at+int64(off), run)
			})
		}
		if err != nil {
			return err
		}
		if time.Since(flushed) >= alive {
			if flushed, err = time.Now(), out.Flush(); err != nil {
				return err
			}
		}
		if at += n; tell != nil {
			tell(at)
		}
	}
}
