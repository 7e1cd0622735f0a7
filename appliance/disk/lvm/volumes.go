package lvm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// TrashTag begins the tag of a volume that may be removed. Nothing else can be
// removed with RemoveTrashed.
const TrashTag = "sanstick.trashed."

// validUUID is what LVM's UUIDs look like.
var validUUID = regexp.MustCompile(`^[a-zA-Z0-9]{6}(-[a-zA-Z0-9]{4}){5}-[a-zA-Z0-9]{6}$`)

// SnapshotThin makes a thin snapshot of a thin volume: a volume of its own that
// shares what it holds with its origin. device-mapper suspends the origin for a
// moment, so the snapshot holds every write that was acknowledged before, and
// none that began after. It is active.
func (c *Client) SnapshotThin(ctx context.Context, group, origin, name string, readOnly bool, tags []string) error {
	if err := firstError(checkNames(group, origin, name), checkTags(tags...)); err != nil {
		return fmt.Errorf("cannot create snapshot: %w", err)
	}
	args := []string{"lvcreate", "--snapshot", "--setactivationskip", "n"}
	if readOnly {
		args = append(args, "--permission", "r")
	}
	args = append(addTags(args, tags), "-n", name, group+"/"+origin)
	if _, err := c.lvm(ctx, args...); err != nil {
		return fmt.Errorf("cannot create snapshot %s/%s of %s: %w", group, name, origin, err)
	}
	return nil
}

// CreateThick makes a volume outside the thin pool with tags from its beginning: of
// kind Raid1 with n copies, of another kind with its data on n disks, or, if kind is
// empty, with one copy. size is in bytes and a multiple of what one extent on each of
// the disks for data has. It comes on disks; on any if there are none. What LVM would
// ask about, which is left in it from volumes before, is for the caller to clear.
func (c *Client) CreateThick(ctx context.Context, group, name string, kind RaidKind, n int, size int64, tags, disks []string) error {
	if err := checkTags(tags...); err != nil {
		return fmt.Errorf("cannot create volume: %w", err)
	}
	how := []string{"--type", "linear"}
	switch {
	case kind != "" && n < 2:
		return fmt.Errorf("cannot create volume %s/%s: %s of %d", group, name, kind, n)
	case kind == Raid1:
		how = []string{"--type", string(kind), "-m", strconv.Itoa(n - 1)}
	case kind == Raid10:
		how = []string{"--type", string(kind), "-i", strconv.Itoa(n), "-m", "1"}
	case kind != "":
		how = []string{"--type", string(kind), "-i", strconv.Itoa(n)}
	}
	how = append(how, "--wipesignatures", "n", "-L", bytesArg(size))
	return c.create(ctx, group, name, disks, addTags(how, tags)...)
}

// RenameVolume gives a volume another name. It may be in use.
func (c *Client) RenameVolume(ctx context.Context, group, old, name string) error {
	if err := checkNames(group, old, name); err != nil {
		return fmt.Errorf("cannot rename volume: %w", err)
	}
	if _, err := c.lvm(ctx, "lvrename", group, old, name); err != nil {
		return fmt.Errorf("cannot rename volume %s/%s to %s: %w", group, old, name, err)
	}
	return nil
}

// ChangeVolumeTags adds and removes tags of a volume in one step: after a power
// cut either all of it has happened or nothing.
func (c *Client) ChangeVolumeTags(ctx context.Context, group, name string, add, remove []string) error {
	if err := firstError(checkNames(group, name), checkTags(add...), checkTags(remove...)); err != nil {
		return fmt.Errorf("cannot tag volume: %w", err)
	}
	args := addTags([]string{"lvchange"}, add)
	for _, t := range remove {
		args = append(args, "--deltag", t)
	}
	if _, err := c.lvm(ctx, append(args, group+"/"+name)...); err != nil {
		return fmt.Errorf("cannot tag volume %s/%s: %w", group, name, err)
	}
	return nil
}

// ActivateVolume makes one volume usable.
func (c *Client) ActivateVolume(ctx context.Context, group, name string) error {
	if err := checkNames(group, name); err != nil {
		return fmt.Errorf("cannot activate volume: %w", err)
	}
	if _, err := c.lvm(ctx, "lvchange", "-ay", group+"/"+name); err != nil {
		return fmt.Errorf("cannot activate volume %s/%s: %w", group, name, err)
	}
	return nil
}

// DeactivateVolume closes one volume. It fails if anyone uses it.
func (c *Client) DeactivateVolume(ctx context.Context, group, name string) error {
	if err := checkNames(group, name); err != nil {
		return fmt.Errorf("cannot deactivate volume: %w", err)
	}
	if _, err := c.lvm(ctx, "lvchange", "-an", group+"/"+name); err != nil {
		return fmt.Errorf("cannot deactivate volume %s/%s: %w", group, name, err)
	}
	return nil
}

// RemoveTrashed removes the one volume of a group that has this UUID and this
// tag, which must begin with TrashTag; LVM itself checks both under its lock.
// Without such a volume nothing happens. One that is in use stays, and is an
// error.
func (c *Client) RemoveTrashed(ctx context.Context, group, uuid, tag string) error {
	if err := firstError(checkNames(group), checkTags(tag)); err != nil {
		return fmt.Errorf("cannot remove volume: %w", err)
	}
	if !strings.HasPrefix(tag, TrashTag) || len(tag) == len(TrashTag) {
		return fmt.Errorf("cannot remove volume: %q doesn't tag what may be removed", tag)
	}
	if !validUUID.MatchString(uuid) {
		return fmt.Errorf("cannot remove volume: %q is no UUID", uuid)
	}
	if _, err := c.lvm(ctx, "lvremove", "--yes", "--select", "lv_uuid="+uuid+" && lv_tags={"+tag+"}", group); err != nil {
		return fmt.Errorf("cannot remove volume %s of %s: %w", uuid, group, err)
	}
	return nil
}

func addTags(args, tags []string) []string {
	for _, t := range tags {
		args = append(args, "--addtag", t)
	}
	return args
}
