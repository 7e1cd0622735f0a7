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
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
)

// awaitStick waits for the partition itself. Two of them are refused: which
// one the machine was started from can't be told.
func awaitStick(ctx context.Context, o *Options) (disk.Partition, error) {
	src, err := o.ListenUevents()
	if err != nil {
		return disk.Partition{}, fmt.Errorf("cannot wait for the stick: %w", err)
	}
	defer src.Close()
	var parts []disk.Partition
	finder := disk.LabelFinder{Sysfs: o.SysDir, Label: stickLabel, Open: o.OpenDisk}
	err = sys.Await(ctx, src, isBlock, func() (bool, error) {
		for {
			parts, err = finder.Find(ctx)
			if len(parts) > 0 && awaitUSB(ctx, o.SysDir) {
				parts, err = finder.Find(ctx)
			}
			if len(parts) > 0 || !finder.Waiting() || ctx.Err() != nil {
				return len(parts) > 0, nil // a disk that can't be read doesn't end the wait
			}
		}
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

// How long another stick is waited for that has been plugged, but isn't a disk yet, and
// how long its partitions take then.
const (
	usbWait   = time.Second
	usbSettle = 200 * time.Millisecond
)

// awaitUSB waits until all disks on USB are there that are on their way. It tells
// whether there were any.
func awaitUSB(ctx context.Context, sysfs string) bool {
	if !usbPending(sysfs) {
		return false
	}
	end := time.Now().Add(usbWait)
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	for usbPending(sysfs) && time.Now().Before(end) && ctx.Err() == nil {
		pause(20 * time.Millisecond)
	}
	pause(usbSettle)
	return true
}

// massStorage is the class of USB interfaces with disks.
const massStorage = "08"

// usbPending tells whether a USB device has disks that the kernel hasn't found yet.
func usbPending(sysfs string) bool {
	interfaces, _ := filepath.Glob(filepath.Join(sysfs, "bus/usb/devices/*:*")) // the pattern is right
	return slices.ContainsFunc(interfaces, func(dir string) bool {
		class, err := os.ReadFile(filepath.Join(dir, "bInterfaceClass"))
		disks, _ := filepath.Glob(filepath.Join(dir, "host*/target*/*/block/*"))
		return err == nil && strings.TrimSpace(string(class)) == massStorage && len(disks) == 0
	})
}

// stickWatch looks for a second stick while the appliance runs. look is for one
// goroutine.
type stickWatch struct {
	finder disk.LabelFinder
	seen   string // the disks and partitions that were looked at

	mu     sync.Mutex
	used   string   // the partition in use
	others []string // those beside it
}

func newStickWatch(o *Options) *stickWatch {
	return &stickWatch{finder: disk.LabelFinder{Sysfs: o.SysDir, Label: stickLabel, Open: o.OpenDisk, Limit: stickPeriod}}
}

// look looks at the disks, if there are others than before.
func (w *stickWatch) look(ctx context.Context, s *stick) {
	part := s.partition()
	list, err := disk.Partitions(w.finder.Sysfs)
	if err != nil {
		return // it looks again
	}
	var now strings.Builder
	fmt.Fprintln(&now, part.Path)
	for _, p := range list {
		fmt.Fprintln(&now, p, diskSeq(w.finder.Sysfs, p.Disk))
	}
	if now.String() == w.seen && !w.finder.Waiting() {
		return
	}
	found, err := w.finder.Find(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	w.seen = now.String()
	var others []string
	for _, p := range found {
		if p.Path != part.Path {
			others = append(others, p.Path)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used, w.others = part.Path, others
}

// problems says which other sticks are here beside that in use.
func (w *stickWatch) problems() []status.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.others) == 0 {
		return nil
	}
	return []status.Problem{{
		Health: status.Degraded,
		What: fmt.Sprintf("more than one partition is labelled %s: %s is used, and there is %s; a start with both serves nothing",
			stickLabel, w.used, strings.Join(w.others, ", ")),
		Do: "pull out the stick that isn't meant",
	}}
}
