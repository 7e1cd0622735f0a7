package coldplug

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	testDep = `kernel/drivers/ata/ahci.ko.zst: kernel/drivers/ata/libahci.ko.zst kernel/drivers/ata/libata.ko.zst kernel/drivers/scsi/scsi_mod.ko.zst kernel/drivers/scsi/scsi_common.ko.zst
kernel/drivers/ata/libahci.ko.zst: kernel/drivers/ata/libata.ko.zst kernel/drivers/scsi/scsi_mod.ko.zst kernel/drivers/scsi/scsi_common.ko.zst
kernel/drivers/ata/libata.ko.zst: kernel/drivers/scsi/scsi_mod.ko.zst kernel/drivers/scsi/scsi_common.ko.zst
kernel/drivers/scsi/scsi_mod.ko.zst: kernel/drivers/scsi/scsi_common.ko.zst
kernel/drivers/scsi/scsi_common.ko.zst:
kernel/drivers/net/ethernet/realtek/r8169.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/phy/libphy.ko:
kernel/drivers/net/phy/realtek.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/usb/storage/usb-storage.ko:
kernel/lib/libcrc32c.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
kernel/drivers/block/floppy.ko:
`
	testAlias = `# Aliases extracted from modules themselves.
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias pci:v00008086d00002922sv*sd*bc*sc*i* ahci
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage
alias acpi*:PNP0700:* floppy
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias crypto-crc32c-intel crc32c_intel
alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel
alias dmi*:svn*Some Vendor*:* gone
`
	testSoft = `# Soft dependencies
softdep r8169 pre: realtek
softdep libcrc32c pre: crc32c
softdep realtek post: r8169 pre: nothing
`
	testBuiltin = "kernel/fs/ext-x/ext-x.ko\n"
)

func testIndex(t testing.TB) *Index {
	t.Helper()
	x, err := parseIndex("/lib/modules/6", testDep, testAlias, testSoft, testBuiltin)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestFind(t *testing.T) {
	x := testIndex(t)
	tests := []struct {
		name string
		want []string
	}{
		{"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", []string{"ahci"}},
		{"pci:v00001234d00005678sv00000000sd00000000bc01sc06i01", []string{"ahci"}},
		{"pci:v00001234d00005678sv00000000sd00000000bc02sc00i00", nil},
		{"usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", []string{"usb_storage"}},
		{"acpi:PNP0700:", []string{"floppy"}},
		{"crc32c", []string{"crc32c_generic", "crc32c_intel"}},
		{"crypto_crc32c_intel", []string{"crc32c_intel"}},
		{"usb-storage", []string{"usb_storage"}},
		{"usb_storage", []string{"usb_storage"}},
		{"dmi:bvnx:svnBig Some Vendor Inc:pn:", nil}, // not shipped
		{"", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, x.Find(tt.name), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Find(%q) (-want +got):\n%s", tt.name, diff)
		}
	}
	if !x.Builtin("ext_x") || !x.Builtin("ext-x") || x.Builtin("ahci") {
		t.Error("Builtin is wrong")
	}
}

func TestOrder(t *testing.T) {
	x := testIndex(t)
	tests := []struct {
		name string
		want string // a plus marks what is needed
	}{
		{"ahci", "+scsi_common +scsi_mod +libata +libahci +ahci"},
		{"r8169", "+libphy realtek +r8169"}, // and the loop back is cut
		{"libcrc32c", "crc32c_generic crc32c_intel +libcrc32c"},
		{"realtek", "+libphy +realtek r8169"},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range x.order(tt.name) {
			if s.hard {
				s.module = "+" + s.module
			}
			got = append(got, s.module)
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("order of %s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestParseIndexErrors(t *testing.T) {
	tests := []struct{ name, dep, alias, soft string }{
		{name: "dep without colon", dep: "kernel/a.ko"},
		{name: "dep without path", dep: ": kernel/a.ko"},
		{name: "alias without module", alias: "alias pci:v*"},
		{name: "alias with a space at the end", alias: "alias pci:v* "},
		{name: "not an alias", alias: "what"},
		{name: "not a softdep", soft: "what a pre: b"},
		{name: "softdep without kind", soft: "softdep a b"},
		{name: "softdep without module", soft: "softdep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseIndex("", tt.dep, tt.alias, tt.soft, ""); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestReadIndex(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadIndex(dir); err == nil {
		t.Error("read an index without modules.dep")
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(testDep), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ahci"}, x.Find("ahci")); diff != "" {
		t.Errorf("Find (-want +got):\n%s", diff)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add(testDep, testAlias, testSoft, testBuiltin, "crc32c")
	f.Add("a.ko: b.ko\nb.ko: a.ko\n", "alias [ a\n", "softdep a pre: b post: a\n", "", "a")
	f.Fuzz(func(t *testing.T, dep, alias, soft, builtin, name string) {
		x, err := parseIndex("/", dep, alias, soft, builtin)
		if err != nil {
			return
		}
		for _, m := range x.Find(name) {
			x.order(m)
		}
	})
}

// A whole Debian kernel has about 20000 aliases.
func BenchmarkAliases(b *testing.B) {
	var s strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&s, "alias pci:v%08Xd%08Xsv*sd*bc*sc*i* module_%d\n", i/50, i, i/10)
	}
	text := s.String()
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseAliases(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	x, err := parseAliases(text)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if len(x.find("pci:v00000064d00001388sv00001AF4sd00001100bc02sc00i00")) != 1 {
				b.Fatal("not found")
			}
		}
	})
}
