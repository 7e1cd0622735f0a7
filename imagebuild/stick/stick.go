package stick

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/google/renameio/v2"
)

// A File is a file of a volume. Name is a slash-separated path without a leading slash.
type File struct {
	Name string
	Data []byte
}

// Contents is what goes into an image.
type Contents struct {
	BootCode []byte // GRUB's boot.img
	Core     []byte // GRUB's core.img for a PC BIOS
	Boot     []File // the files of SANBOOT
	Config   []byte // appliance.toml
}

// Create writes an image. It appears under path when it is complete and checked.
func Create(path string, c Contents) error {
	bytes, room := bootSize(c.Boot)
	t, size := table(bytes)
	return replace(path, func(f *os.File) error {
		if err := f.Truncate(bootStart + room); err != nil { // go-diskfs wants the whole volume to be there
			return fmt.Errorf("cannot size the image: %w", err)
		}
		disk := file.New(f, false)
		if err := writeVolume(disk, f, span{bootStart, bytes}, room, BootLabel, bootSerial, c.Boot); err != nil {
			return err
		}
		if err := f.Truncate(size); err != nil {
			return fmt.Errorf("cannot size the image: %w", err)
		}
		if err := t.Write(f, size); err != nil {
			return fmt.Errorf("cannot write the partition table: %w", err)
		}
		if err := writeBIOS(f, c.BootCode, c.Core); err != nil {
			return err
		}
		return writeConfig(disk, f, c.Config)
	})
}

// WithConfig writes a copy of the image imagePath to outPath (which may be the same) with a fresh SANSTICK volume that
// holds toml as appliance.toml. toml is not checked: tests bake in broken ones.
func WithConfig(imagePath, outPath string, toml []byte) error {
	return WithFiles(imagePath, outPath, []File{{ConfigFile, toml}})
}

// WithFiles is WithConfig for all files of the SANSTICK volume.
func WithFiles(imagePath, outPath string, files []File) error {
	return replace(outPath, func(f *os.File) error {
		if err := copyImage(f, imagePath); err != nil {
			return err
		}
		disk := file.New(f, false)
		s, err := partition(disk, configPart)
		if err != nil {
			return err
		}
		return writeVolume(disk, f, s, s.size, ConfigLabel, configSerial, files)
	})
}

// Refresh brings the stick image stickPath up to date with a newer build: it becomes a copy of imagePath that
// keeps the size and the SANSTICK volume of the old stick, byte for byte.
func Refresh(imagePath, stickPath string) error {
	old, err := os.Open(stickPath)
	if err != nil {
		return fmt.Errorf("cannot open the stick image: %w", err)
	}
	defer old.Close()
	from, err := partition(file.New(old, true), configPart)
	if err != nil {
		return fmt.Errorf("cannot use stick image %s: %w", stickPath, err)
	}
	fi, err := old.Stat()
	if err != nil {
		return fmt.Errorf("cannot open the stick image: %w", err)
	}
	return replace(stickPath, func(f *os.File) error {
		if err := copyImage(f, imagePath); err != nil {
			return err
		}
		if err := grow(f, fi.Size()); err != nil {
			return err
		}
		to, err := partition(file.New(f, false), configPart)
		if err != nil {
			return err
		}
		if to.size != from.size {
			return fmt.Errorf("cannot keep the configuration volume of %s: it has %d bytes, the new image has room for %d",
				stickPath, from.size, to.size)
		}
		if err := copySparse(f, to.start, old, from.start, from.size); err != nil {
			return err
		}
		return setHiddenSectors(f, to)
	})
}

// replace writes a new file under path by fn. Nothing is left behind when fn fails.
func replace(path string, fn func(*os.File) error) error {
	p, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := fn(p.File); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", path, err), p.Cleanup())
	}
	if err := p.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// FormatConfig makes a SANSTICK volume of ConfigSize bytes with appliance.toml at start in f, which reaches that far.
func FormatConfig(f *os.File, start int64, toml []byte) error {
	return writeVolume(file.New(f, false), f, span{start, ConfigSize}, ConfigSize, ConfigLabel, configSerial, []File{{ConfigFile, toml}})
}

// writeConfig makes the SANSTICK volume anew.
func writeConfig(disk backend.Storage, f *os.File, toml []byte) error {
	s, err := partition(disk, configPart)
	if err != nil {
		return err
	}
	return FormatConfig(f, s.start, toml)
}

// Grow makes the stick image path as large as a stick of size bytes. What the appliance then does with a stick that is
// larger than the image is left to its first start.
func Grow(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot open the stick image: %w", err)
	}
	return errors.Join(grow(f, size), f.Close())
}

func grow(f *os.File, size int64) error {
	fi, err := f.Stat()
	if err == nil && fi.Size() < size {
		err = f.Truncate(size)
	}
	if err != nil {
		return fmt.Errorf("cannot size the stick image: %w", err)
	}
	return nil
}

// writeVolume makes a FAT32 volume with files, whose allocation tables are long enough for room bytes.
func writeVolume(disk backend.Storage, f *os.File, s span, room int64, label string, serial uint32, files []File) error {
	v, err := fat32.Create(disk, room, s.start, sector, label, true)
	if err != nil {
		return fmt.Errorf("cannot format %s: %w", label, err)
	}
	for _, file := range files {
		if err := put(v, file); err != nil {
			return fmt.Errorf("cannot write %s to %s: %w", file.Name, label, err)
		}
	}
	if err := repair(f, s, serial); err != nil {
		return fmt.Errorf("cannot repair %s: %w", label, err)
	}
	return nil
}

// put writes a whole file with one Write: go-diskfs rewrites both tables each time.
func put(v *fat32.FileSystem, f File) error {
	if !fs.ValidPath(f.Name) {
		return fmt.Errorf("%q is not a valid path", f.Name)
	}
	if dir := path.Dir(f.Name); dir != "." {
		if err := v.Mkdir(dir); err != nil {
			return err
		}
	}
	w, err := v.OpenFile(f.Name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if len(f.Data) > 0 {
		if _, err := w.Write(f.Data); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}
