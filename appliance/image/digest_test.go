package image_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sanstick/appliance/image"
)

func TestCompare(t *testing.T) {
	const p = image.PieceSize
	disk := make([]byte, 2*image.Window+1000)
	copy(disk[5*p:], bytes.Repeat([]byte("x"), 3*p))
	disk[len(disk)-1] = 1
	raw := func(b []byte) image.Source { return image.FromSequence(bytes.NewReader(b), -1, 0) }
	for name, tt := range map[string]struct {
		other func() []byte
		want  image.Compared
	}{
		"same":            {func() []byte { return disk }, image.Compared{Bytes: 2*image.Window + p}},
		"longer by zeros": {func() []byte { return append(bytes.Clone(disk), make([]byte, 3*p)...) }, image.Compared{Bytes: 2*image.Window + 4*p}},
		"longer by more":  {func() []byte { return append(bytes.Clone(disk), bytes.Repeat([]byte("y"), 3*p)...) }, image.Compared{Bytes: 2*image.Window + 4*p, Differing: 4 * p, First: []image.Difference{{Off: 2 * image.Window, Len: 4 * p}}}},
		"shorter":         {func() []byte { return disk[:2*image.Window] }, image.Compared{Bytes: 2*image.Window + p, Differing: p, First: []image.Difference{{Off: 2 * image.Window, Len: p}}}},
		"a byte":          {func() []byte { b := bytes.Clone(disk); b[6*p] = 'y'; return b }, image.Compared{Bytes: 2*image.Window + p, Differing: p, First: []image.Difference{{Off: 6 * p, Len: p}}}},
		"three, told of two": {func() []byte {
			b := bytes.Clone(disk)
			b[0], b[10*p], b[20*p] = 1, 1, 1
			return b
		}, image.Compared{Bytes: 2*image.Window + p, Differing: 3 * p, First: []image.Difference{{Off: 0, Len: p}, {Off: 10 * p, Len: p}}}},
	} {
		var d bytes.Buffer
		if err := image.Digests(&d, raw(tt.other()), nil); err != nil {
			t.Fatal(err)
		}
		got, err := image.Compare(raw(disk), bytes.NewReader(d.Bytes()), 2, nil)
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(image.Compared{})); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got)\n%s", name, err, diff)
		}
		if _, err := image.Compare(raw(disk), bytes.NewReader(d.Bytes()[:d.Len()-1]), 2, nil); err == nil {
			t.Errorf("%s: digests that are cut off are taken", name)
		}
	}
}
