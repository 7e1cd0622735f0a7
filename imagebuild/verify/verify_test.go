package verify

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/appliance/update"
	"sanstick/imagebuild/iso"
	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// system is the files of a slot, with a description that is right.
func system(slot, version, kernel, initrd string) map[string]string {
	m := update.Manifest{Format: 1, Release: update.Release{Version: version, Time: time.Unix(1e9, 0), Arch: "amd64", Config: update.Range{Oldest: 1, Newest: 1}}}
	for _, f := range [][2]string{{update.KernelName, kernel}, {update.InitramfsName, initrd}} {
		m.Files = append(m.Files, update.File{Name: f[0], Size: int64(len(f[1])), SHA256: sbom.HashOf([]byte(f[1]))})
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return map[string]string{slot + "/vmlinuz": kernel, slot + "/initrd.img": initrd, slot + "/slot.json": string(text)}
}

func grubenv(lines string) string {
	b := "# GRUB Environment Block\n" + lines
	return b + strings.Repeat("#", 512-len(b))
}

var loaders = map[string]string{"EFI/BOOT/BOOTX64.EFI": "shim", "EFI/debian/grub.cfg": "linux"}

// built is the boot volume of an image that nobody has used.
func built(t *testing.T) map[string]string {
	t.Helper()
	all := system("a", "v1", strings.Repeat("a kernel of a kind. ", 5000), "initrd")
	maps.Copy(all, loaders)
	named := hashes(code(t))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		named = append(named, sbom.File{Name: name, SHA256: sbom.HashOf([]byte(all[name]))})
	}
	manifest, err := sbom.Marshal(sbom.Image{Version: "v", Created: time.Unix(0, 0), Files: named, Inside: []sbom.File{{Name: "etc/issue", SHA256: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	all[Manifest], all["grub/grubenv"] = string(manifest), grubenv("active=a\n")
	return all
}

// bootCode and core are GRUB's images for a BIOS.
func bootCode() (boot, core []byte) {
	boot, core = bytes.Repeat([]byte("boot"), 128), bytes.Repeat([]byte("core"), 500)
	binary.LittleEndian.PutUint16(core[0x1fc:], 3)
	return boot, core
}

func code(t *testing.T) []stick.File {
	t.Helper()
	c, err := stick.Code(bootCode())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hashes(files []stick.File) []sbom.File {
	var out []sbom.File
	for _, f := range files {
		out = append(out, sbom.File{Name: f.Name, SHA256: sbom.HashOf(f.Data)})
	}
	return out
}

func list(all map[string]string) []stick.File {
	var out []stick.File
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, stick.File{Name: name, Data: []byte(all[name])})
	}
	return out
}

// image makes a stick image of files.
func image(t *testing.T, all map[string]string, toml []byte) string {
	t.Helper()
	boot, core := bootCode()
	out := filepath.Join(t.TempDir(), "stick.img")
	if err := stick.Create(out, stick.Contents{BootCode: boot, Core: core, Boot: list(all), Config: toml}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBoot(t *testing.T) {
	update2 := system("b", "v2", "another kernel", "another initrd")
	set := func(name, content string) func(map[string]string) {
		return func(v map[string]string) { v[name] = content }
	}
	tests := []struct {
		name   string
		change func(map[string]string)
		good   int
		notes  []string // that are there beside what is always told
		wrong  []string // beginnings
	}{
		{"as built", func(map[string]string) {}, 7, []string{"grub/grubenv: slot a is active"}, nil},
		{"updated", func(v map[string]string) { maps.Copy(v, update2); v["grub/grubenv"] = grubenv("active=b\n") }, 10,
			[]string{"grub/grubenv: slot b is active", "slot b: isn't what the image had, but as b/slot.json describes it: version v2 of 2001-09-09 01:46"}, nil},
		{"updated twice", func(v map[string]string) { maps.Copy(v, update2); maps.Copy(v, system("a", "v3", "k3", "i3")) }, 10,
			[]string{"grub/grubenv: slot a is active", "slot a: isn't what the image had, but as a/slot.json describes it: version v3 of 2001-09-09 01:46",
				"slot b: isn't what the image had, but as b/slot.json describes it: version v2 of 2001-09-09 01:46"}, nil},
		{"on trial", func(v map[string]string) {
			maps.Copy(v, update2)
			v["grub/grubenv"] = grubenv("active=a\nnext=b\nleft=1\n")
		}, 10,
			[]string{"grub/grubenv: slot a is active, and the next start tries slot b", "slot b: isn't what the image had, but as b/slot.json describes it: version v2 of 2001-09-09 01:46"}, nil},
		{"cut off", func(v map[string]string) { v["b/vmlinuz.new"], v["b/initrd.img"] = "half a ker", "" }, 7,
			[]string{"grub/grubenv: slot a is active", "slot b: holds nothing that is started (an update that didn't come to its end: b/initrd.img, b/vmlinuz.new)"}, nil},
		{"found by fsck", set("FSCK0000.REC", "x"), 7, []string{"FSCK0000.REC: was found by fsck.fat after a power cut; the appliance removes it at the next update", "grub/grubenv: slot a is active"}, nil},

		{"a boot loader is damaged", set("EFI/BOOT/BOOTX64.EFI", "shin"), 6, []string{"grub/grubenv: slot a is active"}, []string{"EFI/BOOT/BOOTX64.EFI: has SHA-256"}},
		{"a boot loader is gone", func(v map[string]string) { delete(v, "EFI/debian/grub.cfg") }, 6, []string{"grub/grubenv: slot a is active"}, []string{"EFI/debian/grub.cfg: is missing"}},
		{"something else", set("EFI/BOOT/fbx64.efi", "x"), 7, []string{"grub/grubenv: slot a is active"}, []string{"EFI/BOOT/fbx64.efi: isn't in the manifest"}},
		{"slot a is damaged", set("a/initrd.img", "initrf"), 5, []string{"grub/grubenv: slot a is active"}, []string{"a/initrd.img: has SHA-256"}},
		{"slot a is cut", set("a/initrd.img", "init"), 5, []string{"grub/grubenv: slot a is active"}, []string{"a/initrd.img: has 4 bytes, a/slot.json says 6"}},
		{"a description of nothing", set("a/slot.json", "{}"), 4, []string{"grub/grubenv: slot a is active"}, []string{"a/slot.json: isn't as the manifest says, and doesn't describe an update"}},
		{"the update is damaged", func(v map[string]string) { maps.Copy(v, update2); v["b/vmlinuz"] = "another kerned" }, 8,
			[]string{"grub/grubenv: slot a is active"}, []string{"b/vmlinuz: has SHA-256"}},
		{"the update isn't whole", func(v map[string]string) { maps.Copy(v, update2); delete(v, "b/initrd.img") }, 8,
			[]string{"grub/grubenv: slot a is active"}, []string{"b/initrd.img: is missing"}},
		{"more in a slot", func(v map[string]string) { maps.Copy(v, update2); v["b/x"] = "" }, 9, []string{"grub/grubenv: slot a is active"}, []string{"b/x: isn't named by b/slot.json"}},
		{"more in an unfinished slot", func(v map[string]string) { v["b/x"] = "" }, 7,
			[]string{"grub/grubenv: slot a is active", "slot b: holds nothing that is started (an update that didn't come to its end: b/x)"}, []string{"b/x: doesn't belong into a slot"}},
		{"nothing to start", set("grub/grubenv", grubenv("active=b\n")), 7, []string{"grub/grubenv: slot b is active"}, []string{"b/vmlinuz: can't be started, and slot b is the active one"}},
		{"settings are damaged", set("grub/grubenv", strings.Repeat("x", 512)), 7, nil, []string{"grub/grubenv: can't be read"}},
		{"settings are gone", func(v map[string]string) { delete(v, "grub/grubenv") }, 7, nil, []string{"grub/grubenv: is missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := built(t)
			tt.change(all)
			var r Report
			if err := r.boot(byName(list(all)), code(t)); err != nil {
				t.Fatal(err)
			}
			slices.Sort(r.Wrong)
			slices.Sort(r.Notes)
			if diff := cmp.Diff(slices.Sorted(slices.Values(tt.notes)), r.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			ok := len(r.Wrong) == len(tt.wrong)
			for i := range min(len(r.Wrong), len(tt.wrong)) {
				ok = ok && strings.HasPrefix(r.Wrong[i], tt.wrong[i])
			}
			if !ok || r.Good != tt.good {
				t.Errorf("%d files are good, want %d; wrong: %q, want %q", r.Good, tt.good, r.Wrong, tt.wrong)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for toml, want := range map[string]string{
		"hostname = \"x\"\n": "it is free of errors",
		"hostnane = 1\n":     "it has errors",
	} {
		r, err := Check(image(t, built(t), []byte(toml)))
		if text := strings.Join(r.Notes, "\n"); err != nil || len(r.Wrong) > 0 || !strings.Contains(text, want) {
			t.Errorf("%q: %q %q, %v; want %q", toml, r.Wrong, text, err, want)
		}
	}
}

// The same of a real image.
func TestStick(t *testing.T) {
	all := built(t)
	maps.Copy(all, system("b", "v2", "another kernel", "another initrd"))
	r, err := Check(image(t, all, config.Default()))
	if err != nil || r.Good != 10 || len(r.Wrong) > 0 || len(r.Notes) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The code outside of the volumes is checked, if the manifest names it.
func TestCode(t *testing.T) {
	path := image(t, built(t), config.Default())
	for at, want := range map[int64]string{100: "bios:boot.img: has SHA-256", 513 << 10: "bios:core.img: has SHA-256"} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole[at] ^= 1
		changed := path + ".changed"
		if err := os.WriteFile(changed, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Check(changed); err != nil || len(r.Wrong) != 1 || !strings.HasPrefix(r.Wrong[0], want) {
			t.Errorf("byte %d: %q, %v; want %q", at, r.Wrong, err, want)
		}
	}
	all := system("a", "v", "k", "i")
	manifest, err := sbom.Marshal(sbom.Image{Files: hashes(list(all))})
	if err != nil {
		t.Fatal(err)
	}
	all[Manifest], all["grub/grubenv"] = string(manifest), grubenv("active=a\n")
	r, err := Check(image(t, all, config.Default()))
	if text := strings.Join(r.Notes, "\n"); err != nil || len(r.Wrong) > 0 || r.Good != 3 || strings.Count(text, "outside of the volumes, isn't in the manifest") != 2 {
		t.Errorf("an older manifest: %+v, %v", r, err)
	}
}

func TestISO(t *testing.T) {
	all := built(t)
	delete(all, "grub/grubenv")
	delete(all, Manifest)
	boot, core := bootCode()
	c := iso.Contents{HybridCode: boot, ElTorito: append(core, make([]byte, 4096)...), Config: config.Default()}
	for _, f := range list(all) {
		if strings.HasPrefix(f.Name, "EFI/") {
			c.Loaders = append(c.Loaders, f)
		} else {
			c.System = append(c.System, f)
		}
	}
	code, err := iso.Code(c)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := sbom.Marshal(sbom.Image{Version: "v", Files: hashes(append(list(all), code...))})
	if err != nil {
		t.Fatal(err)
	}
	c.System = append(c.System, stick.File{Name: Manifest, Data: manifest})
	path := filepath.Join(t.TempDir(), "s.iso")
	if err := iso.Create(path, c); err != nil {
		t.Fatal(err)
	}
	r, err := Check(path)
	if err != nil || r.Good != 8 || len(r.Wrong) > 0 { // grub.cfg is there twice
		t.Fatalf("%+v, %v", r, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		find, replace, want string
	}{
		{"a kernel of a kind. ", "a kernel of a kink. ", "[a/vmlinuz: has SHA-256"},
		{"bootboot", "bootbout", "[bios:boot.img: has SHA-256"},
		{"corecore", "corecure", "[boot/eltorito.img: has SHA-256"},
		{"shim", "shin", "[boot/efi.img, EFI/BOOT/BOOTX64.EFI: has SHA-256"},
		{"VMLINUZ.;1", "VMLINUX.;1", "[a/vmlinux: isn't in the manifest a/vmlinuz: is missing]"},
		{"BOOTX64 EFI", "BOOTX65 EFI", "[boot/efi.img, EFI/BOOT/BOOTX64.EFI: is missing boot/efi.img, efi/boot/bootx65.efi: isn't in the manifest]"},
	} {
		at := bytes.Index(whole, []byte(tt.find))
		if at < 0 {
			t.Fatalf("%q isn't in the image", tt.find)
		}
		b := bytes.Clone(whole)
		copy(b[at:], tt.replace)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := Check(path); err != nil || !strings.HasPrefix(fmt.Sprint(r.Wrong), tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.replace, r.Wrong, err, tt.want)
		}
	}
	// As much as fits onto a CD: the volume, without the partitions behind it.
	if err := os.WriteFile(path, whole[:1<<20], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path); err == nil {
		t.Error("an ISO image that was cut off is fine")
	}
}

func TestCheckErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	all := built(t)
	delete(all, Manifest)
	for _, path := range []string{empty, filepath.Join(t.TempDir(), "none"), image(t, all, nil)} {
		if _, err := Check(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
