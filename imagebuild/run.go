package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sanstick/imagebuild/image"
	"sanstick/imagebuild/progress"
	"sanstick/imagebuild/run"
)

const runHelp = `imagebuild run tries the stick out in a virtual machine (QEMU).

It boots the image with two empty disks and forwards the appliance's iSCSI port to 127.0.0.1. This terminal is the
appliance's console; Ctrl-C powers it off. The stick and the disks stay in build/run from one run to the next: what you
store and what you change in appliance.toml is there again. Delete that directory to begin anew.

  go run ./imagebuild run                            the demo configuration: a mirror of both disks, one volume
  go run ./imagebuild run --config my.toml           put your configuration on the stick first
  go run ./imagebuild run --disks 3 --disk-size 8GiB
  ACCEL=tcg go run ./imagebuild run                  never use KVM

KVM is used when a quick test shows that a kernel really boots under it; otherwise the processor is emulated.
`

// runVerb implements the verb.
func runVerb(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	o := run.Options{DiskSize: 4 << 30, Out: os.Stdout, Terminal: os.Stdin, Log: progress.New(os.Stdout)}
	imageFile := set.String("image", "", "boot the image `FILE` (default build/sanstick.img; built if it is not there)")
	set.StringVar(&o.ConfigFile, "config", "", "put `FILE` on the stick as appliance.toml")
	set.StringVar(&o.Accel, "accel", accelDefault(), "auto, kvm or tcg; the environment variable ACCEL is the default")
	set.IntVar(&o.MemoryMiB, "memory", 512, "memory of the machine in `MiB`")
	set.IntVar(&o.Disks, "disks", 2, "number of disks")
	set.TextVar((*size)(&o.DiskSize), "disk-size", (*size)(&o.DiskSize), "size of a new disk, such as 500MiB or 4GiB")
	set.IntVar(&o.Port, "port", 3260, "serve on this `PORT` of 127.0.0.1, or the next free one")
	if err := parse(set, runHelp, args); err != nil {
		return err
	}
	if o.MemoryMiB < 256 || o.Disks < 0 || o.Disks > 16 || o.DiskSize < 64<<20 {
		return fmt.Errorf("cannot use these flags: want at least 256 MiB of memory, 0 to 16 disks, and disks of 64 MiB or more")
	}
	source, err := image.FindSource(".")
	if err != nil {
		return err
	}
	dir := filepath.Join(source, "build")
	o.Dir, o.CacheDir = filepath.Join(dir, "run"), filepath.Join(dir, "cache")
	o.Image = *imageFile
	if o.Image == "" {
		o.Image = filepath.Join(dir, "sanstick.img")
		if _, err := os.Stat(o.Image); errors.Is(err, fs.ErrNotExist) {
			keys, err := readKeys(source, "")
			if err != nil {
				return err
			}
			if _, err := image.Build(ctx, image.Options{Source: source, BuildDir: dir, Out: o.Image, UpdateKeys: keys, Log: o.Log}); err != nil {
				return err
			}
		}
	}
	if o.Kernel, o.Initrd, err = image.BootFiles(dir); err != nil {
		return err
	}
	return run.Run(ctx, o)
}

func accelDefault() string {
	if a := os.Getenv("ACCEL"); a != "" {
		return a
	}
	return "auto"
}
