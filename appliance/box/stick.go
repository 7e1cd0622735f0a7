package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
// in which the box writes to it, so that a power cut finds it clean. It may be
// pulled out while the box runs, and come back, or another one in its place.
//
// A system from a CD to which no such partition is attached has a stick in
// memory instead: what is written to it lasts only by the copies on the disks.
type stick struct {
	memory  bool // the directory is a plain one of the root file system
	mounter sys.Mounter
	sysfs   string
	dir     string
	writes  atomic.Int64 // since the start
	device  atomic.Pointer[stickDevice]

	keepers []keeper // whose files each stick must have; set before it is used

	mu     sync.Mutex // held while the stick is writable
	part   disk.Partition
	seq    string           // tells one device from another that has the same name later
	finder disk.LabelFinder // guarded by mu
	late   error            // why the stick lacks something of the keepers; guarded by mu
	again  time.Time        // when that is tried again; guarded by mu
}

// stickDevice is the disk that the stick was last seen as: its kernel name, and its
// diskSeq.
type stickDevice struct{ name, seq string }

// A keeper has a file on the stick that another stick needs as well, at once: a book.
type keeper interface {
	remounted()   // a stick was mounted
	behind() bool // it may lack something
	inLine() bool // it lacks nothing, as it turned out
	put() error   // gives it, while it is writable, what it lacks
}

// keeperPeriod is how often a keeper's file is tried to be written again.
const keeperPeriod = 30 * time.Second

// busyLimit is how long the stick may be busy after it was written to. A program
// that is being started has the daemon's open files for a moment.
const busyLimit = 5 * time.Second

// errGone says that the stick was pulled out.
var errGone = errors.New("the stick isn't here: plug it in, or another one with a partition labelled " + stickLabel)

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
	s := &stick{mounter: o.Mounter, sysfs: o.SysDir, dir: o.StickDir}
	s.is(part)
	s.finder.Open = o.OpenDisk
	if is, err := s.mounted(o.ProcDir); err != nil || is {
		return s, err
	}
	fitStick(o, part)
	if err := os.MkdirAll(o.StickDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the stick's mount point: %w", err)
	}
	if err := s.mount(unix.MS_RDONLY); err != nil {
		return nil, fmt.Errorf("cannot use the stick: %w", err)
	}
	return s, nil
}

// mounted tells whether the stick is mounted already. What else is mounted in its
// place is taken away: it is of a stick that was pulled out while no daemon ran.
func (s *stick) mounted(procDir string) (bool, error) {
	mounts, err := sys.Mounts(procDir)
	if err != nil {
		return false, fmt.Errorf("cannot tell whether the stick is mounted: %w", err)
	}
	dir := filepath.Join(s.sysfs, "block", s.part.Disk)
	if s.part.Name != s.part.Disk {
		dir = filepath.Join(dir, s.part.Name)
	}
	number, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return false, fmt.Errorf("cannot tell whether the stick is mounted: %w", err)
	}
	for _, m := range slices.Backward(mounts) { // the last one is what is seen
		if m.Target != s.dir {
			continue
		}
		if m.Device == strings.TrimSpace(string(number)) {
			return true, nil
		}
		if err := s.mounter.Unmount(s.dir, unix.MNT_DETACH); err != nil {
			return false, fmt.Errorf("cannot take away the stick that was here before: %w", err)
		}
	}
	return false, nil
}

// memoryStick makes a stick in memory, or finds that of the daemon that ran
// before.
func memoryStick(o *Options) (*stick, error) {
	if err := os.MkdirAll(o.StickDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make a directory for the configuration: %w", err)
	}
	return &stick{memory: true, dir: o.StickDir}, nil
}

func (s *stick) mount(flags uintptr) error {
	if s.memory {
		return nil
	}
	return s.mounter.Mount(s.part.Path, s.dir, "vfat", flags|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, stickOptions)
}

