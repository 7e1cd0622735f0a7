package sys_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

// Structures as QEMU lays them out: type 1 with a string, type 11, type 32
// without strings, and the end.
const dmi = "\x01\x06\x00\x01\x01\x00QEMU\x00\x00" +
	"\x0b\x05\x00\x0e\x02sanstick.portal=127.0.0.1:3260\x00second\x00\x00" +
	"\x20\x0b\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x7f\x04\x00\x7f\x00\x00"

func TestParseOEMStrings(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		bad      bool
	}{
		{name: "two", in: dmi, want: []string{"sanstick.portal=127.0.0.1:3260", "second"}},
		{name: "empty table"},
		{name: "none in it", in: "\x0b\x05\x00\x0e\x00\x00\x00"},
		{name: "no end mark", in: "\x0b\x05\x00\x0e\x01a\x00\x00", want: []string{"a"}},
		{name: "what follows the end", in: "\x7f\x04\x00\x7f\x00\x00\xff\xff"},
		{name: "header cut off", in: "\x0b\x05\x00", bad: true},
		{name: "length too small", in: "\x0b\x03\x00\x0e\x00\x00", bad: true},
		{name: "length beyond the end", in: "\x0b\xff\x00\x0e\x00\x00", bad: true},
		{name: "strings cut off", in: "\x0b\x05\x00\x0e\x01abc\x00", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sys.ParseOEMStrings([]byte(tt.in))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("strings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOEMStrings(t *testing.T) {
	sysfs := t.TempDir()
	if got, err := sys.OEMStrings(sysfs); got != nil || err != nil {
		t.Errorf("without SMBIOS: %q, %v", got, err)
	}
	dir := filepath.Join(sysfs, "firmware", "dmi", "tables")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "DMI"), []byte(dmi), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := sys.OEMStrings(sysfs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sanstick.portal=127.0.0.1:3260", "second"}, got); diff != "" {
		t.Errorf("strings (-want +got):\n%s", diff)
	}
}

func FuzzParseOEMStrings(f *testing.F) {
	f.Add([]byte(dmi))
	f.Add([]byte("\x0b\x05\x00\x0e\x01abc\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = sys.ParseOEMStrings(b)
	})
}
