package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk"
	"sanstick/appliance/sys"
)

const (
	// stickLabel is the FAT label of the partition with the configuration.
	stickLabel = "SANSTICK"
	// stickWait is how long a slow USB stick may take to appear before the box
	// goes on without a configuration.
	stickWait = 30 * time.Second
	// vfat's own permissions: secrets lie there, so only root reads them.
	stickOptions = "utf8,fmask=0177,dmask=0077,errors=remount-ro"
)

// stick is the mounted SANSTICK partition. It is read-only but for the moments
// in which the box writes to it, so that a power cut finds it clean.
type stick struct {
	mounter sys.Mounter
	part    disk.Partition
	dir     string
	writing sync.Mutex
}

// busyLimit is how long the stick may be busy after it was written to. A program
// that is being started has the daemon's open files for a moment.
const busyLimit = 5 * time.Second

// errNoStick says that no SANSTICK partition appeared in time.
var errNoStick = errors.New("no partition labelled " + stickLabel + " was found")

// mountStick waits for the SANSTICK partition and mounts it on dir. An already
// mounted one (the daemon was restarted) is used as it is.
func mountStick(ctx context.Context, o *Options) (*stick, error) {
	wait, cancel := context.WithTimeout(ctx, stickWait)
	defer cancel()
	part, err := awaitStick(wait, o)
	if err != nil {
		return nil, err
	}
	s := &stick{mounter: o.Mounter, part: part, dir: o.StickDir}
	mounts, err := sys.Mounts(o.ProcDir)
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether the stick is mounted: %w", err)
	}
	for _, m := range mounts {
		if m.Target == o.StickDir {
			return s, nil
		}
	}
	if err := os.MkdirAll(o.StickDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the stick's mount point: %w", err)
	}
	if err := o.Mounter.Mount(part.Path, o.StickDir, "vfat", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, stickOptions); err != nil {
		return nil, fmt.Errorf("cannot use the stick: %w", err)
	}
	return s, nil
}

// awaitStick waits for the partition itself. Two of them are refused: which
// one the machine was started from can't be told.
func awaitStick(ctx context.Context, o *Options) (disk.Partition, error) {
	src, err := o.ListenUevents()
	if err != nil {
		return disk.Partition{}, fmt.Errorf("cannot wait for the stick: %w", err)
	}
	defer src.Close()
	var parts []disk.Partition
	err = sys.Await(ctx, src, isBlock, func() (bool, error) {
		parts, err = disk.FindLabel(ctx, o.SysDir, stickLabel, nil)
		return len(parts) > 0, nil // a disk that can't be read doesn't end the wait
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return disk.Partition{}, errNoStick
	case err != nil:
		return disk.Partition{}, fmt.Errorf("cannot wait for the stick: %w", err)
	case len(parts) > 1:
		return disk.Partition{}, fmt.Errorf("%d partitions are labelled %s (%s, %s): leave one stick in and start again",
			len(parts), stickLabel, parts[0].Path, parts[1].Path)
	}
	return parts[0], nil
}

// isBlock accepts what a new disk or partition causes.
func isBlock(e sys.Uevent) bool { return e.Subsystem == "block" }

// write runs f while the stick is writable.
func (s *stick) write(f func() error) (err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	const flags = unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	if err := s.mounter.Mount(s.part.Path, s.dir, "vfat", flags, stickOptions); err != nil {
		return fmt.Errorf("cannot make the stick writable: %w", err)
	}
	defer func() {
		// Going back to read-only writes out what is left.
		e := s.mounter.Mount(s.part.Path, s.dir, "vfat", flags|unix.MS_RDONLY, stickOptions)
		for end := time.Now().Add(busyLimit); errors.Is(e, unix.EBUSY) && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			e = s.mounter.Mount(s.part.Path, s.dir, "vfat", flags|unix.MS_RDONLY, stickOptions)
		}
		if e != nil && err == nil {
			err = fmt.Errorf("cannot make the stick read-only again: %w", e)
		}
	}()
	return f()
}
