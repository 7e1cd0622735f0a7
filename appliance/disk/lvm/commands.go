package lvm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// pvcreate makes whole, blank disks physical volumes with a bootloader area of
// 2 MiB, which LVM doesn't use itself; no other command can. LVM refuses disks of
// a group, and asks before it overwrites anything that it knows, which is answered
// no.
func (c *Client) pvcreate(ctx context.Context, disks ...string) error {
	_, err := c.lvm(ctx, append([]string{"pvcreate", "--bootloaderareasize", "2m"}, disks...)...)
	return err
}

// CreateGroup makes a volume group of whole, blank disks, which become
// physical volumes with a bootloader area. LVM asks before it overwrites anything
// it knows, and is answered no.
func (c *Client) CreateGroup(ctx context.Context, group string, disks, tags []string) error {
	if err := firstError(checkNames(group), checkTags(tags...), checkPaths(disks...)); err != nil {
		return fmt.Errorf("cannot create volume group: %w", err)
	}
	if err := c.pvcreate(ctx, disks...); err != nil {
		return fmt.Errorf("cannot create volume group %s: %w", group, err)
	}
	args := []string{"vgcreate"}
	for _, t := range tags {
		args = append(args, "--addtag", t)
	}
	args = append(append(args, group), disks...)
	if _, err := c.lvm(ctx, args...); err != nil {
		return fmt.Errorf("cannot create volume group %s: %w", group, err)
	}
	return nil
}

// ChangeTags adds and removes tags of a group in one step: after a power cut
// either all of it has happened or nothing.
func (c *Client) ChangeTags(ctx context.Context, group string, add, remove []string) error {
	if err := firstError(checkNames(group), checkTags(add...), checkTags(remove...)); err != nil {
		return fmt.Errorf("cannot tag volume group: %w", err)
	}
	args := []string{"vgchange"}
	for _, t := range add {
		args = append(args, "--addtag", t)
	}
	for _, t := range remove {
		args = append(args, "--deltag", t)
	}
	if _, err := c.lvm(ctx, append(args, group)...); err != nil {
		return fmt.Errorf("cannot tag volume group %s: %w", group, err)
	}
	return nil
}

// CreateLinear makes a volume with one copy, over as many disks as it takes.
// size is in extents.
func (c *Client) CreateLinear(ctx context.Context, group, name string, extents int64) error {
	return c.create(ctx, group, name, nil, "--type", "linear", "-l", strconv.FormatInt(extents, 10))
}

// CreateMirror makes a raid1 volume with copies on that many of some disks; of all
// of the group's if none is named. The initial synchronisation goes on in the
// background.
func (c *Client) CreateMirror(ctx context.Context, group, name string, copies int, extents int64, disks ...string) error {
	if copies < 2 {
		return fmt.Errorf("cannot create volume %s/%s: a mirror of %d", group, name, copies)
	}
	return c.create(ctx, group, name, disks, "--type", "raid1", "-m", strconv.Itoa(copies-1), "-l", strconv.FormatInt(extents, 10))
}

// create leaves out --yes: should there be a signature of something, LVM asks
// whether to wipe it, and is answered no. The volume comes on disks; on any if there
// are none.
func (c *Client) create(ctx context.Context, group, name string, disks []string, how ...string) error {
	if err := firstError(checkNames(group, name), checkPaths(disks...)); err != nil {
		return fmt.Errorf("cannot create volume: %w", err)
	}
	args := append([]string{"lvcreate"}, how...)
	if _, err := c.lvm(ctx, slices.Concat(args, []string{"-n", name, group}, disks)...); err != nil {
		return fmt.Errorf("cannot create volume %s/%s: %w", group, name, err)
	}
	return nil
}

// ConvertToThinPool makes a thin pool of two volumes that hold nothing yet.
// Chunks are zeroed before their first use, so that nobody reads what was
// there before; a full pool makes writers wait. There is no spare metadata
// volume: it would lie on one disk and be in the way when that one dies.
func (c *Client) ConvertToThinPool(ctx context.Context, group, data, metadata string, chunk int64) error {
	if err := checkNames(group, data, metadata); err != nil {
		return fmt.Errorf("cannot create thin pool: %w", err)
	}
	_, err := c.lvm(ctx, "lvconvert", "--yes", "--type", "thin-pool", "--poolmetadata", metadata,
		"--chunksize", bytesArg(chunk), "--poolmetadataspare", "n", "--zero", "y", "--errorwhenfull", "n",
		group+"/"+data)
	if err != nil {
		return fmt.Errorf("cannot create thin pool %s/%s: %w", group, data, err)
	}
	return nil
}

