package sys

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestReadModule(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	module := bytes.Repeat([]byte("\x7fELF module "), 10000)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := enc.EncodeAll(module, nil)
	bomb := enc.EncodeAll(make([]byte, MaxModule+1), nil)
	huge := write("huge.ko", nil)
	if err := os.Truncate(huge, MaxModule+1); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, path string
		want       []byte
		bad        bool
	}{
		{name: "plain", path: write("a.ko", module), want: module},
		{name: "packed", path: write("a.ko.zst", packed), want: module},
		{name: "cut off", path: write("b.ko.zst", packed[:len(packed)/2]), bad: true},
		{name: "not zstd", path: write("c.ko.zst", []byte("what")), bad: true},
		{name: "too big when unpacked", path: write("d.ko.zst", bomb), bad: true},
		{name: "too big", path: huge, bad: true},
		{name: "not there", path: filepath.Join(dir, "no.ko"), bad: true},
	}
	d, err := newModuleDecoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readModule(d, tt.path)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if !bytes.Equal(got, tt.want) {
				t.Errorf("read %d bytes, want the %d of the module", len(got), len(tt.want))
			}
		})
	}
}
