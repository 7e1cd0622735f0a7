package transfer

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

// TestChanges sends what differs and applies it, with a power cut at each
// write.
func TestChanges(t *testing.T) {
	const size = 12 * mib
	from, to := newDevice(t, size, 0), newDevice(t, size, 0)
	rnd := rand.NewChaCha8([32]byte{4})
	rnd.Read(from.b[:3*mib])
	copy(to.b, from.b)
	rnd.Read(to.b[mib : mib+70_000])
	rnd.Read(to.b[10*mib : 11*mib+5])
	clear(to.b[2*mib : 2*mib+200_000])
	changed, err := Differences(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{{mib, 2 << 16}, {2 * mib, 4 << 16}, {10 * mib, mib + 1<<16}}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	var sent bytes.Buffer
	h := stream.Header{Size: size, From: &stream.Point{Name: "a", UUID: "1"}, To: &stream.Point{Name: "b", UUID: "2"}}
	if err := WriteChanges(t.Context(), &sent, h, to, changed); err != nil {
		t.Fatal(err)
	}
	if sent.Len() > 2*mib {
		t.Errorf("%d bytes were sent", sent.Len())
	}
	for cut := range 8 {
		d := newDevice(t, size, 0)
		d.load(from.b)
		d.left = cut
		for runs := 0; ; runs++ {
			s, err := stream.NewReader(bytes.NewReader(sent.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if err = Apply(t.Context(), d, s, nil); err == nil {
				break
			}
			if runs > 1 {
				t.Fatal(err)
			}
			d.restart()
		}
		if !bytes.Equal(d.durable, to.b) {
			t.Errorf("cut %d: differs", cut)
		}
	}
	s, err := stream.NewReader(bytes.NewReader(sent.Bytes()[:sent.Len()-32]))
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, size, 0)
	if err := Apply(t.Context(), d, s, nil); err == nil {
		t.Error("a stream without its end is applied")
	}
	if s, err = stream.NewReader(bytes.NewReader(sent.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), newDevice(t, size-mib, 0), s, nil); err == nil {
		t.Error("a stream of a larger disk is applied")
	}
}

// TestContent: what is known to be zeros isn't read.
func TestContent(t *testing.T) {
	const size = 64*mib + 4096
	d := newDevice(t, size, 0)
	rnd := rand.NewChaCha8([32]byte{5})
	data := []Range{{mib, 2 << 16}, {40 * mib, mib}, {64 * mib, 1 << 16}} // the last chunk reaches beyond the end
	for _, r := range data {
		rnd.Read(d.b[r.Off:min(r.Off+r.Len, size)])
	}
	src, err := Content(t.Context(), d, data)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for buf := make([]byte, image.Window); ; {
		n, zero, err := src.Next(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if zero {
			got = append(got, make([]byte, n)...)
		} else {
			got = append(got, buf[:n]...)
		}
	}
	if !bytes.Equal(got, d.b) {
		t.Error("the content differs")
	}
	if d.read > 2*mib {
		t.Errorf("%d bytes were read", d.read)
	}
}