// diskSeq is the number that the kernel gives to each disk that comes, and to no
// other; empty if it doesn't tell, or the disk is gone.
func diskSeq(sysfs, name string) string {
	b, err := os.ReadFile(filepath.Join(sysfs, "block", name, "diskseq"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// check tells whether the stick is here. If it was pulled out and has come back,
// or another one has, that is mounted.
func (s *stick) check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.ensure(ctx)
	if err == nil && !time.Now().Before(s.again) {
		s.catchUp()
	}
	return err
}

// catchUp gives the stick what keepers know and it lacks. It must hold mu.
func (s *stick) catchUp() {
	behind := slices.DeleteFunc(slices.Clone(s.keepers), func(k keeper) bool { return !k.behind() || k.inLine() })
	if s.late = nil; len(behind) == 0 {
		return
	}
	if s.late = s.writable(func() error { return nil }); s.late != nil {
		s.again = time.Now().Add(keeperPeriod)
	}
}

// lacks tells why the stick lacks something that it should have, as far as is known.
func (s *stick) lacks() error {
	if !s.mu.TryLock() {
		return nil // it is being written
	}
	defer s.mu.Unlock()
	return s.late
}

// ensure is check for who holds mu.
func (s *stick) ensure(ctx context.Context) error {
	if s.seq == "" || diskSeq(s.sysfs, s.part.Disk) == s.seq {
		return nil
	}
	s.finder.Sysfs, s.finder.Label = s.sysfs, stickLabel
	parts, err := s.finder.Find(ctx)
	if len(parts) > 1 { // nobody knows which
		return fmt.Errorf("%d partitions are labelled %s: leave one stick in: %w", len(parts), stickLabel, errGone)
	}
	if len(parts) == 0 {
		return errGone
	}
	if err != nil {
		return err
	}
	// What is mounted is of a device that is gone: nothing can be written to it.
	if err := s.mounter.Unmount(s.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	s.is(parts[0])
	if err := s.mount(unix.MS_RDONLY); err != nil {
		s.seq = "gone" // so that it is tried again
		return fmt.Errorf("cannot use the stick: %w", err)
	}
	for _, k := range s.keepers {
		k.remounted()
	}
	s.again = time.Time{}
	return nil
}

// is notes which partition the stick is. It must hold mu, once others know s.
func (s *stick) is(part disk.Partition) {
	s.part, s.seq = part, diskSeq(s.sysfs, part.Disk)
	s.device.Store(&stickDevice{part.Disk, s.seq})
}

// disks are the kernel names of the disks that are the stick: one, or none while it is
// out, when another disk may get its name. It waits for nobody.
func (s *stick) disks() []string {
	d := s.device.Load()
	if d == nil || diskSeq(s.sysfs, d.name) != d.seq {
		return nil
	}
	return []string{d.name}
}

// disk is the kernel's name of the stick.
func (s *stick) disk() string { return s.partition().Disk }

// partition is where the stick is, or was.
func (s *stick) partition() disk.Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.part
}

// write runs f while the stick is writable. What the stick lacks of the keepers'
// comes first: it must not get a configuration without it.
func (s *stick) write(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ensure(context.Background()); err != nil {
		return err
	}
	return s.writable(f)
}

// writable is write for who holds mu, with a stick that is here.
func (s *stick) writable(f func() error) (err error) {
	if err := s.mount(unix.MS_REMOUNT); err != nil {
		return fmt.Errorf("cannot make the stick writable: %w", err)
	}
	s.writes.Add(1)
	defer func() {
		// Going back to read-only writes out what is left.
		e := s.mount(unix.MS_REMOUNT | unix.MS_RDONLY)
		for end := time.Now().Add(busyLimit); errors.Is(e, unix.EBUSY) && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			e = s.mount(unix.MS_REMOUNT | unix.MS_RDONLY)
		}
		if e != nil && err == nil {
			err = fmt.Errorf("cannot make the stick read-only again: %w", e)
		}
	}()
	for _, k := range s.keepers {
		if k.behind() {
			if err := k.put(); err != nil {
				return err
			}
		}
	}
	s.late, s.again = nil, time.Time{}
	return f()
}
