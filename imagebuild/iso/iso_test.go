package iso

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/imagebuild/stick"
)

// tool runs one of the Debian tools that look at images from outside. `make test` installs them.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Fatalf("%s is not installed (packages xorriso, gdisk, dosfstools, mtools)", name)
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func testContents() Contents {
	return Contents{
		HybridCode: bytes.Repeat([]byte{0x5a}, sector),
		ElTorito:   bytes.Repeat([]byte("core"), 2000),
		Loaders: []stick.File{
			{Name: "EFI/debian/grub.cfg", Data: []byte("linux\n")},
			{Name: "EFI/BOOT/BOOTX64.EFI", Data: bytes.Repeat([]byte("shim"), 5000)},
			{Name: "EFI/BOOT/grubx64.efi", Data: bytes.Repeat([]byte("grub"), 70001)},
		},
		System: []stick.File{
			{Name: "manifest.json", Data: []byte("{}\n")},
			{Name: "a/vmlinuz", Data: bytes.Repeat([]byte("kernel"), 100<<10)},
			{Name: "a/initrd.img", Data: bytes.Repeat([]byte("initrd"), 100<<10)},
		},
		Config: []byte("hostname = \"a\"\n"),
	}
}

// What programs that are not ours find in an image.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "s.iso")
	if err := Create(image, testContents()); err != nil {
		t.Fatal(err)
	}
	if out := tool(t, "sgdisk", "-v", image); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	report := tool(t, "xorriso", "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain")
	for _, want := range []string{"El Torito boot img :   1  BIOS  y   none", "El Torito boot img :   2  UEFI  y   none", "grub2-mbr", "GPT"} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso doesn't report %q:\n%s", want, report)
		}
	}
	tree := filepath.Join(dir, "tree")
	tool(t, "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", tree)
	all := map[string][]byte{}
	err := filepath.WalkDir(tree, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[strings.ToLower(strings.TrimPrefix(p, tree+"/"))], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c := testContents()
	for _, f := range append(c.System, c.Loaders[0]) {
		if got := all[strings.ToLower(f.Name)]; !bytes.Equal(got, f.Data) {
			t.Errorf("%s has %d bytes, want %d", f.Name, len(got), len(f.Data))
		}
	}
	efi := filepath.Join(dir, "efi")
	if err := os.WriteFile(efi, all["boot/efi.img"], 0o644); err != nil {
		t.Fatal(err)
	}
	if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", efi)); strings.Count(out, "\n") != 1 {
		t.Errorf("fsck.fat of the EFI volume complains:\n%s", out)
	}
	for _, f := range c.Loaders {
		if got := tool(t, "mtype", "-i", efi, "::/"+f.Name); got != string(f.Data) {
			t.Errorf("%s has %d bytes on the EFI volume, want %d", f.Name, len(got), len(f.Data))
		}
	}
	again := filepath.Join(dir, "again.iso")
	if err := Create(again, c); err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, image), read(t, again); !bytes.Equal(a, b) {
		t.Error("equal contents give different images")
	}
}

// GRUB's parts know where each other lie.
func TestBoot(t *testing.T) {
	image := filepath.Join(t.TempDir(), "s.iso")
	if err := Create(image, testContents()); err != nil {
		t.Fatal(err)
	}
	data := read(t, image)
	catalog := data[binary.LittleEndian.Uint32(data[17*block+71:])*block:]
	core := le.Uint32(catalog[32+8:])
	if got, want := le.Uint64(data[0x1b0:]), uint64(core)*4+4; got != want {
		t.Errorf("the boot sector goes on at sector %d, want %d", got, want)
	}
	at := data[core*block:]
	if got, want := le.Uint64(at[2548:]), uint64(core)*4+5; got != want {
		t.Errorf("the core image goes on at sector %d, want %d", got, want)
	}
	if le.Uint32(at[8:]) != 16 || le.Uint32(at[12:]) != core || le.Uint32(at[16:]) != 8000 {
		t.Errorf("boot information table: % x", at[8:24])
	}
	if data[0] != 0x5a || data[510] != 0x55 || data[511] != 0xaa {
		t.Error("boot code or protective MBR damaged")
	}
}

func TestCreateErrors(t *testing.T) {
	tests := map[string]func(*Contents){
		"no boot code": func(c *Contents) { c.HybridCode = nil },
		"no core":      func(c *Contents) { c.ElTorito = nil },
		"long name":    func(c *Contents) { c.Loaders[1].Name = "EFI/BOOT/longer-than-8.EFI" },
		"empty loader": func(c *Contents) { c.Loaders[1].Data = nil },
		"huge loader":  func(c *Contents) { c.Loaders[1].Data = make([]byte, 33*mib) },
		"twice":        func(c *Contents) { c.System = append(c.System, c.System[0]) },
		"huge config":  func(c *Contents) { c.Config = make([]byte, stick.ConfigSize) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			c := testContents()
			spoil(&c)
			dir := t.TempDir()
			if err := Create(filepath.Join(dir, "s.iso"), c); err == nil {
				t.Error("no error")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
