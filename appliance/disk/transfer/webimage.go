package transfer

import (
	"fmt"
	"io"
	"slices"

	"sanstick/appliance/image"
	"sanstick/appliance/image/gpt"
	"sanstick/appliance/image/stream"
)

// A WebImage is a disk image on a web server.
type WebImage struct {
	Format   string
	Size     int64         // of the disk; -1 if it shows only at the end
	From, To *stream.Point // of a stream

	files    []*Web          // that it consists of, the one that was named first
	image    image.Image     // what can be read here and there, or
	sequence *image.Sequence // what can't
	stream   *stream.Reader  // with the format of that name
}

// OpenWebImage reads the beginning of an image, and its tables. An empty format
// means to find it out.
func OpenWebImage(w *Web, format string) (*WebImage, error) {
	x := &WebImage{files: []*Web{w}}
	if err := x.open(w, format); err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

func (x *WebImage) open(w *Web, format string) error {
	r := &peeked{r: w.Reader()}
	kind := format
	if kind == "" {
		if err := r.peek(512); err != nil {
			return err
		}
		kind = image.Sniff(r.head)
	}
	switch kind {
	case image.Gzip, image.Zstd, image.XZ, image.Stream:
		return x.sequential(r, kind, -1)
	case image.Raw, "":
		if w.Size() < 0 {
			return fmt.Errorf("the server of %s doesn't tell how long the file is, so nobody could notice that its end is missing: fetch the file, and import that", w)
		}
		if !w.Ranges() {
			return x.sequential(r, image.Raw, w.Size())
		}
	default:
		if !w.Ranges() {
			return fmt.Errorf("an image of format %s has to be read here and there, which the server of %s doesn't allow: fetch the file, and import that", kind, w)
		}
	}
	i, err := image.Open(w, w.Name(), format, func(name string) (image.File, error) {
		s, err := w.Sibling(name)
		if err != nil {
			return nil, err
		}
		x.files = append(x.files, s)
		if !s.Ranges() {
			return nil, fmt.Errorf("the server of %s doesn't allow to read it here and there", s)
		}
		return s, nil
	})
	if err != nil {
		return err
	}
	x.Format, x.Size, x.image = i.Format(), i.Size(), i
	return nil
}

func (x *WebImage) sequential(r io.Reader, format string, size int64) (err error) {
	if x.sequence, err = image.NewSequence(r, format); err != nil {
		return err
	}
	x.Format, x.Size = x.sequence.Format, size
	if x.Format == image.Stream {
		if x.stream, err = stream.NewReader(x.sequence); err != nil {
			return err
		}
		x.Size, x.From, x.To = x.stream.Size, x.stream.From, x.stream.To
	}
	return nil
}

// Identity changes when any of the image's files does, as far as the server tells.
func (x *WebImage) Identity() string {
	all := x.Format
	for _, w := range x.files {
		all += "\n" + w.Identity()
	}
	return all
}

// Known tells whether the server says how to know all of the image again.
func (x *WebImage) Known() bool {
	return !slices.ContainsFunc(x.files, func(w *Web) bool { return !w.Known() })
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

// Close frees what unpacking took, and closes the files but the one that was named.
func (x *WebImage) Close() {
	for _, w := range x.files[1:] {
		w.Close()
	}
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
