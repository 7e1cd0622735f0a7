package rootfs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// program makes a minimal ELF file with a loader name and needed libraries.
func program(t *testing.T, interp string, needed ...string) []byte {
	t.Helper()
	strtab := []byte{0}
	var dynamic []elf.Dyn64
	for _, n := range needed {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: uint64(len(strtab))})
		strtab = append(append(strtab, n...), 0)
	}
	dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NULL)})
	names := []byte("\x00.interp\x00.dynstr\x00.dynamic\x00.shstrtab\x00")
	name := func(s string) uint32 { return uint32(bytes.Index(names, []byte(s))) }
	var dyn bytes.Buffer
	put := func(b *bytes.Buffer, v any) {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(&dyn, dynamic)
	body := [][]byte{[]byte(interp + "\x00"), strtab, dyn.Bytes(), names}
	sections := []elf.Section64{
		{},
		{Name: name(".interp"), Type: uint32(elf.SHT_PROGBITS)},
		{Name: name(".dynstr"), Type: uint32(elf.SHT_STRTAB)},
		{Name: name(".dynamic"), Type: uint32(elf.SHT_DYNAMIC), Link: 2, Entsize: 16},
		{Name: name(".shstrtab"), Type: uint32(elf.SHT_STRTAB)},
	}
	const headerSize = 64
	off := uint64(headerSize)
	for i := range body {
		sections[i+1].Off, sections[i+1].Size = off, uint64(len(body[i]))
		off += uint64(len(body[i]))
	}
	if interp == "" {
		sections[1].Name = 0
	}
	var out bytes.Buffer
	put(&out, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: off, Ehsize: headerSize, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: 4,
	})
	for _, b := range body {
		out.Write(b)
	}
	put(&out, sections)
	return out.Bytes()
}

func testTree(t *testing.T) Tree {
	t.Helper()
	const libs = "lib/x86_64-linux-gnu/"
	tree := Tree{Dir: t.TempDir()}
	files := map[string][]byte{
		"usr/sbin/lvm":                       program(t, "/lib64/ld-linux-x86-64.so.2", "liba.so.1", "libc.so.6"),
		"sbin/lonely":                        program(t, "/lib64/ld-linux-x86-64.so.2", "libmissing.so.3"),
		"usr/" + libs + "liba.so.1.2":        program(t, "", "libb.so.2", "libc.so.6"),
		libs + "libb.so.2":                   program(t, "", "liba.so.1"), // a circle
		libs + "libc.so.6":                   program(t, "", "ld-linux-x86-64.so.2"),
		libs + "ld-linux-x86-64.so.2":        program(t, ""),
		"usr/share/doc/not-an-elf/copyright": []byte("text"),
	}
	for name, data := range files {
		p := filepath.Join(tree.Dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"usr/" + libs + "liba.so.1":    "liba.so.1.2",
		"lib64/ld-linux-x86-64.so.2":   "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", // absolute, inside the tree
		"sbin/loop":                    "loop",
		"usr/sbin/outside-of-the-tree": "../../../../../../etc/passwd",
	} {
		p := filepath.Join(tree.Dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func TestLibraries(t *testing.T) {
	tree := testTree(t)
	got, err := tree.Libraries("sbin/lvm") // packaged below usr
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(tree.Dir, name) }
	want := []Library{
		{"lib/x86_64-linux-gnu/liba.so.1", at("usr/lib/x86_64-linux-gnu/liba.so.1.2")},
		{"lib/x86_64-linux-gnu/libb.so.2", at("lib/x86_64-linux-gnu/libb.so.2")},
		{"lib/x86_64-linux-gnu/libc.so.6", at("lib/x86_64-linux-gnu/libc.so.6")},
		{"lib64/ld-linux-x86-64.so.2", at("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("libraries (-want +got):\n%s", diff)
	}
}

func TestLibrariesErrors(t *testing.T) {
	tree := testTree(t)
	for program, want := range map[string]string{
		"sbin/lonely":                        "libmissing.so.3",
		"sbin/nosuch":                        "/sbin/nosuch",
		"usr/share/doc/not-an-elf/copyright": "copyright",
		"sbin/loop":                          "too many links",
	} {
		if _, err := tree.Libraries(program); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Libraries(%s): error %v, want one with %q", program, err, want)
		}
	}
}

// A link never leads out of the tree.
func TestPathStaysInside(t *testing.T) {
	tree := testTree(t)
	if p, err := tree.Path("usr/sbin/outside-of-the-tree"); err == nil {
		t.Errorf("Path found %s", p)
	}
}
