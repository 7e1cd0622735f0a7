// Package esp makes what the EFI system partition of the stick holds: boot loaders with their configuration, the kernel
// and the initramfs. It boots on a PC BIOS, on UEFI, and on UEFI with Secure Boot: there the firmware
// starts shim, which Microsoft signed, and shim starts Debian's signed GRUB, which starts Debian's signed kernel.
package esp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sanstick/imagebuild/rootfs"
	"sanstick/imagebuild/stick"
)

// configDir is where Debian's signed GRUB looks for its configuration, so the one for a BIOS looks there too.
const configDir = "EFI/debian"

// Environment is GRUB's environment block on the stick.
const Environment = "grub/grubenv"

// environmentSize is how large it is, for good: GRUB only overwrites it. One sector is written whole or not at all.
const environmentSize = 512

// biosModules go into GRUB's core image: enough to read the boot volume and run grub.cfg, and for a person at its
// prompt to look around. There is nothing to load later.
const biosModules = "biosdisk part_gpt part_msdos fat iso9660 normal configfile linux linux16 echo test search search_label " +
	"search_fs_file loadenv serial terminal minicmd regexp sleep reboot halt true cat ls probe"

// loaders are the boot loaders for UEFI: where they are in the packages and what they are called on the volume. The
// firmware starts BOOTX64.EFI of a medium that it has no entry for. mmx64.efi, for enrolling keys, is looked for by shim.
// fbx64.efi isn't there on purpose: shim would start it instead of GRUB.
var loaders = [...]struct{ from, name string }{
	{"usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"},
	{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "EFI/BOOT/grubx64.efi"},
	{"usr/lib/shim/mmx64.efi.signed", "EFI/BOOT/mmx64.efi"},
}

// BIOS returns GRUB's first stage (boot.img) and a core image for a PC BIOS, made by the grub-mkimage of the tree.
func BIOS(ctx context.Context, t rootfs.Tree, tmp string) (bootCode, core []byte, err error) {
	dir, err := t.Path("usr/lib/grub/i386-pc")
	if err != nil {
		return nil, nil, err
	}
	if bootCode, err = os.ReadFile(filepath.Join(dir, "boot.img")); err != nil {
		return nil, nil, fmt.Errorf("cannot read GRUB's boot sector: %w", err)
	}
	// The prefix means: partition 2 of the drive the BIOS booted from.
	core, err = mkimage(ctx, t, tmp, "i386-pc", "(,gpt2)/"+configDir)
	return bootCode, core, err
}

// CD returns what a PC BIOS needs to boot an ISO image: the boot sector for when it is on a disk (boot_hybrid.img), and a
// core image that both ways lead to.
func CD(ctx context.Context, t rootfs.Tree, tmp string) (hybrid, core []byte, err error) {
	path, err := t.Path("usr/lib/grub/i386-pc/boot_hybrid.img")
	if err != nil {
		return nil, nil, err
	}
	if hybrid, err = os.ReadFile(path); err != nil {
		return nil, nil, fmt.Errorf("cannot read GRUB's boot sector: %w", err)
	}
	core, err = mkimage(ctx, t, tmp, "i386-pc-eltorito", "/"+configDir)
	return hybrid, core, err
}

// mkimage makes a core image of GRUB. tmp is a directory for building.
func mkimage(ctx context.Context, t rootfs.Tree, tmp, format, prefix string) ([]byte, error) {
	dir, err := t.Path("usr/lib/grub/i386-pc")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make GRUB's core image: %w", err)
	}
	out := filepath.Join(tmp, "core.img")
	defer os.Remove(out)
	args := append([]string{"-d", dir, "-O", format, "-o", out, "-p", prefix}, strings.Fields(biosModules)...)
	cmd, err := t.Command(ctx, "usr/bin/grub-mkimage", args...)
	if err != nil {
		return nil, err
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot make GRUB's core image: %w\n%s", err, text)
	}
	core, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("cannot make GRUB's core image: %w", err)
	}
	return core, nil
}

// Loaders returns the boot loaders for UEFI and their configuration.
func Loaders(t rootfs.Tree, b Boot) ([]stick.File, error) {
	files := []stick.File{{Name: configDir + "/grub.cfg", Data: b.config()}}
	for _, l := range loaders {
		path, err := t.Path(l.from)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read a boot loader: %w", err)
		}
		files = append(files, stick.File{Name: l.name, Data: data})
	}
	return files, nil
}

// System returns the files of the boot volume beside the boot loaders: the system in slot a, with slot b empty, and the
// environment block that says which one to start.
func System(vmlinuz, initrd []byte) []stick.File {
	return []stick.File{
		{Name: Environment, Data: environment()},
		{Name: "a/vmlinuz", Data: vmlinuz},
		{Name: "a/initrd.img", Data: initrd},
	}
}

// environment is a new environment block.
func environment() []byte {
	b := []byte("# GRUB Environment Block\nactive=a\n")
	return append(b, bytes.Repeat([]byte("#"), environmentSize-len(b))...)
}
