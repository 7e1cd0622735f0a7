package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"sanstick/appliance/update"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/rootfs"
)

// packages are the Debian packages the stick is made of. Their libraries come with them.
var packages = [...]string{
	"linux-image-amd64", // the kernel
	"kmod",              // depmod, run while building
	"zstd",              // run while building

	"lvm2", // LVM
	"dmsetup",
	"thin-provisioning-tools", // checks and repairs thin pools

	"dosfstools", // puts the boot volume in order after a power cut
	"mdadm",      // opens arrays of other machines, read-only

	"ca-certificates", // whom https servers are trusted by

	"grub-pc-bin",               // boot loader for a PC BIOS
	"grub-common",               // grub-mkimage, run while building
	"shim-signed",               // boot loaders for UEFI, signed for Secure Boot: Microsoft's signature is on shim,
	"shim-helpers-amd64-signed", // Debian's on its helpers
	"grub-efi-amd64-signed",     // and on GRUB
}

// fetchNote is said when they are fetched.
const fetchNote = " (about 90 MB the first time)"

// programs go into the image from packages, with their libraries.
var programs = [...]string{"sbin/lvm", "sbin/dmsetup", "usr/sbin/pdata_tools", "sbin/fsck.fat", "sbin/mdadm"}

// links are other names of programs. LVM runs the thin tools by these names.
var links = [...]initramfs.File{
	{Name: "usr/sbin/thin_check", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_delta", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_dump", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_ls", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_metadata_size", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_repair", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_restore", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_rmap", Link: "pdata_tools"},
	{Name: "usr/sbin/thin_trim", Link: "pdata_tools"},
}

// lvmConf is where the disk code keeps LVM's configuration, which belongs to it.
const lvmConf = "appliance/disk/lvm/lvm.conf"

// rootFiles lists what the initramfs holds beside our own programs.
func rootFiles(o Options, s *system, r update.Release) ([]initramfs.File, error) {
	var out []initramfs.File
	tree, k := s.tree, s.kernel
	manifest, err := s.bill.marshal(nil)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		file, err := tree.Path(p)
		if err != nil {
			return nil, err
		}
		out = append(out, initramfs.File{Name: p, Path: file, Mode: 0o755})
	}
	libs, err := tree.Libraries(programs[:]...)
	if err != nil {
		return nil, err
	}
	for _, l := range libs {
		out = append(out, initramfs.File{Name: l.Name, Path: l.File, Mode: 0o755})
	}
	out = append(out, links[:]...)
	for _, f := range k.Files {
		out = append(out, initramfs.File{Name: f.Name, Path: f.Path, Data: f.Data, Mode: 0o644})
	}
	out = append(out, s.firmware...)
	certs, err := certificates(tree)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(o.Source, lvmConf)
	if _, err := os.Stat(conf); err != nil {
		return nil, fmt.Errorf("cannot build the image without LVM's configuration: %w", err)
	}
	about, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot describe this version: %w", err)
	}
	if _, err := update.DecodePublicKeys(o.UpdateKeys); err != nil {
		return nil, fmt.Errorf("cannot use the key for updates: %w", err)
	}
	if len(o.UpdateKeys) > 0 {
		out = append(out, initramfs.File{Name: "etc/sanstick/update.pub", Data: o.UpdateKeys, Mode: 0o644})
	}
	return append(out,
		initramfs.File{Name: "etc/lvm/lvm.conf", Path: conf, Mode: 0o644},
		initramfs.File{Name: "etc/ssl/certs/ca-certificates.crt", Data: certs, Mode: 0o644},
		initramfs.File{Name: "etc/sanstick/manifest.json", Data: manifest, Mode: 0o644},
		initramfs.File{Name: "etc/sanstick/release.json", Data: append(about, '\n'), Mode: 0o644},
		initramfs.File{Name: "etc/sanstick/version", Data: []byte(r.Version + "\n"), Mode: 0o644},
	), nil
}

// certificates puts the package's certificates into one file, as its
// installation would.
func certificates(tree rootfs.Tree) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(tree.Dir, "usr/share/ca-certificates/mozilla/*.crt"))
	if err == nil && len(files) == 0 {
		err = os.ErrNotExist
	}
	var all []byte
	for _, f := range files { // in the order of their names
		var b []byte
		if b, err = os.ReadFile(f); err != nil {
			break
		}
		all = append(all, bytes.TrimRight(b, "\n")...)
		all = append(all, '\n')
	}
	if err != nil {
		return nil, fmt.Errorf("cannot collect the certificates of https: %w", err)
	}
	return all, nil
}

// version names the state of the source tree: the commit, with "-dirty" when there are changes on top.
func version(ctx context.Context, source string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", source, "describe", "--tags", "--always", "--dirty").Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return "unknown" // an unpacked archive, or no git
	}
	return string(bytes.TrimSpace(out))
}

// isModule reports whether a go.mod is ours.
func isModule(gomod []byte) bool {
	first, _, _ := strings.Cut(string(gomod), "\n")
	return path.Base(strings.TrimSpace(strings.TrimPrefix(first, "module"))) == "sanstick"
}
