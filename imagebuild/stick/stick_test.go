package stick

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
)

// tool runs one of the Debian tools that look at disks from outside. `make test` installs them.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Fatalf("%s is not installed (packages gdisk, dosfstools, mtools)", name)
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// volumeFile copies a partition of an image into a file of its own.
func volumeFile(t *testing.T, image string, index int) string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := partition(file.New(f, true), index)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, s.size)
	if _, err := f.ReadAt(data, s.start); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

func testContents(config string) Contents {
	core := make([]byte, 5*sector+100)
	copy(core, "GRUB")
	binary.LittleEndian.PutUint16(core[0x1fc:], 5)
	return Contents{
		BootCode: bytes.Repeat([]byte{0x5a}, sector),
		Core:     core,
		Boot: []File{
			{"EFI/BOOT/BOOTX64.EFI", []byte("shim")},
			{"EFI/debian/grub.cfg", []byte("linux\n")},
			{"a/vmlinuz", bytes.Repeat([]byte("kernel"), 100<<10)},
			{"a/initrd.img", bytes.Repeat([]byte("initrd"), 100<<10)},
			{"empty", nil},
		},
		Config: []byte(config),
	}
}

func create(t *testing.T, config string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "stick.img")
	if err := Create(out, testContents(config)); err != nil {
		t.Fatal(err)
	}
	return out
}

// config reads appliance.toml out of an image with a program that is not ours.
func config(t *testing.T, image string) string {
	t.Helper()
	return tool(t, "mtype", "-i", volumeFile(t, image, configPart), "::/"+ConfigFile)
}

func TestCreate(t *testing.T) {
	image := create(t, "hostname = \"a\"\n")
	if out := tool(t, "sgdisk", "-v", image); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	for index, label := range map[int]string{bootPart: BootLabel, configPart: ConfigLabel} {
		v := volumeFile(t, image, index)
		// fsck.fat says one line with its version and one with the counts if all is well.
		if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", v)); strings.Count(out, "\n") != 1 {
			t.Errorf("fsck.fat of %s complains:\n%s", label, out)
		}
		if out := tool(t, "minfo", "-i", v, "::"); !strings.Contains(out, label) {
			t.Errorf("minfo does not show label %s:\n%s", label, out)
		}
	}
	if got := config(t, image); got != "hostname = \"a\"\n" {
		t.Errorf("appliance.toml is %q", got)
	}
	boot := volumeFile(t, image, bootPart)
	for _, f := range testContents("").Boot {
		if got := tool(t, "mtype", "-i", boot, "::/"+f.Name); got != string(f.Data) {
			t.Errorf("%s has %d bytes of other content", f.Name, len(got))
		}
	}
}

func TestCreateBIOS(t *testing.T) {
	data, err := os.ReadFile(create(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if got := le.Uint64(data[0x5c:]); got != 1024 {
		t.Errorf("boot.img loads core.img from sector %d, want 1024", got)
	}
	if data[0x64] != 0xff || data[0x66] != 0x90 || data[0x67] != 0x90 {
		t.Error("boot.img has no workaround for a bad drive number")
	}
	if data[0] != 0x5a || data[439] != 0x5a || data[510] != 0x55 || data[511] != 0xaa {
		t.Error("boot code or protective MBR damaged")
	}
	if got := le.Uint64(data[1024*sector+0x1f4:]); got != 1025 {
		t.Errorf("core.img goes on at sector %d, want 1025", got)
	}
}

func TestReproducible(t *testing.T) {
	var sums []string
	for range 2 {
		data, err := os.ReadFile(create(t, "x = 1\n"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
	}
	if sums[0] != sums[1] {
		t.Error("equal contents give different images")
	}
}

func TestCreateErrors(t *testing.T) {
	tests := map[string]func(*Contents){
		"core too short":  func(c *Contents) { c.Core = c.Core[:sector] },
		"core too long":   func(c *Contents) { c.Core = make([]byte, mib/2+1) },
		"core block list": func(c *Contents) { binary.LittleEndian.PutUint16(c.Core[0x1fc:], 9) },
		"boot code":       func(c *Contents) { c.BootCode = nil },
		"bad name":        func(c *Contents) { c.Boot[0].Name = "/absolute" },
		"huge config":     func(c *Contents) { c.Config = make([]byte, ConfigSize) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := testContents("")
			spoil(&c)
			dir := t.TempDir()
			if err := Create(filepath.Join(dir, "stick.img"), c); err == nil {
				t.Error("no error")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWithConfig(t *testing.T) {
	image := create(t, "first = 1\n")
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "other.img")
	if err := WithConfig(image, out, []byte("this is = = not TOML\n")); err != nil {
		t.Fatal(err)
	}
	if got := config(t, out); got != "this is = = not TOML\n" {
		t.Errorf("appliance.toml of the copy is %q", got)
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image itself has changed (%v)", err)
	}
	if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", volumeFile(t, out, configPart))); strings.Count(out, "\n") != 1 {
		t.Errorf("fsck.fat complains:\n%s", out)
	}
	if err := WithConfig(out, out, []byte("again = 1\n")); err != nil {
		t.Fatalf("in place: %v", err)
	}
	if got := config(t, out); got != "again = 1\n" {
		t.Errorf("appliance.toml after the change in place is %q", got)
	}
}

func TestRefresh(t *testing.T) {
	stick := create(t, "edited = 1\n")
	c := testContents("new = 1\n")
	c.Boot[3].Data = make([]byte, 34*mib)
	image := filepath.Join(t.TempDir(), "new.img")
	if err := Create(image, c); err != nil {
		t.Fatal(err)
	}
	if err := Refresh(image, stick); err != nil {
		t.Fatal(err)
	}
	if got := config(t, stick); got != "edited = 1\n" {
		t.Errorf("appliance.toml is %q, want the edited one", got)
	}
	if got := tool(t, "mtype", "-i", volumeFile(t, stick, bootPart), "::/a/initrd.img"); len(got) != len(c.Boot[3].Data) {
		t.Error("the initramfs is not the new one")
	}
	if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", volumeFile(t, stick, configPart))); strings.Count(out, "\n") != 1 {
		t.Errorf("fsck.fat complains:\n%s", out)
	}
	if err := os.WriteFile(stick, make([]byte, mib), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Refresh(image, stick); err == nil || !strings.Contains(err.Error(), "partition table") {
		t.Errorf("a stick without partitions: error %v", err)
	}
}

// Sizes at which go-diskfs makes the tables too short, as fsck.fat found them.
func TestFATTooShort(t *testing.T) {
	for m := int64(33); m <= 260; m++ {
		want := m == 64 || m == 129 || m == 194 || m == 259
		if got := fatTooShort(m * mib); got != want {
			t.Errorf("%d MiB: too short = %v, want %v", m, got, want)
		}
	}
}

func TestBootSize(t *testing.T) {
	for _, tt := range []struct {
		bytes, size, room int64
	}{
		{0, 34 * mib, 128 * mib}, // the smallest FAT32, and long tables
		{40 * mib, 43 * mib, 128 * mib},
		{50 * mib, 53 * mib, 151 * mib},
	} {
		size, room := bootSize([]File{{"f", make([]byte, tt.bytes)}})
		if size > tt.size || size < tt.bytes || size%align != 0 || room != tt.room {
			t.Errorf("%d bytes: %d bytes with room for %d, want at most %d with room for %d", tt.bytes, size, room, tt.size, tt.room)
		}
	}
}
