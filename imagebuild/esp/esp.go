// Package esp makes what the boot partition of the stick holds: GRUB with its configuration, the kernel, the initramfs
// and the manifest. In this form it boots on a PC BIOS.
package esp

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/stick"
)

//go:embed grub.cfg
var grubConfig []byte

// configDir is where Debian's signed GRUB looks for its configuration, so ours looks there too.
const configDir = "EFI/debian"

// biosModules go into GRUB's core image: enough to read the boot volume and run grub.cfg, and for a person at its
// prompt to look around. There is nothing to load later.
const biosModules = "biosdisk part_gpt part_msdos fat iso9660 normal configfile linux linux16 echo test search search_label " +
	"search_fs_file loadenv serial terminal minicmd regexp sleep reboot halt true cat ls probe"

// BIOS returns GRUB's first stage (boot.img) and a core image for a PC BIOS, made by the grub-mkimage of the tree.
func BIOS(ctx context.Context, t rootfs.Tree, tmp string) (bootCode, core []byte, err error) {
	dir, err := t.Path("usr/lib/grub/i386-pc")
	if err != nil {
		return nil, nil, err
	}
	if bootCode, err = os.ReadFile(filepath.Join(dir, "boot.img")); err != nil {
		return nil, nil, fmt.Errorf("cannot read GRUB's boot sector: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, nil, fmt.Errorf("cannot make GRUB's core image: %w", err)
	}
	out := filepath.Join(tmp, "core.img")
	defer os.Remove(out)
	// The prefix means: partition 2 of the drive the BIOS booted from.
	args := append([]string{"-d", dir, "-O", "i386-pc", "-o", out, "-p", "(,gpt2)/" + configDir}, strings.Fields(biosModules)...)
	cmd, err := t.Command(ctx, "usr/bin/grub-mkimage", args...)
	if err != nil {
		return nil, nil, err
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("cannot make GRUB's core image: %w\n%s", err, text)
	}
	if core, err = os.ReadFile(out); err != nil {
		return nil, nil, fmt.Errorf("cannot make GRUB's core image: %w", err)
	}
	return bootCode, core, nil
}

// Files returns the files of the boot volume. They are in an order that puts the small ones first.
func Files(vmlinuz, initrd, manifest []byte) []stick.File {
	return []stick.File{
		{Name: configDir + "/grub.cfg", Data: grubConfig},
		{Name: "manifest.json", Data: manifest},
		{Name: "a/vmlinuz", Data: vmlinuz},
		{Name: "a/initrd.img", Data: initrd},
	}
}
