package stream_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

func disk() []byte {
	b := make([]byte, 4*image.Window+3*512)
	rnd := rand.NewChaCha8([32]byte{3})
	rnd.Read(b[:200_000])
	rnd.Read(b[image.Window-700 : image.Window+700])
	rnd.Read(b[len(b)-100:])
	return b
}

func send(t testing.TB, b []byte, h stream.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	src := image.FromSequence(bytes.NewReader(b), -1, h.Start)
	if err := stream.Write(&out, h, src, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func receive(b []byte) ([]byte, error) {
	r, err := stream.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	src, out, p := r.Source(), new(bytes.Buffer), make([]byte, image.Window)
	out.Grow(5 * image.Window) // growing is slow under the race detector
	for {
		n, zero, err := src.Next(p)
		switch {
		case errors.Is(err, io.EOF):
			return out.Bytes(), nil
		case err != nil:
			return nil, err
		case zero && n > 64<<20:
			return nil, errors.New("too much for a test")
		case zero:
			out.Write(make([]byte, n))
		default:
			out.Write(p[:n])
		}
	}
}

func TestRoundTrip(t *testing.T) {
	b := disk()
	for _, start := range []int64{0, image.Window} {
		for _, size := range []int64{int64(len(b)), -1} {
			sent := send(t, b, stream.Header{Volume: "vm1", Size: size, Start: start, To: &stream.Point{Name: "a", UUID: "b"}})
			got, err := receive(sent)
			if err != nil || !bytes.Equal(got, b[start:]) {
				t.Errorf("start %d, size %d: error %v, %d bytes", start, size, err, len(got))
			}
			if len(sent) > 400_000 {
				t.Errorf("the stream has %d bytes: zeros were sent", len(sent))
			}
		}
	}
}

// check receives a stream into p, of a window, and doesn't keep it.
func check(b, p []byte) error {
	r, err := stream.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	src := r.Source()
	for {
		if _, _, err := src.Next(p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestDamage cuts a stream at any place, changes any byte, and leaves out any
// record: nothing of that may pass for the whole.
func TestDamage(t *testing.T) {
	b := disk()
	sent, p := send(t, b, stream.Header{Size: int64(len(b))}), make([]byte, image.Window)
	rnd := rand.New(rand.NewPCG(1, 1))
	places := []int{0, 8, 20, len(sent) - 1, len(sent) - 16, len(sent) - 33}
	for range 200 {
		places = append(places, rnd.IntN(len(sent)))
	}
	for _, at := range places {
		if err := check(sent[:at], p); err == nil {
			t.Errorf("cut at %d of %d and taken for whole", at, len(sent))
		}
		sent[at] ^= 0x10
		if err := check(sent, p); err == nil {
			t.Errorf("byte %d changed and not noticed", at)
		}
		sent[at] ^= 0x10
	}
	if err := check(sent, p); err != nil {
		t.Errorf("undamaged again: %v", err)
	}
	if err := check(sent[:len(sent)-32], p); !errors.Is(err, stream.ErrCut) {
		t.Errorf("without its end mark: error %v", err)
	}
}

func TestIncremental(t *testing.T) {
	var out bytes.Buffer
	w, err := stream.NewWriter(&out, stream.Header{Size: 1 << 30, From: &stream.Point{Name: "a", UUID: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("abc"), 500_000)
	for _, err := range []error{w.Data(4096, data), w.Zeros(1<<24, 5), w.Zeros(1<<24+5, 6), w.Data(1<<25, data[:7]), w.Close(1 << 30)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := stream.NewReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var got []stream.Record
	for {
		rec, err := r.Next() // data is not taken
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec)
	}
	want := []stream.Record{{4096, 1 << 20, false}, {4096 + 1<<20, 1_500_000 - 1<<20, false}, {1 << 24, 11, true}, {1 << 25, 7, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got)\n%s", diff)
	}
	if _, err := receive(out.Bytes()); err == nil || !strings.Contains(err.Error(), "only what differs") {
		t.Errorf("taken for a full one: error %v", err)
	}
	if err := w.Data(0, data); err == nil {
		t.Error("it takes what comes before")
	}
}

// FuzzReader wants no panic, and no record outside of the disk.
func FuzzReader(f *testing.F) {
	f.Add(send(f, disk()[:100_000], stream.Header{Size: 100_000}))
	f.Add(send(f, disk()[:5000], stream.Header{Size: -1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = receive(b)
		r, err := stream.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for last := int64(0); ; {
			rec, err := r.Next()
			if err != nil {
				return
			}
			if rec.Off < last || rec.Len <= 0 || r.Size >= 0 && rec.Off+rec.Len > r.Size {
				t.Fatalf("record %+v behind %d on a disk of %d", rec, last, r.Size)
			}
			last = rec.Off + rec.Len
		}
	})
}
