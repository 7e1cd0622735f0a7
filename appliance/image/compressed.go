package image

import (
	"bufio"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// Compressions of raw images.
const (
	Gzip = "gz"
	Zstd = "zst"
	XZ   = "xz"
)

// Stream is the format of package stream, which NewSequence leaves to that.
const Stream = "stream"

// maxWindow bounds the memory that unpacking takes, on a machine of 512 MiB.
const maxWindow = 64 << 20

func isCompression(format string) bool { return format == Gzip || format == Zstd || format == XZ }

// A Sequence is a disk's content from its beginning, for reading once.
type Sequence struct {
	Format string // Raw or a compression of it; Stream, compressed or not
	io.Reader
	close func()
}

// Close frees what unpacking took.
func (s *Sequence) Close() {
	if s.close != nil {
		s.close()
	}
}

// NewSequence reads a disk's content from its beginning: raw, or compressed raw,
// told by its beginning unless format says so. A format that has to be read
// here and there is refused, and one within a compressed stream as well, for
// its bytes are not the disk's. Only format Raw takes the stream as it is.
func NewSequence(r io.Reader, format string) (*Sequence, error) {
	if format == Raw {
		return &Sequence{Format: Raw, Reader: r}, nil
	}
	b := bufio.NewReaderSize(r, 256<<10)
	if format == "" {
		var err error
		if format, err = sniffStream(b); err != nil {
			return nil, err
		}
	}
	if format == Raw || format == Stream {
		return &Sequence{Format: format, Reader: b}, nil
	}
	s := &Sequence{Format: format}
	switch format {
	case Gzip:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("cannot unpack gz: %w", err)
		}
		s.Reader = z
	case Zstd:
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("cannot unpack zst: %w", err)
		}
		s.Reader, s.close = z, z.Close
	case XZ:
		z, err := xz.NewReader(b, maxWindow)
		if err != nil {
			return nil, fmt.Errorf("cannot unpack xz: %w", err)
		}
		s.Reader = z
	default:
		return nil, needsFile(format)
	}
	inner := bufio.NewReaderSize(s.Reader, 64<<10)
	s.Reader = inner
	if f, err := sniffStream(inner); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot unpack %s: %w", format, err)
	} else if f == Stream {
		s.Format = Stream
	} else if f != Raw {
		s.Close()
		return nil, fmt.Errorf("what is packed in %s is itself of format %s: unpack it first, and import the file", format, f)
	}
	return s, nil
}

// sniffStream tells a stream's format without taking anything from it.
func sniffStream(b *bufio.Reader) (string, error) {
	head, err := b.Peek(sniffLen)
	if len(head) == 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return "", fmt.Errorf("it is empty: %w", err)
	}
	switch f := Sniff(head); {
	case f == "":
		return Raw, nil
	case isCompression(f) || f == Stream:
		return f, nil
	default:
		return f, needsFile(f)
	}
}

func needsFile(format string) error {
	if format == textVMDK {
		format = VMDK
	}
	return fmt.Errorf("an image of format %s has to be read here and there, which a pipe doesn't allow: name its file, or a URL whose server allows ranges", format)
}
