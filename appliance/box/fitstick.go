package box

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sanstick/appliance/bootdisk"
	"sanstick/appliance/disk"
	"sanstick/appliance/image/gpt"
	"sanstick/appliance/sys"
)

// fitStick brings the layout of the stick in line with its size, before anything on it is mounted. What can't be done is
// only logged: the box works without.
func fitStick(o *Options, part disk.Partition) {
	if part.Disk == part.Name {
		return // no partitions at all
	}
	r, err := fitDisk(filepath.Join(filepath.Dir(part.Path), part.Disk))
	for _, said := range r.Said {
		o.Log.Info("Stick", "done", said)
	}
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		o.Log.Info("The stick is write-protected; its partitions stay as they are")
	case err != nil:
		o.Log.Warn("Cannot fit the partitions to the stick", "error", err)
	}
}

// fitDisk is bootdisk.Fit for a disk of this machine.
func fitDisk(path string) (r bootdisk.Result, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return r, fmt.Errorf("cannot write to the stick: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return r, fmt.Errorf("cannot measure the stick: %w", err)
	}
	return bootdisk.Fit(sizedFile{f, size}, func(p gpt.Partition) error {
		return sys.ResizePartition(f, p.Number, p.Start, p.Size)
	})
}

// sizedFile is an open disk as a gpt.Disk.
type sizedFile struct {
	*os.File
	size int64
}

// Size implements gpt.Disk.
func (f sizedFile) Size() int64 { return f.size }