// CreateThin makes a thin volume that has the tags from its beginning. size is
// in bytes and rounded up to whole extents.
func (c *Client) CreateThin(ctx context.Context, group, pool, name string, size int64, tags ...string) error {
	if err := firstError(checkNames(pool), checkTags(tags...)); err != nil {
		return fmt.Errorf("cannot create volume: %w", err)
	}
	return c.create(ctx, group, name, nil, addTags([]string{"--type", "thin", "-V", bytesArg(size), "--thinpool", pool}, tags)...)
}

// ExtendVolume grows a volume to size bytes, rounded up to whole extents, on these
// disks; on any if there are none, or if it is thin. It can't shrink one.
func (c *Client) ExtendVolume(ctx context.Context, group, name string, size int64, disks ...string) error {
	return c.onVolume(ctx, "grow", group, name, disks, "lvextend", "-L", bytesArg(size))
}

// An ActivationMode says what to do about volumes whose disks are missing.
type ActivationMode string

const (
	// Degraded activates mirrors that lack a copy. LVM 2.03.16 doesn't count
	// a thin pool on a mirror among them.
	Degraded ActivationMode = "degraded"
	// Partial activates everything, with holes that give I/O errors where
	// disks are missing. Only for groups in which a mirror covers every hole.
	Partial ActivationMode = "partial"
)

// Activate makes a group's volumes usable. With a *PartialError some of them
// may be.
func (c *Client) Activate(ctx context.Context, group string, mode ActivationMode) error {
	if err := checkNames(group); err != nil {
		return fmt.Errorf("cannot activate volume group: %w", err)
	}
	if _, err := c.lvm(ctx, "vgchange", "-ay", "--activationmode", string(mode), group); err != nil {
		return fmt.Errorf("cannot activate volume group %s: %w", group, err)
	}
	return nil
}

// DeactivateTagged closes all volumes of all groups with the tag. Volumes in
// use stay open and are an error.
func (c *Client) DeactivateTagged(ctx context.Context, tag string) error {
	if err := checkTags(tag); err != nil {
		return fmt.Errorf("cannot deactivate volume groups: %w", err)
	}
	if _, err := c.lvm(ctx, "vgchange", "-an", "@"+tag); err != nil {
		return fmt.Errorf("cannot deactivate volume groups tagged %s: %w", tag, err)
	}
	return nil
}

// RemoveUnfinished removes all volumes of a group, if and only if the group
// has the tag; LVM itself checks that under its lock. It is for groups whose
// creation was interrupted and that never held data.
func (c *Client) RemoveUnfinished(ctx context.Context, group, tag string) error {
	if err := firstError(checkNames(group), checkTags(tag)); err != nil {
		return fmt.Errorf("cannot remove unfinished volumes: %w", err)
	}
	if _, err := c.lvm(ctx, "lvremove", "--yes", "--select", "vg_tags={"+tag+"}", group); err != nil {
		return fmt.Errorf("cannot remove unfinished volumes of %s: %w", group, err)
	}
	return nil
}

func bytesArg(n int64) string { return strconv.FormatInt(n, 10) + "b" }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// RenameGroup gives another name to the group with that UUID.
func (c *Client) RenameGroup(ctx context.Context, uuid, name string) error {
	if err := checkNames(uuid, name); err != nil {
		return fmt.Errorf("cannot rename volume group: %w", err)
	}
	if _, err := c.lvm(ctx, "vgrename", uuid, name); err != nil {
		return fmt.Errorf("cannot rename volume group %s: %w", uuid, err)
	}
	return nil
}

// RepairThinPool has the metadata of a thin pool that isn't active rebuilt on a
// new, linear volume, from what can be read of it. The old metadata is kept as
// a volume called POOL_meta0, or with the next free number.
func (c *Client) RepairThinPool(ctx context.Context, group, pool string) error {
	if err := checkNames(group, pool); err != nil {
		return fmt.Errorf("cannot repair thin pool: %w", err)
	}
	_, err := c.lvm(ctx, "lvconvert", "--yes", "--repair", "--poolmetadataspare", "n", group+"/"+pool)
	if err != nil {
		return fmt.Errorf("cannot repair thin pool %s/%s: %w", group, pool, err)
	}
	return nil
}

// MirrorVolume makes a raid1 volume with copies of an active one that has one
// copy. The others are filled in the background.
func (c *Client) MirrorVolume(ctx context.Context, group, name string, copies int) error {
	if err := checkNames(group, name); err != nil {
		return fmt.Errorf("cannot mirror volume: %w", err)
	}
	if copies < 2 {
		return fmt.Errorf("cannot mirror volume %s/%s: a mirror of %d", group, name, copies)
	}
	_, err := c.lvm(ctx, "lvconvert", "--yes", "--type", "raid1", "-m", strconv.Itoa(copies-1), group+"/"+name)
	if err != nil {
		return fmt.Errorf("cannot mirror volume %s/%s: %w", group, name, err)
	}
	return nil
}
