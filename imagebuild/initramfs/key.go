package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// inputKey names all that an initramfs is made of: this program, the Go release, our sources, the versions of
// everybody else's, and the files that come with them. It takes a second; building takes half a minute.
func inputKey(bb *busybox, o Options) (string, error) {
	release, err := bb.goOutput("env", "GOVERSION")
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find this program's own file: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", release)
	if err := hashFile(h, self); err != nil { // its name is another one each time under go run
		return "", err
	}
	hosts := []string{filepath.Join(o.Source, "go.mod"), filepath.Join(o.Source, "go.sum")}
	var dirs []string
	for _, d := range own {
		dirs = append(dirs, filepath.Join(o.Source, d))
	}
	packages, err := bb.ownPackages(dirs)
	if err != nil {
		return "", err
	}
	for _, p := range packages {
		for _, name := range p.files() {
			hosts = append(hosts, filepath.Join(p.Dir, name))
		}
	}
	for _, host := range hosts {
		fmt.Fprintf(h, "%q\n", host)
		if err := hashFile(h, host); err != nil {
			return "", err
		}
	}
	for _, f := range slices.Concat(o.Files, o.Added) {
		fmt.Fprintf(h, "%q %o %q %t %d\n", f.Name, f.Mode, f.Link, f.Dir, len(f.Data))
		h.Write(f.Data)
		if f.Path != "" {
			if err := hashFile(h, f.Path); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashFile adds the size and the content of a file to a hash.
func hashFile(h io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot hash an input: %w", err)
	}
	defer f.Close()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("cannot hash %s: %w", name, err)
	}
	fmt.Fprintf(h, " %d\n", n)
	return nil
}

// keyFile remembers the key of an output, and what the output looked like then.
func keyFile(out string) string { return out + ".key" }

func upToDate(out, key string) bool {
	want, err := os.ReadFile(keyFile(out))
	if err != nil {
		return false
	}
	got, err := stamp(out, key)
	return err == nil && got == string(want)
}

func rememberKey(out, key string) error {
	text, err := stamp(out, key)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(keyFile(out), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot remember what the initramfs was made of: %w", err)
	}
	return nil
}

// stamp is the content of a key file: the key and the hash of the output.
func stamp(out, key string) (string, error) {
	h := sha256.New()
	if err := hashFile(h, out); err != nil {
		return "", err
	}
	return key + " " + hex.EncodeToString(h.Sum(nil)) + "\n", nil
}
