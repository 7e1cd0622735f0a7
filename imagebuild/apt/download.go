package apt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// download fetches exact versions into the cache, and removes the packages that are no longer wanted.
func (c *client) download(ctx context.Context, wanted []version) ([]Package, error) {
	specs := make([]string, len(wanted))
	for i, v := range wanted {
		specs[i] = v.name + "=" + v.version
	}
	show, err := c.run(ctx, "apt-cache", append([]string{"show"}, specs...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot look up the package hashes: %w", err)
	}
	packages, err := withHashes(wanted, show)
	if err != nil {
		return nil, err
	}
	if err := c.removeOthers(packages); err != nil {
		return nil, err
	}
	var missing []string
	for i, p := range packages {
		if verify(c.debs(), []Package{p}) != nil {
			missing = append(missing, specs[i])
		}
	}
	if len(missing) > 0 {
		if _, err := c.runIn(ctx, c.debs(), "apt-get", append([]string{"download"}, missing...)...); err != nil {
			return nil, fmt.Errorf("cannot fetch packages: %w", err)
		}
	}
	return packages, verify(c.debs(), packages)
}

// withHashes reads the hash of every wanted version from the records of apt-cache show. They come from the signed
// package lists, so a truncated or swapped file in the cache is found by them.
func withHashes(wanted []version, show []byte) ([]Package, error) {
	hash := make(map[version]string)
	var v version
	s := bufio.NewScanner(bytes.NewReader(show))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ": ")
		switch key {
		case "Package":
			v = version{name: value}
		case "Version":
			v.version = value
		case "SHA256":
			hash[v] = value
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the package records: %w", err)
	}
	out := make([]Package, 0, len(wanted))
	for _, w := range wanted {
		if hash[w] == "" {
			return nil, fmt.Errorf("cannot find the SHA-256 of package %s %s in the package lists", w.name, w.version)
		}
		out = append(out, Package{Name: w.name, Version: w.version, SHA256: hash[w]})
	}
	return out, nil
}

// removeOthers deletes the files in the cache that are none of packages, or not as they should be.
func (c *client) removeOthers(packages []Package) error {
	keep := make(map[string]bool)
	for _, p := range packages {
		if file, err := findDeb(c.debs(), p.Name, p.Version); err == nil && verify(c.debs(), []Package{p}) == nil {
			keep[file] = true
		}
	}
	all, err := filepath.Glob(filepath.Join(c.debs(), "*.deb"))
	if err != nil {
		return fmt.Errorf("cannot list the package cache: %w", err)
	}
	var errs []error
	for _, f := range all {
		if !keep[f] {
			errs = append(errs, os.Remove(f))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove an outdated package: %w", err)
	}
	return nil
}
