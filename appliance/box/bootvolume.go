package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk"
	"sanstick/appliance/sys"
)

// bootLabel is the FAT label of the partition that GRUB boots from.
const bootLabel = "SANBOOT"

// bootVolume is the stick's partition SANBOOT. It is mounted only while it is
// used. It is an update.Volume.
type bootVolume struct {
	o    *Options
	disk func() string // the kernel's name of the stick
	warn func(msg string, args ...any)

	mu sync.Mutex
}

// Use implements update.Volume. Before it is written to, what a power cut has
// left unfinished on it is put in order.
func (v *bootVolume) Use(ctx context.Context, writable bool, f func(dir string) error) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	part, err := v.find(ctx)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if writable {
		if err := v.repair(ctx, part); err != nil {
			return err
		}
	} else {
		flags |= unix.MS_RDONLY
	}
	dir := v.o.BootDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the boot volume's mount point: %w", err)
	}
	if err := v.o.Mounter.Mount(part.Path, dir, "vfat", flags, stickOptions); err != nil {
		return fmt.Errorf("cannot use the boot volume: %w", err)
	}
	defer func() {
		// Unmounting writes out what is left, and forgets what was read.
		e := v.o.Mounter.Unmount(dir, 0)
		for end := time.Now().Add(busyLimit); errors.Is(e, unix.EBUSY) && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			e = v.o.Mounter.Unmount(dir, 0)
		}
		err = errors.Join(err, e)
	}()
	if writable {
		v.removeFound(dir)
	}
	return f(dir)
}

// Repair puts in order what a power cut has left unfinished, if anything.
func (v *bootVolume) Repair(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	part, err := v.find(ctx)
	if err != nil {
		return err
	}
	return v.repair(ctx, part)
}

// find looks for the partition beside the configuration's.
func (v *bootVolume) find(ctx context.Context) (disk.Partition, error) {
	parts, err := disk.FindLabel(ctx, v.o.SysDir, bootLabel, nil)
	parts = slices.DeleteFunc(parts, func(p disk.Partition) bool { return p.Disk != v.disk() })
	switch {
	case len(parts) == 1:
		return parts[0], nil
	case len(parts) > 1:
		return disk.Partition{}, fmt.Errorf("cannot use the boot volume: %d partitions of the stick are labelled %s", len(parts), bootLabel)
	case err != nil:
		return disk.Partition{}, fmt.Errorf("cannot find the boot volume: %w", err)
	}
	return disk.Partition{}, fmt.Errorf("cannot find the boot volume: the stick has no partition labelled %s", bootLabel)
}

// repair has fsck.fat look at a volume that wasn't unmounted. It isn't mounted.
func (v *bootVolume) repair(ctx context.Context, part disk.Partition) error {
	dirty, err := dirtyFAT(part.Path)
	if err != nil {
		return fmt.Errorf("cannot look at the boot volume: %w", err)
	}
	if !dirty {
		return nil
	}
	v.warn("The boot volume wasn't unmounted; it is checked", "device", part.Path)
	out, err := v.o.Runner.Run(ctx, sys.Command{Name: "fsck.fat", Args: []string{"-a", part.Path}})
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.Code == 1 { // something was mended
		err = nil
	}
	if err != nil {
		return fmt.Errorf("cannot put the boot volume in order: %w", err)
	}
	v.warn("The boot volume is in order", "device", part.Path, "said", string(out.Stdout))
	return nil
}

// dirtyFAT tells whether a FAT32 volume was mounted for writing and not
// unmounted: bit 0 of byte 65 of its first sector.
func dirtyFAT(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(f, sector); err != nil {
		return false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return sector[65]&1 != 0, nil
}

// removeFound removes the files into which fsck.fat puts what belonged to no
// file any more.
func (v *bootVolume) removeFound(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, "[Ff][Ss][Cc][Kk][0-9]*.[Rr][Ee][Cc]")) // the pattern is right
	for _, f := range found {
		if err := os.Remove(f); err != nil {
			v.warn("Cannot remove what was found on the boot volume", "error", err)
		}
	}
}
