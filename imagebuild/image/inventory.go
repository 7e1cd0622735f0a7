package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sanstick/appliance/update"
	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/firmware"
	"sanstick/imagebuild/hardware"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/iso"
	"sanstick/imagebuild/kernel"
	"sanstick/imagebuild/progress"
	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/stick"
)

// Inventory tells which kernel modules and which firmware are in an image, an ISO image or a stick: in the slot that is
// active.
func Inventory(path string) (hardware.Image, error) {
	initrd, err := readInitramfs(path)
	if err != nil {
		return hardware.Image{}, fmt.Errorf("cannot look into %s: %w", path, err)
	}
	names, err := initramfs.Names(initrd)
	if err != nil {
		return hardware.Image{}, fmt.Errorf("cannot look into %s: %w", path, err)
	}
	return inventory(names), nil
}

// inventory picks modules and firmware from the names of an initramfs.
func inventory(names []string) hardware.Image {
	im := hardware.Image{Modules: make(map[string]bool), Firmware: make(map[string]bool)}
	for _, n := range names {
		if f, ok := strings.CutPrefix(n, firmware.Dir); ok {
			im.Firmware[strings.TrimSuffix(strings.TrimSuffix(f, ".xz"), ".zst")] = true
		}
		rest, ok := strings.CutPrefix(n, "lib/modules/")
		version, file, inside := strings.Cut(rest, "/")
		if !ok || !inside {
			continue
		}
		im.Kernel = version
		if m := kernel.ModuleName(file); m != "" {
			im.Modules[m] = true
		}
	}
	return im
}

func readInitramfs(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var files []stick.File
	if iso.Is(f) {
		files, _, err = iso.Files(f)
	} else {
		files, err = stick.BootFiles(f)
	}
	if err != nil {
		return nil, err
	}
	slot := update.SlotA
	for _, file := range files {
		if file.Name != esp.Environment {
			continue
		}
		if env, err := update.DecodeEnv(file.Data); err == nil && env.Active != "" {
			slot = env.Active
		}
	}
	name := string(slot) + "/" + update.InitramfsName
	for _, file := range files {
		if file.Name == name {
			return file.Data, nil
		}
	}
	return nil, fmt.Errorf("there is no %s", name)
}

// Catalog opens the catalog of the kernel that images are built with. Without a build before it fetches the packages.
func Catalog(ctx context.Context, buildDir string, log *progress.Log) (*kernel.Catalog, error) {
	cache := filepath.Join(buildDir, "cache")
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	set, err := apt.Fetch(ctx, apt.Options{Dir: filepath.Join(cache, "apt"), Names: packages[:], Note: fetchNote, Log: log})
	if err != nil {
		return nil, err
	}
	root, err := set.Unpack(ctx, log)
	if err != nil {
		return nil, err
	}
	return kernel.OpenCatalog(ctx, kernel.Options{Tree: rootfs.Tree{Dir: root}, Log: log})
}
