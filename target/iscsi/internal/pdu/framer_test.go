package pdu

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// The byte order on the wire, by the vectors of RFC 7143 appendix A.
func TestDigestVectors(t *testing.T) {
	up := make([]byte, 32)
	for i := range up {
		up[i] = byte(i)
	}
	for _, tt := range []struct{ data, want []byte }{
		{make([]byte, 32), []byte{0xaa, 0x36, 0x91, 0x8a}},
		{bytes.Repeat([]byte{0xff}, 32), []byte{0x43, 0xab, 0xa8, 0x62}},
		{up, []byte{0x4e, 0x79, 0xdd, 0x46}},
	} {
		var b Batch
		b.DataDigest = true
		b.Add(&BHS{}, nil, tt.data)
		var out bytes.Buffer
		if err := b.Flush(&out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.Bytes()[48+32:]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if crc32.Checksum(tt.data, castagnoli) == 0 {
			t.Error("checksum of nothing")
		}
	}
}

type sent struct {
	Op        Opcode
	AHS, Data string
}

func script() []sent {
	big := string(bytes.Repeat([]byte("0123456789abcdef"), 5000))
	return []sent{
		{OpNOPOut, "", ""},
		{OpNOPOut, "", "x"},
		{OpSCSICommand, "\x00\x05\x02\x00abcd", "hello"},
		{OpDataOut, "", big},
		{OpDataOut, "", big[:4097]},
		{OpLogout, "", ""},
	}
}

func TestFramerRoundTrip(t *testing.T) {
	for _, hd := range []bool{false, true} {
		for _, dd := range []bool{false, true} {
			for _, slow := range []bool{false, true} {
				t.Run(fmt.Sprintf("header=%v data=%v bytewise=%v", hd, dd, slow), func(t *testing.T) {
					var wire bytes.Buffer
					b := Batch{HeaderDigest: hd, DataDigest: dd}
					want := script()
					for _, s := range want {
						h := BHS{0: byte(s.Op)}
						b.Add(&h, []byte(s.AHS), []byte(s.Data))
					}
					size := b.Size()
					if err := b.Flush(&wire); err != nil {
						t.Fatal(err)
					}
					if wire.Len() != size {
						t.Errorf("Size said %d, %d bytes written", size, wire.Len())
					}
					var src io.Reader = &wire
					if slow {
						src = iotest.OneByteReader(src)
					}
					r := NewReader(src, 4096)
					r.HeaderDigest, r.DataDigest, r.MaxData = hd, dd, 1<<20
					var got []sent
					for {
						h, ahs, err := r.Next()
						if errors.Is(err, io.EOF) {
							break
						}
						if err != nil {
							t.Fatal(err)
						}
						s := sent{h.Opcode(), string(ahs), ""}
						data := make([]byte, h.DataLen())
						half := len(data) / 2
						if err := r.Body(data[:half]); err != nil {
							t.Fatal(err)
						}
						if err := r.Data(data[half:]); err != nil {
							t.Fatal(err)
						}
						s.Data = string(data)
						got = append(got, s)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

func wire(hd, dd bool, ss ...sent) []byte {
	b := Batch{HeaderDigest: hd, DataDigest: dd}
	for _, s := range ss {
		h := BHS{0: byte(s.Op)}
		b.Add(&h, []byte(s.AHS), []byte(s.Data))
	}
	var out bytes.Buffer
	if err := b.Flush(&out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestDataDigestErrorKeepsStep(t *testing.T) {
	long := string(make([]byte, 10000))
	b := wire(true, true, sent{OpDataOut, "", long}, sent{OpNOPOut, "", "ok"})
	b[60] ^= 1
	for _, how := range []string{"read", "skip"} {
		r := NewReader(bytes.NewReader(b), 512)
		r.HeaderDigest, r.DataDigest, r.MaxData = true, true, 1<<16
		h, _, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if how == "read" {
			err = r.Data(make([]byte, h.DataLen()))
		} else {
			err = r.End()
		}
		if !errors.Is(err, ErrDataDigest) {
			t.Errorf("%s: error %v, want ErrDataDigest", how, err)
		}
		h, _, err = r.Next()
		if err != nil || h.Opcode() != OpNOPOut {
			t.Fatalf("%s: next PDU: %v, %v", how, h, err)
		}
		p := make([]byte, 2)
		if err := r.Data(p); err != nil || string(p) != "ok" {
			t.Errorf("%s: %q, %v", how, p, err)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	whole := wire(true, false, sent{OpNOPOut, "\x00\x05\x02\x00abcd", "hello"})
	flipped := bytes.Clone(whole)
	flipped[50] ^= 1 // in the AHS
	r := NewReader(bytes.NewReader(flipped), 512)
	r.HeaderDigest = true
	if _, _, err := r.Next(); !errors.Is(err, ErrHeaderDigest) {
		t.Errorf("changed AHS: error %v, want ErrHeaderDigest", err)
	}

	r = NewReader(bytes.NewReader(wire(false, false, sent{OpNOPOut, "", "hello"})), 512)
	r.MaxData = 4
	if _, _, err := r.Next(); !errors.Is(err, ErrTooLong) {
		t.Errorf("5 bytes, limit 4: error %v, want ErrTooLong", err)
	}

	for n := range whole {
		r := NewReader(bytes.NewReader(whole[:n]), 512)
		r.HeaderDigest = true
		_, _, err := r.Next()
		if err == nil {
			err = r.End()
		}
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("cut at %d: error %v, want %v", n, err, want)
		}
	}

	r = NewReader(bytes.NewReader(wire(false, false, sent{OpNOPOut, "", "hello"})), 512)
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := r.Body(make([]byte, 6)); err == nil {
		t.Error("Body read beyond the data segment")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(wire(false, false, script()...), false, false)
	f.Add(wire(true, true, script()...), true, true)
	f.Add(bytes.Repeat([]byte{255}, 60), false, false)
	f.Fuzz(func(t *testing.T, b []byte, hd, dd bool) {
		r := NewReader(bytes.NewReader(b), 256)
		r.HeaderDigest, r.DataDigest = hd, dd
		for range 1000 {
			h, ahs, err := r.Next()
			if err != nil {
				return
			}
			if h.DataLen() > r.MaxData || len(ahs) > maxAHSLen {
				t.Fatalf("limits passed: %d, %d", h.DataLen(), len(ahs))
			}
			p := make([]byte, h.DataLen())
			if err := r.Data(p); err != nil && !errors.Is(err, ErrDataDigest) {
				return
			}
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	data := make([]byte, 4096)
	var batch Batch
	b.ReportAllocs()
	b.SetBytes(4096)
	for i := 0; b.Loop(); i++ {
		var h BHS
		(&DataIn{ITT: uint32(i)}).Encode(&h)
		batch.Add(&h, nil, data)
		if i%32 == 31 {
			if err := batch.Flush(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	}
}
