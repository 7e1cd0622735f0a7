// Package md opens arrays of Linux software RAID that other machines made, for
// reading. It drives mdadm, and can't express a command that writes to a member:
// arrays are assembled read-only, and of overlays that keep in memory whatever
// the kernel may want to write (it brings the state of a write-intent bitmap up
// to date even then).
//
// Choosing the members is pure (Choose); what is open is read from sysfs
// (Open.Arrays), so it is known after a restart of the daemon, too.
package md

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/sys"
)

// A Client assembles and stops arrays. One goroutine may use it at a time.
type Client struct {
	Runner  sys.Runner
	Log     *slog.Logger // nil discards
	MDADM   string       // the program; empty: /sbin/mdadm
	DMSetup string       // the program; empty: /sbin/dmsetup
	Sysfs   string       // empty: /sys
	Memory  Memory       // nil: loop devices on files in /run
}

// Memory makes block devices that keep what is written to them in memory.
type Memory interface {
	// Attach makes one of size bytes and returns its path. It goes when nobody
	// has it open any more; close lets go of it. What isn't written takes nothing.
	Attach(size int64) (path string, close func() error, err error)
}

// How long mdadm may take. It reads a little of each disk.
const limit = 2 * time.Minute

var (
	validUUID   = regexp.MustCompile(`^[0-9a-f]{8}(:[0-9a-f]{8}){3}$`)
	validDevice = regexp.MustCompile(`^/dev/[a-zA-Z0-9/_.-]+$`)
)

// CheckUUID tells whether a text is an array's UUID, as mdadm writes it.
func CheckUUID(uuid string) error {
	if !validUUID.MatchString(uuid) {
		return fmt.Errorf("%q is no array's UUID; it looks like 7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b, and sanctl disks shows those that are here", uuid)
	}
	return nil
}

// Examine reads a member's superblock.
func (c *Client) Examine(ctx context.Context, device string) (Member, error) {
	if !validDevice.MatchString(device) {
		return Member{}, fmt.Errorf("cannot examine %q: it is no device", device)
	}
	out, err := c.run(ctx, orDefault(c.MDADM, "/sbin/mdadm"), "--examine", device)
	if err != nil {
		return Member{}, fmt.Errorf("cannot examine %s: %w", device, err)
	}
	m, err := ParseExamine(string(out.Stdout))
	if err != nil {
		return Member{}, fmt.Errorf("cannot examine %s: %w", device, err)
	}
	m.Device = device
	return m, nil
}

// An Array is one that is open.
type Array struct {
	UUID     string
	Path     string // "/dev/md127"
	Level    string
	Size     int64 // bytes
	Devices  int   // members that it should have
	Degraded int   // members that it lacks
}

// Open assembles an array of members that Choose has chosen, read-only. degraded
// says that it lacks members. On an error nothing is left open.
func (c *Client) Open(ctx context.Context, uuid string, members []Member, degraded bool) (a Array, err error) {
	if err := CheckUUID(uuid); err != nil {
		return a, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot open array %s: %w", uuid, err)
		}
	}()
	path, err := c.freePath()
	if err != nil {
		return a, err
	}
	var overlays []string
	undo := func() {
		for _, o := range overlays {
			if err := c.removeOverlay(context.WithoutCancel(ctx), o); err != nil && c.Log != nil {
				c.Log.Error("cannot remove overlay", "name", o, "error", err)
			}
		}
	}
	args := []string{"--assemble", "--readonly", "--config=none", "--uuid=" + uuid}
	if degraded {
		args = append(args, "--run")
	}
	args = append(args, path)
	for _, m := range members {
		name := overlayName(uuid, m.Role)
		if err := c.addOverlay(ctx, name, m.Device); err != nil {
			undo()
			return a, err
		}
		overlays = append(overlays, name)
		args = append(args, "/dev/mapper/"+name)
	}
	_, err = c.run(ctx, orDefault(c.MDADM, "/sbin/mdadm"), args...)
	if err == nil {
		a, err = c.array(filepath.Base(path))
	}
	if err == nil {
		err = c.checkQuiet(filepath.Base(path))
	}
	if err != nil {
		_, stopErr := c.run(context.WithoutCancel(ctx), orDefault(c.MDADM, "/sbin/mdadm"), "--stop", path)
		if _, here := os.Stat(filepath.Join(c.sysfs(), "block", filepath.Base(path))); here == nil && stopErr != nil {
			return Array{}, errors.Join(err, stopErr)
		}
		undo()
		return Array{}, err
	}
	return a, nil
}

