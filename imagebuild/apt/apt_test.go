package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFromSimulation(t *testing.T) {
	const plan = `NOTE: This is only a simulation!
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])
Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []
Inst lvm2:amd64 [2.03.10] (2.03.16-2 Debian:12.15/oldstable [amd64]) []
Inst zlib1g (1:1.2.13.dfsg-1 Debian:12.15/oldstable [amd64])
Conf lvm2 (2.03.16-2 Debian:12.15/oldstable [amd64])
`
	got, err := fromSimulation([]byte(plan), []string{"lvm2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []version{{"libc6", "2.36-9+deb12u14"}, {"lvm2", "2.03.16-2"}, {"zlib1g", "1:1.2.13.dfsg-1"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(version{})); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if _, err := fromSimulation([]byte(plan), []string{"lvm2", "nosuch"}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("a package that is not in the plan: error %v, want one that names it", err)
	}
}

func TestKernelBehind(t *testing.T) {
	got, err := kernelBehind([]byte("Package: linux-image-amd64\nDepends: foo, linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (version{"linux-image-6.1.0-56-amd64", "6.1.192-2"}); got != want {
		t.Errorf("kernelBehind = %v, want %v", got, want)
	}
	if _, err := kernelBehind([]byte("Package: linux-image-amd64\n")); err == nil {
		t.Error("a record without a kernel is no error")
	}
}

func TestWithHashes(t *testing.T) {
	const show = "Package: a\nVersion: 1\nSHA256: aa\nDescription: x\n SHA256: no\n\nPackage: a\nVersion: 2\nSHA256: bb\n"
	got, err := withHashes([]version{{"a", "2"}}, []byte(show))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Package{{Name: "a", Version: "2", SHA256: "bb"}}, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if _, err := withHashes([]version{{"a", "3"}}, []byte(show)); err == nil {
		t.Error("a version without a record is no error")
	}
}

// A cached file is only used if it is the one that was recorded.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lvm2_2%3a1.0-1_amd64.deb")
	if err := os.WriteFile(file, []byte("a package"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := fileSHA256(file)
	if err != nil {
		t.Fatal(err)
	}
	p := Package{Name: "lvm2", Version: "2:1.0-1", SHA256: sum}
	if err := verify(dir, []Package{p}); err != nil {
		t.Errorf("verify: %v", err)
	}
	for name, bad := range map[string]Package{
		"other hash": {Name: "lvm2", Version: "2:1.0-1", SHA256: strings.Repeat("0", 64)},
		"missing":    {Name: "lvm2", Version: "2:1.0-2", SHA256: sum},
	} {
		if verify(dir, []Package{p, bad}) == nil {
			t.Errorf("%s: verify found nothing", name)
		}
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "packages.json")
	if l, err := readLock(file); err != nil || l.holds(nil) {
		t.Fatalf("no lock file: %v, %v; want an empty lock", l, err)
	}
	want := lock{Names: []string{"lvm2"}, Packages: []Package{{"lvm2", "1", "aa"}}}
	if err := writeLock(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := readLock(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
	if !got.holds([]string{"lvm2"}) || got.holds([]string{"lvm2", "dmsetup"}) {
		t.Error("the lock must hold for the same names only")
	}
	if err := os.WriteFile(file, []byte("{half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := readLock(file); err != nil || l.holds([]string{"lvm2"}) {
		t.Errorf("damaged lock file: %v, %v; want an empty lock", l, err)
	}
}

func TestKey(t *testing.T) {
	a := Set{Packages: []Package{{"a", "1", "x"}}}
	b := Set{Packages: []Package{{"a", "1", "y"}}}
	if a.Key() == b.Key() || a.Key() != (&Set{Packages: a.Packages}).Key() {
		t.Error("keys must be equal for equal packages only")
	}
}

func TestWithout(t *testing.T) {
	const versions = "      lvm2 | 2.03.16-2 | http://deb.debian.org/debian bookworm/main amd64 Packages\n      lvm2 | 2.03.16-2 | http://x bookworm/main Sources\nfirmware-bnx2 | 20230210-5 | http://x y\n"
	if diff := cmp.Diff([]string{"firmware-realtek", "lvm"}, without([]byte(versions), []string{"lvm2", "firmware-realtek", "firmware-bnx2", "lvm"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
