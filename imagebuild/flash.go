package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sanstick/imagebuild/flash"
	"sanstick/imagebuild/image"
)

const flashHelp = `imagebuild flash writes the image to a USB stick and reads it back.

Without DEVICE it lists the sticks that it would write to: removable or on USB, and neither mounted nor otherwise in use.
It asks for the stick's serial number before it writes. A stick that was a sanstick before keeps its configuration, and
a copy of that is put beside the image, in the directory flash.

  go run ./imagebuild flash                          which sticks are there?
  sudo go run ./imagebuild flash /dev/sdX            write build/sanstick.img
`

// flashVerb implements the verb.
func flashVerb(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("flash", flag.ContinueOnError)
	o := flash.Options{Host: flash.Host{Sys: "/sys", Proc: "/proc"}, In: os.Stdin, Out: os.Stdout}
	fs.StringVar(&o.Image, "image", "", "write the image `FILE` (default build/sanstick.img)")
	fs.BoolVar(&o.Discard, "discard-config", false, "don't keep the configuration of a stick that was one before")
	if err := parseFlags(fs, flashHelp, args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return listSticks(o.Host)
	}
	var err error
	if o.Device, err = parseOne(fs, flashHelp, "one device", args); err != nil {
		return err
	}
	if o.Image == "" {
		source, err := image.FindSource(".")
		if err != nil {
			return err
		}
		o.Image = filepath.Join(source, "build", "sanstick.img")
	}
	o.KeepDir = filepath.Join(filepath.Dir(o.Image), "flash")
	return flash.Run(ctx, o)
}

// listSticks prints the candidates, and why other removable disks are none.
func listSticks(h flash.Host) error {
	disks, err := h.Disks()
	if err != nil {
		return err
	}
	found := 0
	for _, d := range disks {
		if d.Refused == "" {
			found++
			fmt.Printf("/dev/%-8s %8.1f GB  %-30s  serial number %s\n", d.Name, float64(d.Size)/1e9, d.Model, d.Serial)
		}
	}
	for _, d := range disks {
		if d.Refused != "" && d.Size > 0 {
			fmt.Printf("/dev/%-8s %8.1f GB  %-30s  not offered: %s\n", d.Name, float64(d.Size)/1e9, d.Model, d.Refused)
		}
	}
	if found == 0 {
		fmt.Println("There is no stick to write to. Plug one in, and unmount it if the desktop has mounted it.")
	}
	return nil
}
