package backing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64 // 0: an error
	}{
		{"1", 1}, {"512", 512}, {"4K", 4096}, {"4KiB", 4096}, {"64MiB", 64 << 20}, {"2G", 2 << 30}, {"1T", 1 << 40},
		{"1TiB", 1 << 40}, {"8388607T", 8388607 << 40},
		{"", 0}, {"0", 0}, {"-1", 0}, {"K", 0}, {"1B", 0}, {"1KB", 0}, {"1Ki", 0}, {"1k", 0}, {"1 M", 0}, {"1MM", 0},
		{"0x10", 0}, {"8388608T", 0}, {"99999999999999999999", 0}, {"1.5G", 0},
	} {
		got, err := ParseSize(tt.in)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "disk")
	if err := os.WriteFile(file, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		o    Options
		size int64
		want string // in the error
	}{
		{"mem:1MiB", Options{}, 1 << 20, ""},
		{"mem:1MiB", Options{LogicalBlock: 4096}, 1 << 20, ""},
		{"mem:1MiB", Options{LogicalBlock: 512, PhysicalBlock: 512}, 1 << 20, ""},
		{file, Options{LogicalBlock: 4096}, 8192, ""},
		{file, Options{ReadOnly: true}, 8192, ""},
		{"mem:1X", Options{}, 0, "mem:1X"},
		{"mem:513", Options{}, 0, "513"},
		{file, Options{LogicalBlock: 1000}, 0, "1000"},
		{dir, Options{}, 0, "neither a regular file nor a block device"},
		{"/dev/null", Options{}, 0, "neither a regular file nor a block device"},
		{filepath.Join(dir, "none"), Options{}, 0, "no such file"},
	} {
		d, err := Open(tt.path, tt.o)
		if err != nil {
			if tt.want == "" || !strings.Contains(err.Error(), tt.want) || d != nil {
				t.Errorf("Open(%q, %+v): device %v, error %v, want %q", tt.path, tt.o, d, err, tt.want)
			}
			continue
		}
		if i := d.Info(); tt.want != "" || i.Size != tt.size || i.ReadOnly != tt.o.ReadOnly {
			t.Errorf("Open(%q, %+v): %+v, want %d bytes, error %q", tt.path, tt.o, i, tt.size, tt.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
