package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

// source is a disk image where sanctl runs.
type source struct {
	format   string
	size     int64         // of the disk; -1 if it shows only at the end
	identity string        // 16 hexadecimal digits
	from, to *stream.Point // of a stream
	raw      io.Reader     // a stream with changes, from its beginning

	content func(start int64) (image.Source, error) // once
	image   image.Image                             // nil if it can only be read from its beginning
	files   []*diskFile
	seq     *image.Sequence
}

func (s *source) Close() {
	for _, f := range s.files {
		f.Close()
	}
	if s.seq != nil {
		s.seq.Close()
	}
}

// openSource opens an image by its name, or the standard input.
func openSource(c *call, name, format string) (s *source, err error) {
	s = new(source)
	defer func() {
		if err != nil {
			s.Close()
			err = fmt.Errorf("cannot read %s: %w", name, err)
		}
	}()
	if name == "-" {
		if isTerminal(c.stdin) {
			return s, errors.New("the standard input is a terminal")
		}
		s.identity = randomIdentity()
		return s, s.sequence(c.stdin, format, -1)
	}
	open := func(name string) (*diskFile, error) {
		f, err := openFile(name)
		if err == nil {
			s.files = append(s.files, f)
		}
		return f, err
	}
	f, err := open(name)
	if err != nil {
		return s, err
	}
	kind := format
	if kind == "" {
		head := make([]byte, 512)
		n, err := f.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return s, err
		}
		kind = image.Sniff(head[:n])
	}
	switch kind {
	case image.Gzip, image.Zstd, image.XZ, image.Stream:
		if err := s.sequence(bufio.NewReaderSize(f.File, 1<<20), kind, -1); err != nil {
			return s, err
		}
	default:
		i, err := image.Open(f, name, format, beside(name, open))
		if err != nil {
			return s, err
		}
		s.format, s.size, s.image = i.Format(), i.Size(), i
		s.content = func(start int64) (image.Source, error) { return image.FromImage(i, start), nil }
	}
	s.identity = s.identify(name)
	return s, nil
}

// sequence opens what is read from its beginning to its end.
func (s *source) sequence(r io.Reader, format string, size int64) (err error) {
	if s.seq, err = image.NewSequence(r, format); err != nil {
		return err
	}
	s.format, s.size = s.seq.Format, size
	if s.format != image.Stream {
		s.content = func(start int64) (image.Source, error) { return image.FromSequence(s.seq, size, start), nil }
		return nil
	}
	var seen headKeeper
	x, err := stream.NewReader(io.TeeReader(s.seq, &seen))
	if err != nil {
		return err
	}
	s.raw = io.MultiReader(&seen, s.seq)
	s.size, s.from, s.to = x.Size, x.From, x.To
	s.content = func(start int64) (image.Source, error) {
		seen.stop()
		if x.Start != 0 {
			return nil, fmt.Errorf("the stream begins at byte %d only", x.Start)
		}
		return image.Skip(x.Source(), start), nil
	}
	return nil
}

// headKeeper keeps a stream's header, so that it can be sent on.
type headKeeper struct {
	b       []byte
	stopped bool
}

func (k *headKeeper) Write(p []byte) (int, error) {
	if !k.stopped {
		k.b = append(k.b, p...)
	}
	return len(p), nil
}

func (k *headKeeper) stop() { k.stopped, k.b = true, nil }

func (k *headKeeper) Read(p []byte) (int, error) {
	k.stopped = true
	if len(k.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, k.b)
	k.b = k.b[n:]
	return n, nil
}

// identify makes what stands for the content: if a file changes, so does this.
func (s *source) identify(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	text := name + "\n" + s.format
	for _, f := range s.files {
		text += fmt.Sprintf("\n%d %d %d", f.size, f.changed, f.inode)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// diskFile is a file, or a disk, that knows its holes.
type diskFile struct {
	*os.File
	size           int64
	changed, inode int64
}

func openFile(name string) (*diskFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	d := &diskFile{File: f}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil {
		d.changed, d.inode = st.Mtim.Nano(), int64(st.Ino)
		d.size, err = f.Seek(0, io.SeekEnd) // a block device has its size there
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		err = errors.New("it is neither a file nor a disk; a pipe is read as -")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func (f *diskFile) Size() int64 { return f.size }

// NextData implements image.Holey.
func (f *diskFile) NextData(off int64) (begin, end int64, err error) {
	begin, err = f.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole to the end
		return f.size, f.size, nil
	case errors.Is(err, unix.EINVAL): // it doesn't know
		return off, f.size, nil
	case err != nil:
		return 0, 0, err
	}
	if end, err = f.Seek(begin, unix.SEEK_HOLE); err != nil {
		return begin, f.size, nil
	}
	return begin, end, nil
}
