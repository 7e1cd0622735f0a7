package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/firmware"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/kernel"
	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/sbom"
)

// addFirmware takes what the modules of the system ask for from Debian's packages of firmware, and notes in the bill what
// is from where. The packages are kept beside the others, so that an image without firmware needs no network afterwards.
func (s *system) addFirmware(ctx context.Context, o Options, cache string) error {
	catalog, err := kernel.OpenCatalog(ctx, kernel.Options{Tree: s.tree, Log: o.Log})
	if err != nil {
		return err
	}
	wanted, err := wantedFirmware(catalog, s.kernel.Modules)
	if err != nil {
		return err
	}
	names := firmware.Packages(catalog.Version, wanted)
	set, err := apt.Fetch(ctx, apt.Options{Dir: filepath.Join(cache, "firmware"), Names: names, Update: o.Update, Note: " of firmware", Log: o.Log})
	if err != nil {
		return firmwareError(err)
	}
	root, err := set.Unpack(ctx, o.Log)
	if err != nil {
		return err
	}
	tree := rootfs.Tree{Dir: root}
	found, lacking, err := firmware.Find(tree, catalog.Version, wanted)
	if err != nil {
		return err
	}
	s.addFound(found)
	used := slices.DeleteFunc(slices.Clone(set.Packages), func(p apt.Package) bool {
		return !slices.ContainsFunc(found, func(f firmware.File) bool { return f.Package == p.Name })
	})
	s.packages += len(used)
	o.Log.Step("firmware: %d files of %d packages", len(found), len(used))
	if len(lacking) > 0 {
		o.Log.Step("no package has the firmware %s", strings.Join(lacking, ", "))
	}
	return s.bill.add(tree, used)
}

// addFound puts firmware into the system and into its bill.
func (s *system) addFound(found []firmware.File) {
	for _, f := range found {
		name := firmware.Dir + f.Name
		s.firmware = append(s.firmware, initramfs.File{Name: name, Data: f.Data, Mode: 0o644})
		s.bill.inside = append(s.bill.inside, sbom.File{Name: name, SHA256: sbom.HashOf(f.Data), Comment: "in the initramfs", Package: f.Package})
	}
}

// wantedFirmware lists what modules ask for, sorted.
func wantedFirmware(k interface {
	Firmware(module string) ([]string, error)
}, modules []string) ([]string, error) {
	var out []string
	for _, m := range modules {
		names, err := k.Firmware(m)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// firmwareError says what to do about packages that aren't there.
func firmwareError(err error) error {
	var missing *apt.NotFoundError
	if !errors.As(err, &missing) {
		return fmt.Errorf("cannot add firmware: %w", err)
	}
	return fmt.Errorf("cannot add firmware: %w.\nThey are in Debian's component non-free-firmware (non-free before Debian 12), firmware-linux-free in main. "+
		"Add it to the package sources in /etc/apt, as in\n"+
		"  Components: main non-free-firmware               in /etc/apt/sources.list.d/debian.sources, or\n"+
		"  deb http://deb.debian.org/debian bookworm main non-free-firmware          in /etc/apt/sources.list", missing)
}
