package image_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"sanstick/appliance/image"
)

// drain reads a source to its end.
func drain(s image.Source) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(6 * image.Window) // growing is slow under the race detector
	p := make([]byte, image.Window)
	for {
		n, zero, err := s.Next(p)
		switch {
		case errors.Is(err, io.EOF):
			return out.Bytes(), nil
		case err != nil:
			return out.Bytes(), err
		case zero:
			out.Write(make([]byte, n))
		default:
			out.Write(p[:n])
		}
		if n == 0 || !zero && n > image.Window {
			return nil, errors.New("no step forward")
		}
	}
}

// TestSources reads one disk in all ways, from the start and from later on.
func TestSources(t *testing.T) {
	disk := make([]byte, 5*image.Window+1000)
	for _, at := range []int{100, image.Window + 70_000, 4*image.Window - 1, len(disk) - 1} {
		disk[at] = 7
	}
	i, err := image.Open(holes{disk}, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []int64{0, image.Window, 2 * image.Window, 5 * image.Window} {
		for name, s := range map[string]image.Source{
			"image":    image.FromImage(i, start),
			"sequence": image.FromSequence(bytes.NewReader(disk), -1, start),
			"sized":    image.FromSequence(bytes.NewReader(disk), int64(len(disk)), start),
		} {
			got, err := drain(s)
			if err != nil || !bytes.Equal(got, disk[start:]) {
				t.Errorf("%s from %d: error %v, %d of %d bytes", name, start, err, len(got), len(disk)-int(start))
			}
		}
	}
	for name, tt := range map[string]struct {
		r           io.Reader
		size, start int64
		want        string
	}{
		"too short":           {strings.NewReader("abc"), 4, 0, "cut off"},
		"too long":            {strings.NewReader("abc"), 2, 0, "more than"},
		"shorter than before": {strings.NewReader("abc"), -1, image.Window, "ends after 3 bytes"},
		"broken":              {io.MultiReader(strings.NewReader("abc"), cutReader{}), -1, 0, "unexpected EOF"},
	} {
		if _, err := drain(image.FromSequence(tt.r, tt.size, tt.start)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// holes is a file that finds its own holes, by pages.
type holes struct{ bytesFile }

func (h holes) NextData(off int64) (int64, int64, error) {
	const page = 4096
	for at := off / page * page; at < h.Size(); at += page {
		if !image.IsZero(h.bytesFile[at:min(at+page, h.Size())]) {
			return max(off, at), min(at+page, h.Size()), nil
		}
	}
	return h.Size(), h.Size(), nil
}
