package md

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An overlay is a snapshot of a member, by device-mapper: reads go to the member,
// writes to memory. The member itself is never written, whatever happens above.

const overlayPrefix = "sanstick-md-"

// memorySize is how much of writing an overlay takes: superblocks and a bitmap
// are some hundred KiB.
const memorySize = 32 << 20

// overlayName has the array's UUID in it, so that it can be told later what the
// overlay is for.
func overlayName(uuid string, role int) string {
	return overlayPrefix + strings.ReplaceAll(uuid, ":", "") + "-" + strconv.Itoa(role)
}

// overlayUUID is the reverse; empty if it is no overlay.
func overlayUUID(name string) string {
	rest, ok := strings.CutPrefix(name, overlayPrefix)
	if !ok || len(rest) < 34 || rest[32] != '-' {
		return ""
	}
	uuid := rest[:8] + ":" + rest[8:16] + ":" + rest[16:24] + ":" + rest[24:32]
	if CheckUUID(uuid) != nil {
		return ""
	}
	return uuid
}

// overlaysBelow lists the overlays that an array is made of.
func (c *Client) overlaysBelow(name string) []string {
	paths, _ := filepath.Glob(filepath.Join(c.sysfs(), "block", name, "slaves", "*", "dm", "name")) // the pattern is good
	var all []string
	for _, p := range paths {
		if n := attr(filepath.Dir(p), "name"); overlayUUID(n) != "" {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

func (c *Client) addOverlay(ctx context.Context, name, device string) error {
	if !validDevice.MatchString(device) {
		return fmt.Errorf("%q is no device", device)
	}
	size, err := c.sizeOf(device)
	if err != nil {
		return err
	}
	memory := c.Memory
	if memory == nil {
		memory = loopMemory{dir: "/run/sanstick"}
	}
	cow, detach, err := memory.Attach(memorySize)
	if err != nil {
		return fmt.Errorf("cannot make an overlay of %s: %w", device, err)
	}
	// N: not kept for later; 8: of 4 KiB.
	table := fmt.Sprintf("0 %d snapshot %s %s N 8", size/512, device, cow)
	_, err = c.run(ctx, orDefault(c.DMSetup, "/sbin/dmsetup"), "create", name, "--table", table)
	if err = errors.Join(err, detach()); err != nil {
		return fmt.Errorf("cannot make an overlay of %s: %w", device, err)
	}
	return nil
}

func (c *Client) removeOverlay(ctx context.Context, name string) error {
	if _, err := c.run(ctx, orDefault(c.DMSetup, "/sbin/dmsetup"), "remove", name); err != nil {
		return fmt.Errorf("cannot remove overlay: %w", err)
	}
	return nil
}

// sizeOf is a device's size in bytes, by sysfs.
func (c *Client) sizeOf(device string) (int64, error) {
	sectors, err := strconv.ParseInt(attr(filepath.Join(c.sysfs(), "class", "block", filepath.Base(device)), "size"), 10, 64)
	if err != nil || sectors <= 0 {
		return 0, fmt.Errorf("cannot tell the size of %s", device)
	}
	return sectors * 512, nil
}

// loopMemory is the Memory of a machine whose /run is in memory.
type loopMemory struct{ dir string }

func (l loopMemory) Attach(size int64) (string, func() error, error) {
	f, err := os.CreateTemp(l.dir, "overlay-*")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	// The loop device keeps the file, which goes with it.
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(size)); err != nil {
		return "", nil, err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", nil, fmt.Errorf("cannot find a free loop device: %w", err)
	}
	path := "/dev/loop" + strconv.Itoa(n)
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot set up %s: %w", path, err), loop.Close())
	}
	return path, loop.Close, nil
}
