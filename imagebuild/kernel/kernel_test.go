package kernel

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"sanstick/imagebuild/rootfs"
)

const (
	testDep = `kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libahci.ko kernel/drivers/ata/libata.ko
kernel/drivers/ata/libahci.ko: kernel/drivers/ata/libata.ko
kernel/drivers/ata/libata.ko:
kernel/drivers/ata/pata_pcmcia.ko: kernel/drivers/ata/libata.ko
kernel/drivers/net/ethernet/realtek/r8169.ko:
kernel/drivers/net/ethernet/fujitsu/fmvj18x_cs.ko:
kernel/drivers/net/phy/realtek.ko:
kernel/drivers/md/dm-thin-pool.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
`
	testSoftdep = "# Soft dependencies\nsoftdep r8169 pre: realtek\nsoftdep libcrc32c pre: crc32c\nsoftdep ahci post: builtin_thing\n"
	testAlias   = `# Aliases
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias cs:foo pata_pcmcia
`
)

func testIndex(t *testing.T) *index {
	t.Helper()
	x, err := parseIndex([]byte(testDep), []byte(testSoftdep), []byte(testAlias))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestChoose(t *testing.T) {
	x := testIndex(t)
	tests := []struct {
		name     string
		patterns []string
		want     []string
		fails    string
	}{
		{"whole directory", []string{"drivers/ata/**", "!pata_pcmcia"}, []string{
			"kernel/drivers/ata/ahci.ko", "kernel/drivers/ata/libahci.ko", "kernel/drivers/ata/libata.ko"}, ""},
		{"name in either spelling", []string{"dm_thin_pool", "crc32c_intel"}, []string{
			"kernel/arch/x86/crypto/crc32c-intel.ko", "kernel/drivers/md/dm-thin-pool.ko"}, ""},
		{"one level", []string{"drivers/ata/lib*"}, []string{
			"kernel/drivers/ata/libahci.ko", "kernel/drivers/ata/libata.ko"}, ""},
		{"below a directory by name", []string{"drivers/net/ethernet/**", "!drivers/net/ethernet/**/*_cs"}, []string{
			"kernel/drivers/net/ethernet/realtek/r8169.ko"}, ""},
		{"nothing matches", []string{"drivers/ata/**", "nosuch"}, nil, `"nosuch"`},
		{"bad glob", []string{"drivers/ata/["}, nil, "syntax error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := choose(x.modules(), tt.patterns)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("error %v, want one with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClosure(t *testing.T) {
	x := testIndex(t)
	tests := []struct {
		name   string
		chosen []string
		want   []string
	}{
		{"hard", []string{"kernel/drivers/ata/ahci.ko"}, []string{
			"kernel/drivers/ata/ahci.ko", "kernel/drivers/ata/libahci.ko", "kernel/drivers/ata/libata.ko"}},
		{"soft by name", []string{"kernel/drivers/net/ethernet/realtek/r8169.ko"}, []string{
			"kernel/drivers/net/ethernet/realtek/r8169.ko", "kernel/drivers/net/phy/realtek.ko"}},
		{"soft by alias, of a dependency", []string{"kernel/drivers/md/dm-thin-pool.ko"}, []string{
			"kernel/arch/x86/crypto/crc32c-intel.ko", "kernel/crypto/crc32c_generic.ko",
			"kernel/drivers/md/dm-thin-pool.ko", "kernel/lib/libcrc32c.ko"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := x.closure(tt.chosen)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := x.closure([]string{"kernel/nosuch.ko"}); err == nil {
		t.Error("an unknown module is no error")
	}
}

func TestFilter(t *testing.T) {
	x := testIndex(t)
	modules := []string{"kernel/drivers/ata/ahci.ko", "kernel/drivers/ata/libahci.ko", "kernel/drivers/ata/libata.ko"}
	want := `kernel/drivers/ata/ahci.ko.zst: kernel/drivers/ata/libahci.ko.zst kernel/drivers/ata/libata.ko.zst
kernel/drivers/ata/libahci.ko.zst: kernel/drivers/ata/libata.ko.zst
kernel/drivers/ata/libata.ko.zst:
`
	if diff := cmp.Diff(want, string(filterDep(x, modules))); diff != "" {
		t.Errorf("modules.dep (-want +got):\n%s", diff)
	}
	alias, err := filterLines([]byte(testAlias), -1, modules)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("alias pci:v*d*sv*sd*bc01sc06i01* ahci\n", string(alias)); diff != "" {
		t.Errorf("modules.alias (-want +got):\n%s", diff)
	}
	soft, err := filterLines([]byte(testSoftdep), 1, []string{"kernel/lib/libcrc32c.ko"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("softdep libcrc32c pre: crc32c\n", string(soft)); diff != "" {
		t.Errorf("modules.softdep (-want +got):\n%s", diff)
	}
}

func TestParseIndexErrors(t *testing.T) {
	for name, in := range map[string][3]string{
		"dep":     {"kernel/a.ko\n", "", ""},
		"softdep": {"", "soft a pre: b\n", ""},
		"alias":   {"", "", "alias a\n"},
	} {
		if _, err := parseIndex([]byte(in[0]), []byte(in[1]), []byte(in[2])); err == nil {
			t.Errorf("%s: a damaged line is no error", name)
		}
	}
}

// The shipped pattern file is well-formed: no pattern twice, comments understood.
func TestPatternFile(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range patterns(modulesText) {
		if seen[p] {
			t.Errorf("pattern %q is there twice", p)
		}
		seen[p] = true
		if strings.ContainsAny(p, " #") {
			t.Errorf("pattern %q has a space or a comment in it", p)
		}
	}
	for _, must := range []string{"dm-thin-pool", "vfat", "drivers/net/ethernet/**", "nvme"} {
		if !seen[must] {
			t.Errorf("pattern %q is missing", must)
		}
	}
}

// Modules come back byte for byte, whether the package has them plain or as .xz.
func TestCompress(t *testing.T) {
	dir, caches := t.TempDir(), t.TempDir()
	cache, outdated := filepath.Join(caches, "key2"), filepath.Join(caches, "key1")
	if err := os.Mkdir(outdated, 0o755); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("a module with a signature ~Module signature appended~\n"), 100)
	if err := os.WriteFile(filepath.Join(dir, "a.ko"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.ko.xz"), packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := compress(context.Background(), Options{Tree: rootfs.Tree{Dir: "/"}, CacheDir: cache}, dir, []string{"a.ko", "b.ko.xz"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(outdated); err == nil {
		t.Error("the cache of another kernel is still there")
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for i, name := range []string{"a.ko.zst", "b.ko.zst"} {
		if files[i] != filepath.Join(cache, name) {
			t.Errorf("file %d is %s, want %s in the cache", i, files[i], name)
		}
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := dec.DecodeAll(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%s has other content than the module", name)
		}
	}
}

func TestNamed(t *testing.T) {
	x := testIndex(t)
	builtin := builtinNames([]byte("kernel/drivers/char/hw_random/rng-core.ko\n\nkernel/fs/ext2.ko.xz\n"))
	got, err := x.named([]string{"dm_thin_pool", "pata_pcmcia", "rng_core", "ext2"}, builtin)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kernel/drivers/md/dm-thin-pool.ko", "kernel/drivers/ata/pata_pcmcia.ko"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := x.named([]string{"nosuch", "ahci", "neither", "crc32c"}, builtin); err == nil ||
		err.Error() != "there is no module \"nosuch\"\nthere is no module \"neither\"\nthere is no module \"crc32c\"" {
		t.Errorf("unknown modules: %v", err)
	}
}
