package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A RaidKind is how a volume of several disks keeps its data.
type RaidKind string

// The kinds of LVM that are used.
const (
	Raid1  RaidKind = "raid1"
	Raid10 RaidKind = "raid10"
	Raid5  RaidKind = "raid5"
	Raid6  RaidKind = "raid6"
)

// CreateStriped makes a volume of kind Raid10, Raid5 or Raid6 whose data lies on
// that many disks, besides those for copies or parity. extents must be a multiple
// of that number.
func (c *Client) CreateStriped(ctx context.Context, group, name string, kind RaidKind, data int, extents int64) error {
	if data < 2 || extents%int64(data) != 0 || !slices.Contains([]RaidKind{Raid10, Raid5, Raid6}, kind) {
		return fmt.Errorf("cannot create volume %s/%s: %s of %d extents over %d disks", group, name, kind, extents, data)
	}
	how := []string{"--type", string(kind), "-i", strconv.Itoa(data), "-l", strconv.FormatInt(extents, 10)}
	if kind == Raid10 {
		how = append(how, "-m", "1")
	}
	return c.create(ctx, group, name, how...)
}

// AddDisk makes a blank disk part of a group. It can be done while another one is
// missing. LVM asks before it overwrites anything it knows, and is answered no.
func (c *Client) AddDisk(ctx context.Context, group, disk string) error {
	return c.onDisk(ctx, "add a disk to", []string{"vgextend"}, group, disk)
}

// RestoreDisk takes back a physical volume that is here again after LVM marked it
// as missing. What lies on it may be old; Refresh has it brought up to date.
func (c *Client) RestoreDisk(ctx context.Context, group, disk string) error {
	return c.onDisk(ctx, "take back a disk of", []string{"vgextend", "--restoremissing"}, group, disk)
}

// RemoveDisk takes a disk that nothing lies on out of a group; LVM refuses any
// other.
func (c *Client) RemoveDisk(ctx context.Context, group, disk string) error {
	return c.onDisk(ctx, "remove a disk from", []string{"vgreduce"}, group, disk)
}

func (c *Client) onDisk(ctx context.Context, what string, verb []string, group, disk string) error {
	if err := firstError(checkNames(group), checkPaths(disk)); err != nil {
		return fmt.Errorf("cannot %s volume group: %w", what, err)
	}
	if _, err := c.lvm(ctx, append(verb, group, disk)...); err != nil {
		return fmt.Errorf("cannot %s volume group %s: %w", what, group, err)
	}
	return nil
}

// Refresh has the kernel use an active volume's disks under the names that they
// have now, and legs that had failed brought up to date: only what was written
// since, as far as is known. For a thin pool this goes for what it lies on.
func (c *Client) Refresh(ctx context.Context, group, volume string) error {
	return c.onVolume(ctx, "refresh", group, volume, "lvchange", "--refresh")
}

// RepairRaid puts the legs of an active raid volume that are missing on another
// disk of the group, which is then filled in the background.
func (c *Client) RepairRaid(ctx context.Context, group, volume, disk string) error {
	if err := checkPaths(disk); err != nil {
		return fmt.Errorf("cannot repair volume %s/%s: %w", group, volume, err)
	}
	return c.onVolume(ctx, "repair", group, volume, "lvconvert", "--yes", "--repair", disk)
}

// ReplaceLeg moves the legs of an active raid volume from a disk that is here to
// another one, which is then filled in the background from the other legs.
func (c *Client) ReplaceLeg(ctx context.Context, group, volume, from, to string) error {
	if err := checkPaths(from, to); err != nil {
		return fmt.Errorf("cannot move volume %s/%s: %w", group, volume, err)
	}
	return c.onVolume(ctx, "move", group, volume, "lvconvert", "--yes", "--replace", from, to)
}

// AddCopy gives a raid1 volume one more copy, so that it has that many, on disk.
func (c *Client) AddCopy(ctx context.Context, group, volume string, copies int, disk string) error {
	if err := checkPaths(disk); err != nil || copies < 2 {
		return fmt.Errorf("cannot add a copy of volume %s/%s: %d copies, %w", group, volume, copies, err)
	}
	return c.onVolume(ctx, "add a copy of", group, volume, "lvconvert", "--yes", "-m", strconv.Itoa(copies-1), disk)
}

// ExtendPool makes a thin pool larger by that many extents.
func (c *Client) ExtendPool(ctx context.Context, group, pool string, extents int64) error {
	if extents <= 0 {
		return fmt.Errorf("cannot grow pool %s/%s by %d extents", group, pool, extents)
	}
	return c.onVolume(ctx, "grow", group, pool, "lvextend", "-l", "+"+strconv.FormatInt(extents, 10))
}

// Scrub starts to compare all legs of an active raid volume in the background.
// Nothing is changed; its status counts what differs.
func (c *Client) Scrub(ctx context.Context, group, volume string) error {
	return c.onVolume(ctx, "scrub", group, volume, "lvchange", "--syncaction", "check")
}

// onVolume runs a command about a volume. The last of verb that are paths come
// behind the volume's name.
func (c *Client) onVolume(ctx context.Context, what, group, volume string, verb ...string) error {
	if err := checkNames(group, volume); err != nil {
		return fmt.Errorf("cannot %s volume: %w", what, err)
	}
	args := slices.Clone(verb)
	at := len(args)
	for at > 0 && strings.HasPrefix(args[at-1], "/") && args[at-2] != "--replace" {
		at--
	}
	if _, err := c.lvm(ctx, slices.Insert(args, at, group+"/"+volume)...); err != nil {
		return fmt.Errorf("cannot %s volume %s/%s: %w", what, group, volume, err)
	}
	return nil
}

// DropMissing forgets physical volumes that are missing. LVM refuses if anything
// lies on them.
func (c *Client) DropMissing(ctx context.Context, group string) error {
	if err := checkNames(group); err != nil {
		return fmt.Errorf("cannot forget missing disks: %w", err)
	}
	if _, err := c.lvm(ctx, "vgreduce", "--removemissing", group); err != nil {
		return fmt.Errorf("cannot forget missing disks of volume group %s: %w", group, err)
	}
	return nil
}

// CutMissing forgets physical volumes that are missing although legs of mirrors
// lie on them: these legs give errors from then on, until RepairRaid. Without
// --mirrorsonly this command would remove every volume that is partial, a thin
// pool on half a mirror with all that is in it among them.
func (c *Client) CutMissing(ctx context.Context, group string) error {
	if err := checkNames(group); err != nil {
		return fmt.Errorf("cannot go on without missing disks: %w", err)
	}
	if _, err := c.lvm(ctx, "vgreduce", "--removemissing", "--force", "--mirrorsonly", group); err != nil {
		return fmt.Errorf("cannot go on without missing disks of volume group %s: %w", group, err)
	}
	return nil
}

// checkHarmless refuses command lines that are known to lose data, whoever made
// them.
func checkHarmless(args []string) error {
	has := func(opts ...string) bool {
		return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(opts, a) })
	}
	switch {
	case len(args) == 0:
		return errors.New("no command")
	case has("-ff", "-fy", "-yf"):
		return errors.New("force twice")
	case has("-f", "--force") && !(args[0] == "vgreduce" && has("--removemissing") && has("--mirrorsonly")):
		return errors.New("force, and not for mirrors only")
	case args[0] == "lvremove" && !has("--select", "-S"):
		return errors.New("removal without a condition")
	case slices.Contains([]string{"vgremove", "pvremove", "lvreduce", "lvresize", "vgcfgrestore", "pvcreate"}, args[0]):
		return errors.New(args[0] + " is never used")
	}
	return nil
}
