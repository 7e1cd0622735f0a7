package initramfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// archive writes a small initramfs.
func archive(t testing.TB) []byte {
	t.Helper()
	c := &compressed{ctx: t.Context(), path: filepath.Join(t.TempDir(), "x")}
	w, err := c.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{{Name: "lib", Dir: true}, {Name: "lib/a.ko", Data: []byte("12345")}, {Name: "lib/b", Link: "a.ko"}, {Name: "last", Data: nil}} {
		r, err := f.record()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNames(t *testing.T) {
	got, err := Names(archive(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lib", "lib/a.ko", "lib/b", "last"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Names([]byte("no frame")); err == nil {
		t.Error("something else is read")
	}
	if _, err := cpioNames(strings.NewReader(strings.Repeat("0", 200))); err == nil {
		t.Error("something else is read")
	}
}

func FuzzNames(f *testing.F) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer dec.Close()
	plain, err := dec.DecodeAll(archive(f), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(plain[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		if names, err := cpioNames(bytes.NewReader(b)); err == nil && len(names)*110 > len(b) {
			t.Errorf("%d names in %d bytes", len(names), len(b))
		}
	})
}
