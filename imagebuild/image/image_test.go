package image

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/sbom"
)

func TestFindSource(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSource(deep); err == nil {
		t.Error("found a source tree where there is none")
	}
	write := func(dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "a"), "module other\n")
	write(root, "module sanstick\n\ngo 1.26.0\n")
	if got, err := FindSource(deep); err != nil || got != root {
		t.Errorf("FindSource = %q, %v; want %q", got, err, root)
	}
}

func TestReadConfig(t *testing.T) {
	if got, err := readConfig(""); err != nil || string(got) != string(config.Default()) {
		t.Errorf("no file: %v; want the default configuration", err)
	}
	file := filepath.Join(t.TempDir(), "my.toml")
	if _, err := readConfig(file); err == nil {
		t.Error("a missing file is no error")
	}
	if err := os.WriteFile(file, []byte("# fine\n\nhostnane = \"typo\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(file); err == nil || !strings.Contains(err.Error(), "my.toml:3") || !strings.Contains(err.Error(), "hostnane") {
		t.Errorf("an unknown key: error %v, want one that names file and key", err)
	}
	if err := os.WriteFile(file, config.Demo(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := readConfig(file); err != nil || string(got) != string(config.Demo()) {
		t.Errorf("a good file: %v", err)
	}
}

// What is wrong is said before a build directory is even made.
func TestRefusedFirst(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("nonsense = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"bad.toml:1": {ConfigFile: bad},
		"no-such":    {Custom: Custom{Add: []string{"/no-such:/etc/x"}}},
		`"a/b"`:      {Custom: Custom{Modules: []string{"i915", "a/b"}}},
		`module ""`:  {Custom: Custom{Modules: []string{""}}},
		"tty9":       {Custom: Custom{Boot: esp.Boot{Consoles: []string{"tty9"}}}},
		"'$'":        {Custom: Custom{Boot: esp.Boot{Args: "a=$b"}}},
	} {
		dir := filepath.Join(t.TempDir(), "build")
		o.BuildDir, o.Out = dir, filepath.Join(dir, "out.img")
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a build was begun", want)
		}
	}
}

// The manifest tells what was asked for, but not where on the host it came from.
func TestCustomManifest(t *testing.T) {
	c := Custom{Modules: []string{"i915", "b"}, Boot: esp.Boot{Consoles: []string{"tty0", "ttyS1,9600"}, Args: "a=b c"}}
	if got, want := c.bootOptions(), `--modules i915,b --console tty0 --console ttyS1,9600 --cmdline "a=b c"`; got != want {
		t.Errorf("options %q, want %q", got, want)
	}
	if got := (Custom{}).bootOptions() + (Custom{}).suffix(); got != "" {
		t.Errorf("nothing is %q", got)
	}
	got := inside([]initramfs.File{{Name: "etc", Dir: true}, {Name: "etc/x", Data: []byte("1"), Mode: 0o4755}, {Name: "y", Link: "etc/x"}})
	want := []sbom.File{{Name: "etc/x", SHA256: sbom.HashOf([]byte("1")), Comment: "in the initramfs, mode 4755"},
		{Name: "y", SHA256: sbom.HashOf([]byte("etc/x")), Comment: "in the initramfs, a symbolic link to etc/x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Two builds never work in one cache at the same time; a waiting one can be interrupted.
func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cache", "lock")
	unlock, err := lock(context.Background(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, file, nil); err == nil {
		t.Fatal("locked twice")
	}
	unlock()
	unlock, err = lock(context.Background(), file, nil)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	unlock()
}

func TestBootFiles(t *testing.T) {
	dir := t.TempDir()
	if k, i, err := BootFiles(dir); err != nil || k != "" || i != "" {
		t.Errorf("nothing built: %q, %q, %v; want empty names", k, i, err)
	}
	for _, f := range []string{"cache/initrd.img", "cache/apt/root-1/boot/vmlinuz-6"} {
		p := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if k, i, err := BootFiles(dir); err != nil || filepath.Base(k) != "vmlinuz-6" || filepath.Base(i) != "initrd.img" {
		t.Errorf("BootFiles = %q, %q, %v", k, i, err)
	}
}

func TestVersion(t *testing.T) {
	if got := version(context.Background(), t.TempDir()); got != "unknown" {
		t.Errorf("version outside of a repository is %q, want unknown", got)
	}
}
