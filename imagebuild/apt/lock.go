package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// lock is the lock file: what was asked for and what it resolved to.
type lock struct {
	Names    []string  `json:"names"`
	Packages []Package `json:"packages"`
}

// holds reports whether the lock answers exactly this request.
func (l lock) holds(names []string) bool {
	return len(l.Packages) > 0 && slices.Equal(l.Names, names)
}

func readLock(file string) (lock, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return lock{}, nil
	}
	if err != nil {
		return lock{}, fmt.Errorf("cannot read the package lock file: %w", err)
	}
	var l lock
	if err := json.Unmarshal(data, &l); err != nil {
		return lock{}, nil // half-written or foreign: fetch again
	}
	return l, nil
}

func writeLock(file string, l lock) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the package lock file: %w", err)
	}
	if err := renameio.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the package lock file: %w", err)
	}
	return nil
}

// debName is the file name apt gives a package: the colon of an epoch is escaped.
func debName(name, version string) string {
	return name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_*.deb"
}

// findDeb returns the file of a package below dir.
func findDeb(dir, name, version string) (string, error) {
	m, err := filepath.Glob(filepath.Join(dir, debName(name, version)))
	if err != nil {
		return "", fmt.Errorf("cannot look for package %s: %w", name, err)
	}
	if len(m) != 1 {
		return "", fmt.Errorf("cannot find package %s %s in %s", name, version, dir)
	}
	return m[0], nil
}

// verify checks that every package is in dir with the recorded hash.
func verify(dir string, packages []Package) error {
	for _, p := range packages {
		file, err := findDeb(dir, p.Name, p.Version)
		if err != nil {
			return err
		}
		sum, err := fileSHA256(file)
		if err != nil {
			return err
		}
		if sum != p.SHA256 {
			return fmt.Errorf("cannot use %s: its SHA-256 is %s, the lock file says %s", file, sum, p.SHA256)
		}
	}
	return nil
}

func fileSHA256(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("cannot hash a package: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("cannot hash %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
