package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sanstick/imagebuild/progress"
)

// Key names this exact set of packages: equal keys mean equal files.
func (s *Set) Key() string {
	h := sha256.New()
	for _, p := range s.Packages {
		fmt.Fprintf(h, "%s %s %s\n", p.Name, p.Version, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Unpack returns a directory with the files of all packages, as they lie in the packages: nothing is configured and
// no maintainer script runs. The directory is kept until the set changes.
func (s *Set) Unpack(ctx context.Context, log *progress.Log) (root string, err error) {
	root = filepath.Join(s.dir, "root-"+s.Key())
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	old, err := filepath.Glob(filepath.Join(s.dir, "root-*"))
	if err != nil {
		return "", fmt.Errorf("cannot list unpacked packages: %w", err)
	}
	for _, d := range old {
		if err := os.RemoveAll(d); err != nil {
			return "", fmt.Errorf("cannot remove outdated packages: %w", err)
		}
	}
	log.Step("unpacking %d packages", len(s.Packages))
	tmp := root + ".tmp"
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for _, p := range s.Packages {
		deb, err := findDeb(filepath.Join(s.dir, "debs"), p.Name, p.Version)
		if err != nil {
			return "", err
		}
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", deb, tmp).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot unpack %s: %w\n%s", deb, err, out)
		}
	}
	if err := os.Rename(tmp, root); err != nil {
		return "", fmt.Errorf("cannot unpack packages: %w", err)
	}
	return root, nil
}
