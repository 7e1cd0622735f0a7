package initramfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds for what is added: all of it lies in the memory of the appliance.
const (
	maxAdded      = 20000
	maxAddedBytes = 256 << 20
)

// hidden are the directories over which something is mounted when the appliance has started.
var hidden = [...]string{"dev", "proc", "run", "stick", "sys", "tmp"}

// Added reads what a person wants in the image besides: each of specs is PATH or PATH:DEST. A file becomes DEST, or lies
// in it if DEST ends with a slash; the content of a directory lies below DEST. Without DEST that is the root. Modes are
// kept, symbolic links stay what they are, and owner and time are the same for all. Sorted by name.
func Added(specs []string) ([]File, error) {
	a := &adder{byName: make(map[string]File)}
	for _, spec := range specs {
		if err := a.add(spec); err != nil {
			return nil, fmt.Errorf("cannot add %s: %w", spec, err)
		}
	}
	out := make([]File, 0, len(a.byName))
	for _, f := range a.byName {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

type adder struct {
	byName map[string]File
	bytes  int64
}

func (a *adder) add(spec string) error {
	from, dest := spec, "/"
	if i := strings.LastIndex(spec, ":/"); i > 0 {
		from, dest = spec[:i], spec[i+1:]
	}
	st, err := os.Lstat(from)
	if err != nil {
		return fmt.Errorf("%w (PATH or PATH:/DEST)", err)
	}
	root := strings.TrimPrefix(path.Clean(dest), "/")
	if !st.IsDir() {
		if strings.HasSuffix(dest, "/") {
			root = path.Join(root, filepath.Base(from))
		}
		return a.one(from, root, st)
	}
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if rel == "." && root == "" {
			return nil // the root directory is there already
		}
		return a.one(p, path.Join(root, filepath.ToSlash(rel)), st)
	})
}

// one adds a file, a directory or a link.
func (a *adder) one(from, name string, st fs.FileInfo) error {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q isn't a name that a manifest can tell", name)
	}
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains(hidden[:], first) {
		return fmt.Errorf("/%s wouldn't be seen: something else is mounted over /%s", name, first)
	}
	f := File{Name: name, Mode: uint32(st.Mode().Perm())}
	for _, bit := range [...]struct {
		has  fs.FileMode
		mode uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if st.Mode()&bit.has != 0 {
			f.Mode |= bit.mode
		}
	}
	var err error
	switch {
	case st.IsDir():
		f.Dir = true
	case st.Mode()&fs.ModeSymlink != 0:
		f.Link, err = os.Readlink(from)
	case st.Mode().IsRegular():
		if a.bytes += st.Size(); a.bytes > maxAddedBytes {
			return fmt.Errorf("more than %d MiB are added", maxAddedBytes>>20)
		}
		f.Data, err = os.ReadFile(from) // now, so that manifest and image tell of the same content
	default:
		err = fmt.Errorf("%s is neither a file, a directory nor a symbolic link", from)
	}
	if err != nil {
		return err
	}
	if old, ok := a.byName[name]; ok && !(old.Dir && f.Dir) {
		return fmt.Errorf("/%s is added twice", name)
	}
	if a.byName[name] = f; len(a.byName) > maxAdded {
		return fmt.Errorf("more than %d files are added", maxAdded)
	}
	return nil
}

// fits refuses what would overwrite something of the image, or would lie below something that is no directory. It
// returns what is to be added: directories that are there already are left out, and stay as they are.
func fits(image, added []File) ([]File, error) {
	const dir, other = 1, 2
	kind := make(map[string]int)
	put := func(f File) {
		kind[f.Name] = other
		if f.Dir {
			kind[f.Name] = dir
		}
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			if kind[d] == 0 {
				kind[d] = dir
			}
		}
	}
	for _, f := range image {
		put(f)
	}
	var out []File
	for _, f := range added { // by name, so a directory comes before what is in it
		have := kind[f.Name]
		if f.Dir && have == dir {
			continue
		}
		if have != 0 {
			return nil, fmt.Errorf("cannot add /%s: the image has one of its own, which isn't overwritten", f.Name)
		}
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			if kind[d] == other {
				return nil, fmt.Errorf("cannot add /%s: /%s is no directory", f.Name, d)
			}
		}
		put(f)
		out = append(out, f)
	}
	return out, nil
}

// programFiles are what building the programs puts into the image.
func programFiles(packages []string) []File {
	out := []File{{Name: "init"}, {Name: "bin/sh"}, {Name: "bin/defaultsh"}, {Name: binDir + "/bb"}}
	for _, p := range packages {
		out = append(out, File{Name: path.Join(binDir, path.Base(p))})
	}
	for _, r := range skeleton() {
		out = append(out, File{Name: r.Name, Dir: r.Mode&0o170000 == 0o040000})
	}
	return out
}
