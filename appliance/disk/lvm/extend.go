package lvm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sanstick/appliance/sys"
)

// ErrNoRoom says that a group has no free extents where they would be needed.
var ErrNoRoom = errors.New("no room in the volume group")

// ExtendPoolData grows the data of a thin pool by so many bytes, rounded up to
// whole extents, while it is in use, on these disks; on any if there are none. It
// can't shrink it. The error wraps ErrNoRoom if a smaller size may fit.
func (c *Client) ExtendPoolData(ctx context.Context, group, pool string, bytes int64, disks ...string) error {
	return c.extendPool(ctx, group, pool, "-L", bytes, disks)
}

// ExtendPoolMetadata is ExtendPoolData for a thin pool's metadata.
func (c *Client) ExtendPoolMetadata(ctx context.Context, group, pool string, bytes int64, disks ...string) error {
	return c.extendPool(ctx, group, pool, "--poolmetadatasize", bytes, disks)
}

func (c *Client) extendPool(ctx context.Context, group, pool, option string, bytes int64, disks []string) error {
	if err := firstError(checkNames(group, pool), checkPaths(disks...)); err != nil {
		return fmt.Errorf("cannot grow thin pool: %w", err)
	}
	if bytes <= 0 {
		return fmt.Errorf("cannot grow thin pool %s/%s by %d bytes", group, pool, bytes)
	}
	args := []string{"lvextend", option, "+" + strconv.FormatInt(bytes, 10) + "b", group + "/" + pool}
	_, err := c.lvm(ctx, append(args, disks...)...)
	if insufficient(err) {
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return fmt.Errorf("cannot grow thin pool %s/%s: %w", group, pool, err)
	}
	return nil
}

// insufficient tells LVM's several words for "there is no room".
func insufficient(err error) bool {
	var exit *sys.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	text := strings.ToLower(exit.Stderr)
	return strings.Contains(text, "insufficient") && (strings.Contains(text, "extents") || strings.Contains(text, "free space"))
}

// CommitPool has a thin pool write down its metadata, and look whether it has
// space again if it was full: that is what asking for its status does, unless it
// is told not to.
func (c *Client) CommitPool(ctx context.Context, group, pool string) error {
	if err := checkNames(group, pool); err != nil {
		return fmt.Errorf("cannot commit thin pool: %w", err)
	}
	if _, err := c.dmsetup(ctx, "status", DeviceName(group, pool)+"-tpool"); err != nil {
		return fmt.Errorf("cannot commit thin pool %s/%s: %w", group, pool, err)
	}
	return nil
}
