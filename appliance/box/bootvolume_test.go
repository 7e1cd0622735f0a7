package box

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys/systest"
)

// bootStick is a boot volume on a disk that doesn't exist, without what looks
// for it.
func bootStick(t *testing.T) (*bootVolume, *systest.Mounter) {
	t.Helper()
	m := &systest.Mounter{Errors: map[string]error{}}
	o := &Options{SysDir: t.TempDir(), BootDir: filepath.Join(t.TempDir(), "boot"), Mounter: m}
	return &bootVolume{o: o, disk: func() string { return "sda" }, warn: func(string, ...any) {}}, m
}

// Without the stick nothing is mounted, and the error says what is missing.
func TestBootVolumeIsMissing(t *testing.T) {
	v, m := bootStick(t)
	if err := os.MkdirAll(filepath.Join(v.o.SysDir, "block"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := v.Use(t.Context(), true, func(string) error { t.Error("it is used"); return nil })
	if err == nil || !strings.Contains(err.Error(), "no partition labelled SANBOOT") || len(m.Calls()) != 0 {
		t.Errorf("error %v, mounts %v", err, m.Calls())
	}
	if err := v.Repair(t.Context()); err == nil {
		t.Error("it is repaired")
	}
}

// A volume that was mounted and not unmounted is known by its first sector, and
// fsck.fat makes it clean again.
func TestDirtyFAT(t *testing.T) {
	file := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 40<<20); err != nil {
		t.Fatal(err)
	}
	tool := func(name string, args ...string) (string, error) {
		path, err := exec.LookPath(name)
		if err != nil {
			if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
				t.Fatalf("%s is not installed (package dosfstools)", name)
			}
		}
		out, err := exec.Command(path, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := tool("mkfs.fat", "-F", "32", "-s", "1", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dirty := func(want bool) {
		t.Helper()
		if got, err := dirtyFAT(file); err != nil || got != want {
			t.Errorf("dirty %v, %v; want %v", got, err, want)
		}
	}
	dirty(false)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 65); err != nil {
		t.Fatal(err)
	}
	f.Close()
	dirty(true)
	if out, err := tool("fsck.fat", "-a", file); err == nil || !strings.Contains(out, "dirty bit") {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
	dirty(false)
	if _, err := dirtyFAT(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a device that isn't there is clean")
	}
}

func TestRemoveFound(t *testing.T) {
	v, _ := bootStick(t)
	dir := t.TempDir()
	for _, name := range []string{"FSCK0000.REC", "fsck0001.rec", "manifest.json", "FSCKX.REC"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v.removeFound(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{"FSCKX.REC", "manifest.json"}, left); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
}
