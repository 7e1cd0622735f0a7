package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sanstick/appliance/config"
	"sanstick/imagebuild/qemu"
	"sanstick/imagebuild/stick"
)

// prepare makes the stick image and the disks, or brings those of the last run up to date.
func prepare(o Options) (stickFile string, disks []qemu.Disk, err error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("cannot make the directory for disks: %w", err)
	}
	stickFile = filepath.Join(o.Dir, "stick.img")
	if err := prepareStick(o, stickFile); err != nil {
		return "", nil, err
	}
	for i := 1; i <= o.Disks; i++ {
		file := filepath.Join(o.Dir, fmt.Sprintf("disk%d.img", i))
		if err := prepareDisk(o, file); err != nil {
			return "", nil, err
		}
		disks = append(disks, qemu.Disk{Path: file, Serial: fmt.Sprintf("SAN-DISK-%d", i)})
	}
	return stickFile, disks, nil
}

// stickSize is that of the smallest stick that has room for two systems.
const stickSize = 256 << 20

func prepareStick(o Options, file string) error {
	toml := config.Demo()
	if o.ConfigFile != "" {
		var err error
		if toml, err = os.ReadFile(o.ConfigFile); err != nil {
			return fmt.Errorf("cannot read the configuration: %w", err)
		}
		if _, err := config.Parse(o.ConfigFile, toml); err != nil {
			return fmt.Errorf("cannot put this configuration on the stick:\n%w", err)
		}
	}
	_, err := os.Stat(file)
	switch {
	case err == nil && o.ConfigFile == "":
		o.Log.Step("using the stick in %s with the configuration it has", file)
		return stick.Refresh(o.Image, file)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		o.Log.Step("making a stick in %s", file)
		if err := stick.WithConfig(o.Image, file, toml); err != nil {
			return err
		}
		return stick.Grow(file, stickSize)
	default:
		return fmt.Errorf("cannot find the stick image: %w", err)
	}
}

// prepareDisk makes a blank disk. One that is there is used as it is.
func prepareDisk(o Options, file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot make a disk: %w", err)
	}
	o.Log.Step("making a blank disk in %s", file)
	if err := errors.Join(f.Truncate(o.DiskSize), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("cannot make a disk: %w", err), os.Remove(file))
	}
	return nil
}
