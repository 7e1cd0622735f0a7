// Package apt fetches Debian packages by name with the ordinary apt client and unpacks them, without root and without
// touching what the host has installed.
//
// apt gets a state, a cache and an (empty) list of installed packages of its own, so it resolves every dependency
// afresh; the host's package sources, keys and proxies are used as they are, and apt verifies signatures and hashes as
// always. What was fetched is written down in a lock file: the next run with the same names needs no network.
package apt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sanstick/imagebuild/progress"
)

// A Package is one fetched package, as recorded in the manifest of the image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"` // of the .deb file, in hex
}

// Options says what to fetch and where to keep it.
type Options struct {
	Dir    string   // the cache directory; everything is below it
	Names  []string // the packages wanted; the libraries they depend on come with them
	Update bool     // ask the archive for newer versions although the cache has some
	Note   string   // said of fetching them
	Log    *progress.Log
}

// A NotFoundError says that the host's package sources don't have some packages.
type NotFoundError struct{ Names []string }

func (e *NotFoundError) Error() string {
	return "the package sources of this host don't have " + strings.Join(e.Names, ", ")
}

// A Set is a complete set of packages in the cache.
type Set struct {
	Packages []Package // sorted by name
	dir      string
}

// Fetch returns the packages named in o.Names and the libraries they need. From the cache if it is complete, otherwise
// from the host's package sources.
func Fetch(ctx context.Context, o Options) (*Set, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the package cache: %w", err)
	}
	c := &client{dir: dir, config: filepath.Join(dir, "apt.conf")}
	s := &Set{dir: dir}
	if !o.Update {
		lock, err := readLock(c.lockFile())
		if err != nil {
			return nil, err
		}
		if lock.holds(o.Names) && verify(c.debs(), lock.Packages) == nil {
			o.Log.Step("using %d packages from the cache (--update asks for newer ones)", len(lock.Packages))
			s.Packages = lock.Packages
			return s, nil
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("cannot fetch packages: this host has no apt-get; build on Debian (or in a Debian container)")
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	o.Log.Step("asking the package archive for its lists")
	if _, err := c.run(ctx, "apt-get", "update"); err != nil {
		return nil, fmt.Errorf("cannot update the package lists: %w", err)
	}
	wanted, err := c.resolve(ctx, o.Names)
	if err != nil {
		return nil, err
	}
	o.Log.Step("fetching %d packages%s", len(wanted), o.Note)
	if s.Packages, err = c.download(ctx, wanted); err != nil {
		return nil, err
	}
	if err := writeLock(c.lockFile(), lock{Names: o.Names, Packages: s.Packages}); err != nil {
		return nil, err
	}
	return s, nil
}

// client runs apt against private directories.
type client struct {
	dir    string
	config string
}

func (c *client) lockFile() string { return filepath.Join(c.dir, "packages.json") }
func (c *client) debs() string     { return filepath.Join(c.dir, "debs") }

// prepare makes the directories and the configuration file apt needs.
func (c *client) prepare() error {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			return fmt.Errorf("cannot make the package cache: %w", err)
		}
	}
	for name, text := range map[string]string{"status": "", "apt.conf": configText(c.dir)} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot make the package cache: %w", err)
		}
	}
	return nil
}

// configText is read by apt after the host's own configuration, so it wins. The hooks are cleared because they would
// act on the host. The sandbox user only matters as root: _apt may not be allowed to write below the source tree.
func configText(dir string) string {
	return `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir::State "` + dir + `/state";
Dir::State::status "` + dir + `/status";
Dir::Cache "` + dir + `/cache";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "3";
`
}

// run runs an apt program and returns its standard output. The error holds what apt said.
func (c *client) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return c.runIn(ctx, c.dir, name, args...)
}

func (c *client) runIn(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, append([]string{"-q", "-c", c.config}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
