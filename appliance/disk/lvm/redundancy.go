package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	return c.create(ctx, group, name, nil, how...)
}

// AddDisk makes a blank disk part of a group. It can be done while another one is
// missing. LVM asks before it overwrites anything it knows, and is answered no.
func (c *Client) AddDisk(ctx context.Context, group, disk string) error {
	if err := firstError(checkNames(group), checkPaths(disk)); err != nil {
		return fmt.Errorf("cannot add a disk to volume group: %w", err)
	}
	if err := c.pvcreate(ctx, disk); err != nil {
		return fmt.Errorf("cannot add a disk to volume group %s: %w", group, err)
	}
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
	return c.onVolume(ctx, "refresh", group, volume, nil, "lvchange", "--refresh")
}

// RepairRaid puts the legs of an active raid volume that are missing on other
// disks of the group, which are then filled in the background.
func (c *Client) RepairRaid(ctx context.Context, group, volume string, disks ...string) error {
	return c.onVolume(ctx, "repair", group, volume, disks, "lvconvert", "--yes", "--repair")
}

// ReplaceLeg moves the legs of an active raid volume from a disk that is here to
// others, which are then filled in the background from the other legs.
func (c *Client) ReplaceLeg(ctx context.Context, group, volume, from string, to ...string) error {
	if err := checkPaths(from); err != nil {
		return fmt.Errorf("cannot move volume %s/%s: %w", group, volume, err)
	}
	return c.onVolume(ctx, "move", group, volume, to, "lvconvert", "--yes", "--replace", from)
}

// AddCopy gives a raid1 volume one more copy, so that it has that many, on disks.
func (c *Client) AddCopy(ctx context.Context, group, volume string, copies int, disks ...string) error {
	if copies < 2 {
		return fmt.Errorf("cannot add a copy of volume %s/%s: %d copies", group, volume, copies)
	}
	return c.onVolume(ctx, "add a copy of", group, volume, disks, "lvconvert", "--yes", "-m", strconv.Itoa(copies-1))
}

// Scrub starts to compare all legs of an active raid volume in the background.
// Nothing is changed; its status counts what differs.
func (c *Client) Scrub(ctx context.Context, group, volume string) error {
	return c.onVolume(ctx, "scrub", group, volume, nil, "lvchange", "--syncaction", "check")
}

// onVolume runs a command about a volume. New parts of it come on disks.
func (c *Client) onVolume(ctx context.Context, what, group, volume string, disks []string, verb ...string) error {
	if err := firstError(checkNames(group, volume), checkPaths(disks...)); err != nil {
		return fmt.Errorf("cannot %s volume: %w", what, err)
	}
	if _, err := c.lvm(ctx, slices.Concat(verb, []string{group + "/" + volume}, disks)...); err != nil {
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
	case args[0] == "pvcreate" && has("-y", "--yes", "-u", "--uuid", "--restorefile"):
		return errors.New("pvcreate that doesn't ask")
	case slices.Contains([]string{"vgremove", "pvremove", "lvreduce", "lvresize", "vgcfgrestore"}, args[0]):
		return errors.New(args[0] + " is never used")
	}
	return nil
}
