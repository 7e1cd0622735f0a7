// Package kernel takes a Debian kernel apart: its image, and the subset of its modules that the stick carries.
//
// Modules are kept byte for byte (they carry Debian's signatures, which a kernel under Secure Boot checks) and
// compressed with zstd one by one; init expands a module in memory before it hands it to the kernel. The index files
// of depmod are cut down to the modules that are there.
package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sanstick/imagebuild/progress"
	"sanstick/imagebuild/rootfs"
)

// Options says where the unpacked packages are and where compressed modules may be kept between builds.
type Options struct {
	Tree     rootfs.Tree
	Extra    []string // names of modules that are wanted beside those of modules.txt
	CacheDir string   // belongs to this exact set of packages; nothing but such directories may lie beside it
	Log      *progress.Log
}

// A File is one file of the module directory.
type File struct {
	Name string // path in the image, no leading slash
	Path string // host file with the content, or empty and
	Data []byte // the content itself
}

// A Kernel is a kernel ready to be put into an image.
type Kernel struct {
	Version string   // as uname -r says it
	Image   string   // host path of vmlinuz
	Modules []string // their names, folded
	Files   []File   // the modules and their index, sorted by name
}

// Prepare finds the one kernel in the tree, selects its modules and compresses them.
func Prepare(ctx context.Context, o Options) (*Kernel, error) {
	k := &Kernel{}
	var err error
	if k.Version, k.Image, err = find(o.Tree); err != nil {
		return nil, err
	}
	dir, err := o.Tree.Path("lib/modules/" + k.Version)
	if err != nil {
		return nil, err
	}
	if err := depmod(ctx, o, k.Version, dir); err != nil {
		return nil, err
	}
	text := make(map[string][]byte)
	for _, name := range []string{"modules.dep", "modules.softdep", "modules.alias", "modules.builtin"} {
		if text[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("cannot read the module index: %w", err)
		}
	}
	x, err := parseIndex(text["modules.dep"], text["modules.softdep"], text["modules.alias"])
	if err != nil {
		return nil, err
	}
	chosen, err := choose(x.modules(), patterns(modulesText))
	if err != nil {
		return nil, err
	}
	extra, err := x.named(o.Extra, builtinNames(text["modules.builtin"]))
	if err != nil {
		return nil, fmt.Errorf("cannot add kernel modules to %s: %w", k.Version, err)
	}
	modules, err := x.closure(append(chosen, extra...))
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		k.Modules = append(k.Modules, fold(moduleName(m)))
	}
	o.Log.Step("kernel %s: %d of %d modules", k.Version, len(modules), len(x.deps))
	packed, err := compress(ctx, o, dir, modules)
	if err != nil {
		return nil, err
	}
	base := "lib/modules/" + k.Version + "/"
	for i, m := range modules {
		k.Files = append(k.Files, File{Name: base + shippedPath(m), Path: packed[i]})
	}
	alias, err := filterLines(text["modules.alias"], -1, modules)
	if err != nil {
		return nil, err
	}
	softdep, err := filterLines(text["modules.softdep"], 1, modules)
	if err != nil {
		return nil, err
	}
	k.Files = append(k.Files,
		File{Name: base + "modules.alias", Data: alias},
		File{Name: base + "modules.builtin", Data: text["modules.builtin"]},
		File{Name: base + "modules.dep", Data: filterDep(x, modules)},
		File{Name: base + "modules.softdep", Data: softdep},
	)
	return k, nil
}

// find returns the version and the image of the only kernel in the tree.
func find(t rootfs.Tree) (version, image string, err error) {
	images, err := filepath.Glob(filepath.Join(t.Dir, "boot/vmlinuz-*"))
	if err != nil {
		return "", "", fmt.Errorf("cannot look for the kernel: %w", err)
	}
	if len(images) != 1 {
		return "", "", fmt.Errorf("cannot choose a kernel: the packages hold %d, not one", len(images))
	}
	return filepath.Base(images[0])[len("vmlinuz-"):], images[0], nil
}

// depmod writes the module index into the unpacked tree, once.
func depmod(ctx context.Context, o Options, version, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "modules.softdep")); err == nil {
		return nil
	}
	o.Log.Step("indexing the modules of kernel %s", version)
	// kmod is one program with many names: it looks at what it is called.
	cmd, err := o.Tree.Command(ctx, "bin/kmod")
	if err != nil {
		return err
	}
	file := cmd.Args[len(cmd.Args)-1]
	cmd.Args = append(cmd.Args[:len(cmd.Args)-1], "--argv0", "depmod", file, "--basedir", o.Tree.Dir, version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot index the kernel's modules: %w\n%s", err, out)
	}
	return nil
}
