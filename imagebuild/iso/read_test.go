package iso

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/stick"
)

// What was put in is read again, but for what is made on the way.
func TestFiles(t *testing.T) {
	image := filepath.Join(t.TempDir(), "s.iso")
	c := testContents()
	if err := Create(image, c); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !Is(f) {
		t.Error("an ISO image isn't taken for one")
	}
	files, efi, err := Files(f)
	if err != nil {
		t.Fatal(err)
	}
	contents := func(files []stick.File) map[string]string {
		m := make(map[string]string)
		for _, f := range files {
			if name := strings.ToLower(f.Name); name != coreImage && name != EFIImage {
				m[name] = string(f.Data)
			}
		}
		return m
	}
	if diff := cmp.Diff(contents(append(c.System, c.Loaders[0])), contents(files)); diff != "" {
		t.Errorf("ISO volume (-want +got):\n%.2000s", diff)
	}
	if diff := cmp.Diff(contents(c.Loaders), contents(efi)); diff != "" {
		t.Errorf("EFI volume (-want +got):\n%.2000s", diff)
	}
}

func TestFilesErrors(t *testing.T) {
	if Is(bytes.NewReader(nil)) {
		t.Error("nothing is an ISO image")
	}
	for _, data := range [][]byte{nil, make([]byte, 100<<10)} {
		if _, _, err := Files(bytes.NewReader(data)); err == nil {
			t.Errorf("%d zeros are read", len(data))
		}
	}
}

// FuzzFiles reads images of which somebody has changed the head and cut the end.
func FuzzFiles(f *testing.F) {
	image := filepath.Join(f.TempDir(), "s.iso")
	c := testContents()
	for i := range c.System {
		c.System[i].Data = []byte("x")
	}
	if err := Create(image, c); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	good = good[:3<<20]
	f.Add([]byte{}, uint32(pvdBlock*block), uint32(len(good)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint32(pvdBlock*block+80), uint32(1<<20))
	f.Add([]byte{34, 0, 22, 0, 0, 0}, uint32(firstDir*block), uint32(1<<20))
	f.Fuzz(func(t *testing.T, change []byte, at, size uint32) {
		b := bytes.Clone(good)
		copy(b[int(at)%len(b):], change)
		files, efi, err := Files(bytes.NewReader(b[:int(size)%(len(b)+1)]))
		if err == nil && (len(files) == 0 || len(files)+len(efi) > 2*maxEntries) {
			t.Errorf("%d and %d files", len(files), len(efi))
		}
	})
}

func FuzzFAT16(f *testing.F) {
	good, err := fat16(efiLabel, efiSerial, testContents().Loaders)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0, 0, 0}, uint32(11))
	f.Add([]byte{2, 0}, uint32(fatSector+4))
	f.Fuzz(func(t *testing.T, change []byte, at uint32) {
		b := bytes.Clone(good)
		copy(b[int(at)%len(b):], change)
		if _, err := readFAT16(b); err != nil {
			return
		}
	})
}
