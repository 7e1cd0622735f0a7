package firmware

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/rootfs"
)

const bookworm, trixie = "6.1.0-57-amd64", "6.12.43+deb13-amd64"

func TestPackages(t *testing.T) {
	names := []string{"rtl_nic/rtl8168g-2.fw", "rtl_nic/rtl8153a-2.fw", "bnx2x/x.fw", "bnx2/x.fw", "tigon/tg3.bin", "acenic/tg1.bin", "e100/d101m_ucode.bin"}
	want := []string{"firmware-bnx2", "firmware-bnx2x", "firmware-misc-nonfree", "firmware-realtek"}
	if diff := cmp.Diff(want, Packages(bookworm, names)); diff != "" {
		t.Errorf("Debian 12 (-want +got):\n%s", diff)
	}
	want = []string{"firmware-bnx2", "firmware-bnx2x", "firmware-intel-misc", "firmware-misc-nonfree", "firmware-realtek"}
	if diff := cmp.Diff(want, Packages(trixie, names)); diff != "" {
		t.Errorf("Debian 13 (-want +got):\n%s", diff)
	}
	all := places(bookworm)
	for i, p := range all {
		for _, q := range all[:i] {
			if strings.HasPrefix(p.begin, q.begin) && p.name != q.name {
				t.Errorf("%s is in two packages: %s and %s", p.begin, q.name, p.name)
			}
		}
	}
	for kernel, want := range map[string]bool{bookworm: false, trixie: true, "6.11.1": false, "7.0": true, "5.10.0-30-amd64": false, "x": false} {
		if split(kernel) != want {
			t.Errorf("kernel %s: %v", kernel, !want)
		}
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"lib/firmware/rtl_nic/a.fw":            "one",
		"lib/firmware/intel/ice/ddp/ice-1.pkg": "two",
		"lib/firmware/i915/x.bin.xz":           "three",
		"usr/lib/firmware/bnx2/b.fw":           "four",
		"lib/firmware/ctfw-1.bin":              "five",
		"lib/firmware/ctfw-2.bin":              "six",
		"lib/firmware/other":                   "unwanted",
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"intel/ice/ddp/ice.pkg": "ice-1.pkg", "rtl_nic/gone.fw": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(root, "lib/firmware", link)); err != nil {
			t.Fatal(err)
		}
	}
	tree := rootfs.Tree{Dir: root}
	names := []string{"rtl_nic/a.fw", "rtl_nic/none.fw", "intel/ice/ddp/ice.pkg", "i915/x.bin", "bnx2/b.fw", "ctfw-*.bin", "acenic/tg1.bin", "rtl_nic/gone.fw", "rtl_nic/a.fw", "other"}
	found, lacking, err := Find(tree, bookworm, names)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{"bnx2/b.fw", "firmware-bnx2", []byte("four")}, {"ctfw-1.bin", "firmware-qlogic", []byte("five")}, {"ctfw-2.bin", "firmware-qlogic", []byte("six")},
		{"i915/x.bin.xz", "firmware-misc-nonfree", []byte("three")}, {"intel/ice/ddp/ice.pkg", "firmware-misc-nonfree", []byte("two")}, {"rtl_nic/a.fw", "firmware-realtek", []byte("one")},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"acenic/tg1.bin", "other", "rtl_nic/gone.fw", "rtl_nic/none.fw"}, lacking); diff != "" {
		t.Errorf("lacking (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"../../etc/passwd", "/etc/passwd", "", "intel/ice"} {
		if _, _, err := Find(tree, bookworm, []string{bad}); err == nil {
			t.Errorf("%q is firmware", bad)
		}
	}
}
