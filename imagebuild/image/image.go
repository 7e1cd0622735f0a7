// Package image builds the stick image from start to end: packages, kernel, initramfs, boot files, disk image.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/appliance/config"
	"sanstick/appliance/update"
	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/iso"
	"sanstick/imagebuild/kernel"
	"sanstick/imagebuild/progress"
	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/stick"
	"sanstick/imagebuild/verify"
)

// Options says what to build.
type Options struct {
	Source     string // root of the sanstick module; see FindSource
	BuildDir   string // everything is kept below it
	Out        string // the image file
	ISO        string // the ISO image to make as well; empty = none
	ConfigFile string // the appliance.toml to put on the stick; empty = the default one
	Update     bool   // ask for newer packages
	UpdateKeys []byte // public keys in PEM, for sanctl update; empty: the appliance takes no updates
	Custom     Custom // what is in this image and not in every one
	Log        *progress.Log
}

// A Result says what was built.
type Result struct {
	Path      string
	Size      int64  // bytes
	SHA256    string // of the image
	Kernel    string // version
	Modules   int    // kernel modules
	Initramfs int64  // bytes
	Packages  int    // Debian packages in the manifest
}

// Build builds the image. Several builds in the same build directory wait for each other.
func Build(ctx context.Context, o Options) (*Result, error) {
	toml, err := readConfig(o.ConfigFile)
	if err != nil {
		return nil, err
	}
	added, err := o.Custom.read()
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(o.BuildDir, "cache")
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), o.Log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sys, err := makeSystem(ctx, o, added, cache)
	if err != nil {
		return nil, err
	}
	contents, err := stickContents(ctx, sys, o.Custom, cache)
	if err != nil {
		return nil, err
	}
	contents.Config = toml
	if err := createStick(o, sys, contents); err != nil {
		return nil, err
	}
	if o.ISO != "" {
		if err := createISO(ctx, o, sys, cache, contents); err != nil {
			return nil, err
		}
	}
	return result(o.Out, sys)
}

// system is what a slot of the stick holds, and what it was made of.
type system struct {
	tree     rootfs.Tree
	kernel   *kernel.Kernel
	initrd   string // its file
	firmware []initramfs.File
	bill     bill
	packages int
	slot     update.Manifest
}

