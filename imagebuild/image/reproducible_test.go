//go:build e2e

package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/progress"
)

// TestReproducible builds twice of the same packages, in two places, everything compiled and compressed anew, with files
// of two directories, modules, consoles and a command line besides: the images are the same to the last bit.
func TestReproducible(t *testing.T) {
	source, err := FindSource(".")
	if err != nil {
		t.Fatal(err)
	}
	packages := filepath.Join(source, "build/cache/apt")
	if _, err := os.Stat(packages); err != nil {
		t.Fatalf("%v (make image fetches the packages)", err)
	}
	var images [2][2][]byte
	for i := range images {
		dir := filepath.Join(t.TempDir(), "build")
		if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", packages, filepath.Join(dir, "cache")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files := filepath.Join(t.TempDir(), "files")
		for name, mode := range map[string]os.FileMode{"etc/issue": 0o644, "opt/tool": 0o755, "opt/a/b": 0o600} {
			p := filepath.Join(files, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(name), mode)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("tool", filepath.Join(files, "opt/link")); err != nil {
			t.Fatal(err)
		}
		custom := Custom{Add: []string{files, filepath.Join(files, "etc") + ":/srv"}, Modules: []string{"dm-crypt", "8139too"},
			Boot: esp.Boot{Consoles: []string{"ttyS0", "tty0"}, Args: "mitigations=off"}}
		o := Options{Custom: custom, Source: source, BuildDir: dir, Out: filepath.Join(dir, "s.img"), ISO: filepath.Join(dir, "s.iso"), Log: progress.New(io.Discard)}
		if _, err := Build(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for n, file := range []string{o.Out, o.ISO} {
			if images[i][n], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, name := range []string{"sanstick.img", "sanstick.iso"} {
		if !bytes.Equal(images[0][n], images[1][n]) {
			t.Errorf("two builds of %s differ", name)
		}
	}
}
