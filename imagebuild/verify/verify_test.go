package verify

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// image makes a stick image whose manifest names files; others are on it, too.
func image(t *testing.T, files []stick.File, others ...stick.File) string {
	t.Helper()
	var named []sbom.File
	for _, f := range files {
		named = append(named, sbom.File{Name: f.Name, SHA256: sbom.HashOf(f.Data)})
	}
	manifest, err := sbom.Marshal(sbom.Image{Version: "v", Created: time.Unix(0, 0), Files: named})
	if err != nil {
		t.Fatal(err)
	}
	core := make([]byte, 2000)
	binary.LittleEndian.PutUint16(core[0x1fc:], 3)
	out := filepath.Join(t.TempDir(), "stick.img")
	err = stick.Create(out, stick.Contents{BootCode: make([]byte, 512), Core: core,
		Boot: append(append(files, stick.File{Name: Manifest, Data: manifest}), others...)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheck(t *testing.T) {
	kernel := bytes.Repeat([]byte("a kernel of a kind. "), 50_000)
	files := []stick.File{{Name: "EFI/BOOT/BOOTX64.EFI", Data: []byte("shim")}, {Name: "a/vmlinuz", Data: kernel}, {Name: "a/a long name.img", Data: nil}}
	path := image(t, files, stick.File{Name: "grub/grubenv", Data: []byte("changes")})
	if good, differs, err := Check(path); err != nil || good != 3 || len(differs) > 0 {
		t.Fatalf("%d files are good, %q differ, %v", good, differs, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// One bit in the middle of the kernel.
	at := bytes.Index(data, kernel[:4096])
	data[at+500_000] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	good, differs, err := Check(path)
	if err != nil || good != 2 || len(differs) != 1 || !strings.HasPrefix(differs[0], "a/vmlinuz: has SHA-256") {
		t.Errorf("one bit is wrong: %d files are good, %q, %v", good, differs, err)
	}
}

func TestCompare(t *testing.T) {
	good, differs := compare([]sbom.File{{Name: "same", SHA256: "1"}, {Name: "gone", SHA256: "2"}, {Name: "other", SHA256: "3"}},
		map[string]string{"same": "1", "other": "4", "b/vmlinuz": "5", Manifest: "6", "grub/grubenv": "7"})
	want := []string{"b/vmlinuz: isn't in the manifest", "gone: is missing", "other: has SHA-256 4, the manifest says 3"}
	if diff := cmp.Diff(want, differs); diff != "" || good != 1 {
		t.Errorf("%d good; (-want +got):\n%s", good, diff)
	}
}

func TestCheckErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, filepath.Join(t.TempDir(), "none")} {
		if _, _, err := Check(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
