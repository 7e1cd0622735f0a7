package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/config"
	"sanstick/appliance/update"
	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// bill is what the manifest says but for the files.
type bill struct {
	version  string
	created  time.Time
	options  string // how the image was built, if not like every one
	packages []sbom.Package
	inside   []sbom.File // files of the initramfs that aren't in every one
}

func newBill(ctx context.Context, source string, tree rootfs.Tree, packages []apt.Package) (bill, error) {
	b := bill{version: version(ctx, source)}
	var err error
	if b.created, err = epoch(ctx, source); err != nil {
		return b, err
	}
	err = b.add(tree, packages)
	return b, err
}

// add adds packages that are unpacked in a tree.
func (b *bill) add(tree rootfs.Tree, packages []apt.Package) error {
	for _, p := range packages {
		text, err := os.ReadFile(filepath.Join(tree.Dir, "usr/share/doc", p.Name, "copyright"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot read the licence of %s: %w", p.Name, err)
		}
		b.packages = append(b.packages, sbom.Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256, Licenses: sbom.Licenses(text)})
	}
	return nil
}

// release says what is built, for updates.
func (b bill) release() update.Release {
	return update.Release{Version: b.version, Time: b.created.UTC(), Arch: "amd64", Config: update.Range{Oldest: config.Oldest, Newest: config.Newest}}
}

// marshal writes the manifest, with the hashes of files.
func (b bill) marshal(files []stick.File) ([]byte, error) {
	var all []sbom.File
	for _, f := range files {
		all = append(all, sbom.File{Name: f.Name, SHA256: sbom.HashOf(f.Data)})
	}
	return sbom.Marshal(sbom.Image{Version: b.version, Created: b.created, Options: b.options, Packages: b.packages, Files: all, Inside: b.inside})
}

// epoch is the time that an image is said to be made at: SOURCE_DATE_EPOCH, else that of the commit, so that two builds
// of one commit are the same.
func epoch(ctx context.Context, source string) (time.Time, error) {
	text, from := os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	if text == "" {
		out, err := exec.CommandContext(ctx, "git", "-C", source, "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil // an unpacked archive, or no git
		}
		text, from = strings.TrimSpace(string(out)), "the time of the commit"
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot use %s: want seconds since 1970, not %q", from, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