// makeSystem makes kernel and initramfs in the cache. added are files for the initramfs.
func makeSystem(ctx context.Context, o Options, added []initramfs.File, cache string) (*system, error) {
	set, err := apt.Fetch(ctx, apt.Options{Dir: filepath.Join(cache, "apt"), Names: packages[:], Update: o.Update, Note: fetchNote, Log: o.Log})
	if err != nil {
		return nil, err
	}
	root, err := set.Unpack(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	s := &system{tree: rootfs.Tree{Dir: root}, packages: len(set.Packages), initrd: filepath.Join(cache, "initrd.img")}
	s.kernel, err = kernel.Prepare(ctx, kernel.Options{
		Tree: s.tree, Extra: o.Custom.Modules, CacheDir: filepath.Join(cache, "modules", set.Key()), Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	if s.bill, err = newBill(ctx, o.Source, s.tree, set.Packages); err != nil {
		return nil, err
	}
	if o.Custom.Firmware {
		if err := s.addFirmware(ctx, o, cache); err != nil {
			return nil, err
		}
	}
	s.bill.version += o.Custom.suffix()
	s.bill.options, s.bill.inside = o.Custom.options(), append(s.bill.inside, inside(added)...)
	r := s.bill.release()
	files, err := rootFiles(o, s, r)
	if err != nil {
		return nil, err
	}
	err = initramfs.Build(ctx, initramfs.Options{
		Source: o.Source, TmpDir: filepath.Join(cache, "_busybox"), Out: s.initrd, Files: files, Added: added, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	s.slot, err = update.NewManifest(r, s.kernel.Image, s.initrd)
	return s, err
}

// createISO writes the ISO image, which holds what the stick does but for the code for a BIOS and the manifest.
func createISO(ctx context.Context, o Options, s *system, tmp string, c stick.Contents) error {
	o.Log.Step("writing %s", o.ISO)
	hybrid, core, err := esp.CD(ctx, s.tree, tmp)
	if err != nil {
		return err
	}
	out := iso.Contents{HybridCode: hybrid, ElTorito: core, Config: c.Config}
	for _, f := range c.Boot {
		switch {
		case strings.HasPrefix(f.Name, "EFI/"):
			out.Loaders = append(out.Loaders, f)
		case f.Name != esp.Environment: // nothing can be written to it
			out.System = append(out.System, f)
		}
	}
	code, err := iso.Code(out)
	if err != nil {
		return err
	}
	manifest, err := s.manifest(o.Custom, slices.Concat(out.Loaders, out.System, code))
	if err != nil {
		return err
	}
	out.System = append(out.System, manifest)
	return iso.Create(o.ISO, out)
}

// stickContents collects what the stick holds, but for the manifest.
func stickContents(ctx context.Context, s *system, custom Custom, tmp string) (stick.Contents, error) {
	var c stick.Contents
	var err error
	if c.BootCode, c.Core, err = esp.BIOS(ctx, s.tree, tmp); err != nil {
		return c, err
	}
	vmlinuz, err := os.ReadFile(s.kernel.Image)
	if err != nil {
		return c, fmt.Errorf("cannot read the kernel: %w", err)
	}
	rd, err := os.ReadFile(s.initrd)
	if err != nil {
		return c, fmt.Errorf("cannot read the initramfs: %w", err)
	}
	if c.Boot, err = esp.Loaders(s.tree, custom.Boot); err != nil {
		return c, err
	}
	slot, err := s.slot.Encode()
	if err != nil {
		return c, err
	}
	c.Boot = append(c.Boot, esp.System(vmlinuz, rd)...)
	c.Boot = append(c.Boot, stick.File{Name: "a/" + update.ManifestName, Data: slot})
	return c, nil
}

// createStick writes the stick image.
func createStick(o Options, s *system, c stick.Contents) error {
	o.Log.Step("writing %s", o.Out)
	code, err := stick.Code(c.BootCode, c.Core)
	if err != nil {
		return err
	}
	changing := func(f stick.File) bool { return f.Name == esp.Environment }
	manifest, err := s.manifest(o.Custom, append(slices.DeleteFunc(slices.Clone(c.Boot), changing), code...))
	if err != nil {
		return err
	}
	c.Boot = append(slices.Clip(c.Boot), manifest)
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return fmt.Errorf("cannot write %s: %w", o.Out, err)
	}
	return stick.Create(o.Out, c)
}

// manifest is the manifest of a boot volume with these files, and of the code for a BIOS outside of it.
func (s *system) manifest(custom Custom, files []stick.File) (stick.File, error) {
	b := s.bill
	b.options = custom.bootOptions()
	data, err := b.marshal(files)
	return stick.File{Name: verify.Manifest, Data: data}, err
}

// readConfig reads the configuration for the stick, and refuses one with errors.
func readConfig(file string) ([]byte, error) {
	if file == "" {
		return config.Default(), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if _, err := config.Parse(file, data); err != nil {
		return nil, fmt.Errorf("cannot put this configuration on the stick:\n%w", err)
	}
	return data, nil
}

func result(out string, s *system) (*Result, error) {
	r := &Result{Path: out, Kernel: s.kernel.Version, Modules: len(s.kernel.Modules), Packages: s.packages, Initramfs: s.slot.Files[1].Size}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("cannot hash the image: %w", err)
	}
	r.Size = int64(len(data))
	sum := sha256.Sum256(data)
	r.SHA256 = hex.EncodeToString(sum[:])
	return r, nil
}

// FindSource returns the root of the sanstick module that the directory dir lies in.
func FindSource(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("cannot find the source tree: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		data, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && isModule(data) {
			return d, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot find the source tree: %w", err)
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("cannot find the source tree: run imagebuild inside of a clone of sanstick, not in %s", dir)
		}
	}
}

// BootFiles returns the kernel and the initramfs that the last build left in buildDir. Empty names mean there was none.
func BootFiles(buildDir string) (vmlinuz, initrd string, err error) {
	initrd = filepath.Join(buildDir, "cache", "initrd.img")
	kernels, err := filepath.Glob(filepath.Join(buildDir, "cache", "apt", "root-*", "boot", "vmlinuz-*"))
	if err != nil {
		return "", "", fmt.Errorf("cannot look for the kernel: %w", err)
	}
	if _, err := os.Stat(initrd); err != nil || len(kernels) != 1 {
		return "", "", nil
	}
	return kernels[0], initrd, nil
}
