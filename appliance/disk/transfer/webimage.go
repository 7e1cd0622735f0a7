package transfer

import (
	"fmt"
	"io"

	"sanstick/appliance/image"
	"sanstick/appliance/image/gpt"
	"sanstick/appliance/image/stream"
)

// A WebImage is a disk image on a web server.
type WebImage struct {
	Format   string
	Size     int64         // of the disk; -1 if it shows only at the end
	From, To *stream.Point // of a stream

	image    image.Image     // what can be read here and there, or
	sequence *image.Sequence // what can't
	stream   *stream.Reader  // with the format of that name
}

// OpenWebImage reads the beginning of an image, and its tables. An empty format
// means to find it out.
func OpenWebImage(w *Web, format string) (*WebImage, error) {
	r := &peeked{r: w.Reader()}
	if format == "" {
		if err := r.peek(512); err != nil {
			return nil, err
		}
		format = image.Sniff(r.head)
	}
	switch format {
	case image.Gzip, image.Zstd, image.XZ, image.Stream:
		return sequential(r, format, -1)
	case image.Raw, "":
		if w.Size() < 0 {
			return nil, fmt.Errorf("the server of %s doesn't tell how long the file is, so nobody could notice that its end is missing: fetch the file, and import that", w)
		}
		if !w.Ranges() {
			return sequential(r, image.Raw, w.Size())
		}
	default:
		if !w.Ranges() {
			return nil, fmt.Errorf("an image of format %s has to be read here and there, which the server of %s doesn't allow: fetch the file, and import that", format, w)
		}
	}
	i, err := image.Open(w, w.Name(), format, func(name string) (image.File, error) {
		s, err := w.Sibling(name)
		if err != nil {
			return nil, err
		}
		if !s.Ranges() {
			return nil, fmt.Errorf("the server of %s doesn't allow to read it here and there", s)
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return &WebImage{Format: i.Format(), Size: i.Size(), image: i}, nil
}

func sequential(r io.Reader, format string, size int64) (*WebImage, error) {
	s, err := image.NewSequence(r, format)
	if err != nil {
		return nil, err
	}
	x := &WebImage{Format: s.Format, Size: size, sequence: s}
	if s.Format == image.Stream {
		if x.stream, err = stream.NewReader(s); err != nil {
			s.Close()
			return nil, err
		}
		x.Size, x.From, x.To = x.stream.Size, x.stream.From, x.stream.To
	}
	return x, nil
}

// Content gives the content from start on. It is called once.
func (x *WebImage) Content(start int64) (image.Source, error) {
	switch {
	case x.image != nil:
		return image.FromImage(x.image, start), nil
	case x.stream != nil && x.stream.Start != 0:
		return nil, fmt.Errorf("the stream begins at byte %d only", x.stream.Start)
	case x.stream != nil:
		return image.Skip(x.stream.Source(), start), nil
	}
	return image.FromSequence(x.sequence, x.Size, start), nil
}

// Excuse is gpt.Excuse for the image and a volume of size bytes. Of what can only
// be read from its beginning it can't be told.
func (x *WebImage) Excuse(found *image.Compared, size int64) (bool, error) {
	if x.image == nil {
		return false, nil
	}
	return gpt.Excuse(found, x.image, x.Size, size)
}

// Close frees what unpacking took.
func (x *WebImage) Close() {
	if x.sequence != nil {
		x.sequence.Close()
	}
}

// peeked is a reader whose beginning has been looked at.
type peeked struct {
	r    io.Reader
	head []byte
}

func (p *peeked) peek(n int) error {
	p.head = make([]byte, n)
	got, err := io.ReadFull(p.r, p.head)
	p.head = p.head[:got]
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return err
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.r.Read(b)
}
