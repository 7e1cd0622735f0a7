package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	report "sanstick/appliance/hardware"
	"sanstick/imagebuild/hardware"
	"sanstick/imagebuild/image"
	"sanstick/imagebuild/progress"
)

const hardwareHelp = `imagebuild hardware says which devices of a machine the image drives, and with what.

REPORT is a file that "sanctl hardware" made on the appliance (with --save it lies on the stick as hardware.txt), or what
lspci and lsusb say on that machine under any other Linux; - is the standard input. For each device it names the module of
the image that drives it, or that of Debian's which would and which --modules of "imagebuild build" adds, and whether the
image has the firmware that the module may ask for.

  go run ./imagebuild hardware hardware.txt
  (lspci -nnk; lsusb) | go run ./imagebuild hardware -

Each line begins with ok, LACKS (a device for disks, network, USB or keyboards that the image doesn't drive), - (another one)
or ? (lsusb doesn't tell enough). It exits with 0 whatever is lacking.
`

// hardwareVerb implements the verb.
func hardwareVerb(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("hardware", flag.ContinueOnError)
	imageFile := fs.String("image", "", "the image, ISO image or stick to look into: `FILE` (default build/sanstick.img)")
	path, err := parseOne(fs, hardwareHelp, "a report", args)
	if err != nil {
		return err
	}
	devices, err := readReport(path)
	if err != nil {
		return err
	}
	source, err := image.FindSource(".")
	if err != nil {
		return err
	}
	dir := filepath.Join(source, "build")
	if *imageFile == "" {
		*imageFile = filepath.Join(dir, "sanstick.img")
	}
	log := progress.New(os.Stderr)
	im, err := image.Inventory(*imageFile)
	if err != nil {
		return err
	}
	catalog, err := image.Catalog(ctx, dir, log)
	if err != nil {
		return err
	}
	all, err := hardware.Judge(devices, im, catalog)
	if err != nil {
		return err
	}
	fmt.Print(hardware.Text(all))
	if im.Kernel != catalog.Version {
		fmt.Printf("the image has kernel %s; what Debian has besides is told of %s\n", im.Kernel, catalog.Version)
	}
	return nil
}

func readReport(path string) ([]hardware.Device, error) {
	in := os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the report: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, report.MaxText+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the report: %w", err)
	}
	return hardware.Parse(text)
}
