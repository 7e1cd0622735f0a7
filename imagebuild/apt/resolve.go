package apt

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// version is a package name with the exact version to fetch.
type version struct {
	name, version string
}

// resolve turns names into the packages to fetch, sorted. The kernel is taken alone (what Debian wants installed with
// it makes initramfs images, which is our own job); all others with the libraries they depend on.
func (c *client) resolve(ctx context.Context, names []string) ([]version, error) {
	var out []version
	var others []string
	for _, n := range names {
		if !strings.HasPrefix(n, "linux-image-") {
			others = append(others, n)
			continue
		}
		show, err := c.run(ctx, "apt-cache", "--no-all-versions", "show", n)
		if err != nil {
			return nil, fmt.Errorf("cannot find the kernel (sanstick is built from Debian's packages): %w", err)
		}
		v, err := kernelBehind(show)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	versions, err := c.run(ctx, "apt-cache", append([]string{"madison"}, others...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot look for the packages: %w", err)
	}
	if missing := without(versions, others); len(missing) > 0 {
		return nil, fmt.Errorf("cannot find all packages (sanstick is built from Debian's): %w", &NotFoundError{Names: missing})
	}
	simulation, err := c.run(ctx, "apt-get", append([]string{"--simulate", "install"}, others...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve the packages (sanstick is built from Debian's): %w", err)
	}
	wanted, err := fromSimulation(simulation, others)
	if err != nil {
		return nil, err
	}
	out = append(out, wanted...)
	slices.SortFunc(out, func(a, b version) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(out), nil
}

// without returns the names that have no line in a list of versions: "lvm2 | 2.03.16-2 | http://... Packages".
func without(versions []byte, names []string) []string {
	have := make(map[string]bool)
	for line := range strings.Lines(string(versions)) {
		name, _, _ := strings.Cut(line, "|")
		have[strings.TrimSpace(name)] = true
	}
	var out []string
	for _, n := range names {
		if !have[n] {
			out = append(out, n)
		}
	}
	return out
}

// The dependency of a kernel metapackage on the concrete kernel: "linux-image-6.1.0-56-amd64 (= 6.1.192-2)".
var kernelDepend = regexp.MustCompile(`(linux-image-[0-9]\S*) \(= ([^)]+)\)`)

// kernelBehind finds the concrete kernel in the record of a kernel metapackage.
func kernelBehind(show []byte) (version, error) {
	s := bufio.NewScanner(bytes.NewReader(show))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if depends, ok := strings.CutPrefix(s.Text(), "Depends: "); ok {
			if m := kernelDepend.FindStringSubmatch(depends); m != nil {
				return version{m[1], m[2]}, nil
			}
		}
	}
	if err := s.Err(); err != nil {
		return version{}, fmt.Errorf("cannot read the kernel's package record: %w", err)
	}
	return version{}, fmt.Errorf("cannot find a concrete kernel behind its metapackage")
}

// Lines of a simulated installation: "Inst lvm2 (2.03.16-2 Debian:12.15/oldstable [amd64]) []".
var instLine = regexp.MustCompile(`^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

// fromSimulation picks from a simulated installation of names the packages named and the libraries. The rest of what a
// normal system would get with them (helpers of maintainer scripts and services) never runs here.
func fromSimulation(simulation []byte, names []string) ([]version, error) {
	var out []version
	found := make(map[string]bool)
	s := bufio.NewScanner(bytes.NewReader(simulation))
	for s.Scan() {
		m := instLine.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		name := strings.TrimSuffix(m[1], ":amd64")
		found[name] = true
		if slices.Contains(names, name) || isLibrary(name) {
			out = append(out, version{name, m[2]})
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the simulated installation: %w", err)
	}
	for _, n := range names {
		if !found[n] {
			return nil, fmt.Errorf("cannot resolve package %s: apt did not plan to install it", n)
		}
	}
	return out, nil
}

func isLibrary(name string) bool { return strings.HasPrefix(name, "lib") || name == "zlib1g" }
