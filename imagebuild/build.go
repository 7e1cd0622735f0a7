package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sanstick/imagebuild/image"
	"sanstick/imagebuild/progress"
)

const buildHelp = `imagebuild build makes the stick image, and an ISO image.

It fetches Debian's kernel, LVM tools and GRUB with apt (as any user; nothing is installed on this machine), compiles
init, the appliance and a shell's commands into an initramfs, and writes a disk image of about 80 MB. The first run
takes a few minutes and needs a network; later ones take seconds and need none.

  go run ./imagebuild build                          the image with the default configuration
  go run ./imagebuild build --config my.toml         with yours on it; errors in it are reported here, not on the box
  go run ./imagebuild build --update                 with the newest packages of the Debian release of this machine
  go run ./imagebuild build --add files              with a directory of yours laid over the root: files/etc/x becomes /etc/x
  go run ./imagebuild build --add tool:/usr/bin/     with a program of yours as /usr/bin/tool
  go run ./imagebuild build --modules i915,qla2xxx   with more of Debian's kernel modules, and what they need
  go run ./imagebuild build --firmware               with the firmware that the image's modules ask for
  go run ./imagebuild build --console ttyS1,9600     on another serial port than the first, and not on the screen
  go run ./imagebuild build --cmdline mitigations=off

build/sanstick.iso is the same for a CD drive, or a virtual one. Written to a stick it boots as well, but has no room for
updates. From a CD the configuration is read from any disk or stick with a volume SANSTICK.

Firmware is taken from Debian's packages firmware-*, as far as this machine's package sources have them: most are in the
component non-free-firmware. Of those packages only the files that a module of the image asks for go in: some 6 MB.

What is added lies in memory while the appliance runs, and overwrites nothing of it. Modules are loaded when a device asks
for them. The manifest names all of it, and the version ends with +custom. An update brings files, modules and firmware
only if it was built with the same flags (see bundle), and leaves consoles and command line as they are on the stick.

Write the image to a stick, for example with
  sudo dd if=build/sanstick.img of=/dev/sdX bs=4M conv=fsync
and boot a PC from it, by BIOS or UEFI, with Secure Boot on or off. The configuration is the file appliance.toml on its volume SANSTICK, which any
PC can edit.

With a key (imagebuild keygen) the appliance takes updates: see imagebuild bundle.
`

// customFlags are the flags of what an image, or an update, has beside what every one has.
func customFlags(fs *flag.FlagSet, c *image.Custom) {
	listFlag(fs, "add", "add the file or the directory `PATH[:DEST]`; may be given several times", &c.Add, "")
	listFlag(fs, "modules", "add the kernel modules `NAME,...`", &c.Modules, ",")
	fs.BoolVar(&c.Firmware, "firmware", false, "add the firmware that the image's modules ask for")
}

// listFlag is a flag that may be given several times. With a separator each may name several.
func listFlag(fs *flag.FlagSet, name, usage string, to *[]string, separator string) {
	fs.Func(name, usage, func(text string) error {
		if separator == "" {
			*to = append(*to, text)
			return nil
		}
		for part := range strings.SplitSeq(text, separator) {
			*to = append(*to, strings.TrimSpace(part))
		}
		return nil
	})
}

// build implements the verb.
func build(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	out := fs.String("o", "", "write the image to `FILE` (default build/sanstick.img in the source tree)")
	isoFile := fs.String("iso", "", "write the ISO image to `FILE` (default build/sanstick.iso; none if -o is given)")
	config := fs.String("config", "", "put `FILE` on the stick as appliance.toml (default: DHCP, no pools)")
	update := fs.Bool("update", false, "ask the package archive for newer packages")
	key := fs.String("update-key", "", "the `FILE` with the public key for sanctl update (default keys/update.pub, if that is there)")
	var custom image.Custom
	customFlags(fs, &custom)
	listFlag(fs, "console", "use the console `NAME[,SPEED]`: tty0 is the screen, ttyS0 to ttyS3 are serial ports; may be given several times, the last one is /dev/console (default: tty0 and ttyS0,115200)",
		&custom.Boot.Consoles, "")
	fs.StringVar(&custom.Boot.Args, "cmdline", "", "`WORDS` for the end of the kernel's command line")
	if err := parse(fs, buildHelp, args); err != nil {
		return err
	}
	source, err := image.FindSource(".")
	if err != nil {
		return err
	}
	dir := filepath.Join(source, "build")
	if *out == "" {
		*out = filepath.Join(dir, "sanstick.img")
		if *isoFile == "" {
			*isoFile = filepath.Join(dir, "sanstick.iso")
		}
	}
	log := progress.New(os.Stdout)
	keys, err := readKeys(source, *key)
	if err != nil {
		return err
	}
	r, err := image.Build(ctx, image.Options{
		Source: source, BuildDir: dir, Out: *out, ISO: *isoFile, ConfigFile: *config, Update: *update, UpdateKeys: keys,
		Custom: custom, Log: log,
	})
	if err != nil {
		return err
	}
	log.Step("done")
	fmt.Printf(`
image      %s
size       %.1f MB
sha256     %s
kernel     %s with %d modules
initramfs  %.1f MB
packages   %d (listed with versions and hashes in manifest.json on the volume SANBOOT)
`, r.Path, float64(r.Size)/1e6, r.SHA256, r.Kernel, r.Modules, float64(r.Initramfs)/1e6, r.Packages)
	return nil
}
