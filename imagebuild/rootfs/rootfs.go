// Package rootfs looks into a directory of unpacked packages as if it were the root of a system: it follows links
// inside the tree, finds the shared libraries of a program, and runs programs of the tree with the tree's own
// libraries. The host's libraries are never used.
package rootfs

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// libraryDirs is where Debian's amd64 loader looks, with and without a merged /usr.
var libraryDirs = [...]string{
	"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib",
}

// A Tree is an unpacked tree. Safe for concurrent use.
type Tree struct {
	Dir string
}

// Path returns the host path of the file that name stands for inside the tree, symbolic links followed. Names are
// slash-separated and relative to the tree's root. A name below lib or sbin is also looked for below usr, where newer
// packages have it.
func (t Tree) Path(name string) (string, error) {
	p, err := t.follow(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(name, "usr/") {
		if usr, uerr := t.follow("usr/" + name); uerr == nil {
			return usr, nil
		}
	}
	return p, err
}

func (t Tree) follow(name string) (string, error) {
	at := path.Clean("/" + name)
	for range 16 {
		host := filepath.Join(t.Dir, at)
		fi, err := os.Lstat(host)
		if err != nil {
			return "", fmt.Errorf("cannot find /%s in the packages: %w", name, err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return host, nil
		}
		target, err := os.Readlink(host)
		if err != nil {
			return "", fmt.Errorf("cannot follow /%s in the packages: %w", name, err)
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(at), target)
		}
		at = path.Clean(target)
	}
	return "", fmt.Errorf("cannot follow /%s in the packages: too many links", name)
}

// A Library is one shared object (or the loader) a program needs.
type Library struct {
	Name string // path in the target system, no leading slash
	File string // host path
}

// Libraries returns everything the programs need to run: the loader at the path compiled into them and, recursively,
// every shared object they name (DT_NEEDED), all in one library directory. Sorted by name. A missing one is an error
// that says who needs it.
func (t Tree) Libraries(programs ...string) ([]Library, error) {
	out := make(map[string]string)
	type need struct{ by, file string }
	var queue []need
	for _, p := range programs {
		host, err := t.Path(p)
		if err != nil {
			return nil, err
		}
		queue = append(queue, need{p, host})
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		interp, sonames, err := dynamic(n.file)
		if err != nil {
			return nil, err
		}
		if interp != "" && out[interp] == "" {
			host, err := t.library(path.Base(interp))
			if err != nil {
				return nil, fmt.Errorf("cannot complete %s: %w", n.by, err)
			}
			out[interp] = host
		}
		for _, so := range sonames {
			dest := path.Join(libraryDirs[0], so)
			if out[dest] != "" || strings.HasPrefix(so, "ld-linux") { // libc needs the loader, which is there already
				continue
			}
			host, err := t.library(so)
			if err != nil {
				return nil, fmt.Errorf("cannot complete %s: %w", n.by, err)
			}
			out[dest] = host
			queue = append(queue, need{so, host})
		}
	}
	libs := make([]Library, 0, len(out))
	for name, file := range out {
		libs = append(libs, Library{name, file})
	}
	slices.SortFunc(libs, func(a, b Library) int { return strings.Compare(a.Name, b.Name) })
	return libs, nil
}

// library finds a shared object by its name.
func (t Tree) library(soname string) (string, error) {
	for _, d := range libraryDirs {
		if p, err := t.follow(path.Join(d, soname)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("cannot find library %s in the packages", soname)
}

// dynamic reads the loader path (no leading slash) and the needed libraries of an ELF file.
func dynamic(file string) (interp string, needed []string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read program %s: %w", file, err)
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		b, err := s.Data()
		if err != nil {
			return "", nil, fmt.Errorf("cannot read the loader name of %s: %w", file, err)
		}
		interp = strings.Trim(string(b), "\x00/")
	}
	needed, err = f.ImportedLibraries()
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the libraries of %s: %w", file, err)
	}
	return interp, needed, nil
}

// Command prepares to run a program of the tree on the host, with the tree's loader and libraries.
func (t Tree) Command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	file, err := t.Path(program)
	if err != nil {
		return nil, err
	}
	loader, err := t.library("ld-linux-x86-64.so.2")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, d := range libraryDirs {
		dirs = append(dirs, filepath.Join(t.Dir, d))
	}
	cmd := exec.CommandContext(ctx, loader, append([]string{"--library-path", strings.Join(dirs, ":"), file}, args...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	return cmd, nil
}
