package kernel

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/rootfs"
)

// module makes an ELF file with a .modinfo section.
func module(info string) []byte {
	var b bytes.Buffer
	names := "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 1)    // relocatable
	le.PutUint16(head[18:], 0x3e) // x86-64
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[40:], uint64(64+len(info)+len(names)))
	le.PutUint16(head[52:], 64)
	le.PutUint16(head[58:], 64) // size of a section header
	le.PutUint16(head[60:], 3)
	le.PutUint16(head[62:], 2)
	b.Write(head)
	b.WriteString(info + names)
	section := func(name, kind uint32, at, size int) {
		s := make([]byte, 64)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		b.Write(s)
	}
	section(0, 0, 0, 0)
	section(1, 1, 64, len(info))
	section(10, 3, 64+len(info), len(names))
	return b.Bytes()
}

func TestCatalog(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules/6.1")
	for name, content := range map[string]string{
		filepath.Join(root, "boot/vmlinuz-6.1"):               "",
		dir + "/modules.dep":                                  testDep,
		dir + "/modules.softdep":                              testSoftdep,
		dir + "/modules.alias":                                testAlias + "alias dmi*:svnA B:* ahci\n",
		dir + "/modules.builtin":                              "kernel/drivers/pci/pcie-port.ko\n",
		dir + "/modules.builtin.modinfo":                      "pcie_port.license=GPL\x00pcie_port.alias=pci:v*d*sv*sd*bc06sc04i00*\x00",
		dir + "/kernel/drivers/net/ethernet/realtek/r8169.ko": string(module("license=GPL\x00firmware=rtl_nic/b.fw\x00firmware=rtl_nic/a.fw\x00firmware=rtl_nic/b.fw\x00")),
		dir + "/kernel/drivers/ata/ahci.ko":                   string(module("license=GPL\x00")),
		dir + "/kernel/drivers/ata/libata.ko":                 "no ELF",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := OpenCatalog(t.Context(), Options{Tree: rootfs.Tree{Dir: root}})
	if err != nil {
		t.Fatal(err)
	}
	n := len(c.Aliases())
	if n != 7 {
		t.Fatalf("%d aliases", n)
	}
	if diff := cmp.Diff([]Alias{{"dmi*:svnA B:*", "ahci", false}, {"pci:v*d*sv*sd*bc06sc04i00*", "pcie_port", true}}, c.Aliases()[n-2:]); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	if c.Version != "6.1" || !c.Builtin("pcie-port") || c.Builtin("ahci") || c.Path("crc32c_intel") != "arch/x86/crypto/crc32c-intel" || c.Path("none") != "" {
		t.Errorf("version %s, path %s", c.Version, c.Path("crc32c_intel"))
	}
	for name, want := range map[string][]string{"r8169": {"rtl_nic/a.fw", "rtl_nic/b.fw"}, "ahci": nil} {
		got, err := c.Firmware(name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("firmware of %s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, bad := range []string{"none", "libata", "libahci"} {
		if _, err := c.Firmware(bad); err == nil {
			t.Errorf("firmware of %s", bad)
		}
	}
}