// checkQuiet makes sure that an array is read-only and does nothing by itself.
func (c *Client) checkQuiet(name string) error {
	dir := filepath.Join(c.sysfs(), "block", name)
	state, action, ro := attr(dir, "md/array_state"), attr(dir, "md/sync_action"), attr(dir, "ro")
	if ro != "1" || state != "readonly" {
		return fmt.Errorf("it isn't read-only (state %q), so it was closed again", state)
	}
	if action != "" && action != "idle" && action != "frozen" {
		return fmt.Errorf("the kernel began a %s, so it was closed again", action)
	}
	return nil
}

// Close stops an array that Open opened. It fails if anybody uses it.
func (c *Client) Close(ctx context.Context, uuid string) error {
	if err := CheckUUID(uuid); err != nil {
		return err
	}
	all, err := c.Arrays()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(a Array) bool { return a.UUID == uuid })
	if i < 0 {
		return fmt.Errorf("array %s isn't open", uuid)
	}
	overlays := c.overlaysBelow(filepath.Base(all[i].Path))
	ctx = context.WithoutCancel(ctx)
	if _, err := c.run(ctx, orDefault(c.MDADM, "/sbin/mdadm"), "--stop", all[i].Path); err != nil {
		return fmt.Errorf("cannot close array %s, which somebody uses, maybe: %w", uuid, err)
	}
	var errs []error
	for _, o := range overlays {
		errs = append(errs, c.removeOverlay(ctx, o))
	}
	return errors.Join(errs...)
}

// Arrays lists the arrays that are open. It reads sysfs only.
func (c *Client) Arrays() ([]Array, error) {
	entries, err := os.ReadDir(filepath.Join(c.sysfs(), "block"))
	if err != nil {
		return nil, fmt.Errorf("cannot list arrays: %w", err)
	}
	var all []Array
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "md") || len(c.overlaysBelow(e.Name())) == 0 {
			continue
		}
		a, err := c.array(e.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// array reads what sysfs tells of an array that is made of overlays.
func (c *Client) array(name string) (Array, error) {
	dir := filepath.Join(c.sysfs(), "block", name)
	overlays := c.overlaysBelow(name)
	if len(overlays) == 0 {
		return Array{}, fmt.Errorf("%s has no members", name)
	}
	a := Array{UUID: overlayUUID(overlays[0]), Path: "/dev/" + name, Level: attr(dir, "md/level")}
	sectors, err := strconv.ParseInt(attr(dir, "size"), 10, 64)
	if err != nil || sectors <= 0 {
		return Array{}, fmt.Errorf("array %s has no size", a.UUID)
	}
	a.Size = sectors * 512
	a.Devices, _ = strconv.Atoi(attr(dir, "md/raid_disks"))
	a.Degraded, _ = strconv.Atoi(attr(dir, "md/degraded")) // levels without redundancy have none
	return a, nil
}

// freePath is a name for one more array.
func (c *Client) freePath() (string, error) {
	for n := 127; n >= 100; n-- {
		name := "md" + strconv.Itoa(n)
		if _, err := os.Stat(filepath.Join(c.sysfs(), "block", name)); errors.Is(err, os.ErrNotExist) {
			return "/dev/" + name, nil
		}
	}
	return "", errors.New("too many arrays are open; close one")
}

func (c *Client) run(ctx context.Context, name string, args ...string) (sys.Output, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it didn't end within %v", limit))
	defer cancel()
	cmd := sys.Command{Name: name, Args: args, Env: []string{"MDADM_NO_UDEV=1", "DM_DISABLE_UDEV=1", "LC_ALL=C"}, Stdin: strings.NewReader("")}
	start := time.Now()
	out, err := c.Runner.Run(ctx, cmd)
	if c.Log != nil {
		c.Log.Debug("ran", "command", cmd.String(), "took", time.Since(start).Round(time.Millisecond), "stderr", strings.TrimSpace(string(out.Stderr)), "error", err)
	}
	return out, err
}

func (c *Client) sysfs() string { return orDefault(c.Sysfs, "/sys") }

func attr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
