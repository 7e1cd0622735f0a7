package lvm

import (
	"context"
	"fmt"
	"strings"
)

// Suspended lists the active devices that are suspended, by device-mapper's names. It
// asks the kernel only.
func (c *Client) Suspended(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statusLimit, fmt.Errorf("it didn't answer within %v", statusLimit))
	defer cancel()
	if c.Mapper != nil {
		names, err = c.Mapper.Suspended(ctx)
	} else {
		var out []byte
		out, err = c.dmsetup(ctx, "info", "-c", "--noheadings", "--separator", " ", "-o", "name,suspended")
		names = parseSuspended(string(out))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot see which devices are suspended: %w", err)
	}
	return names, nil
}

// parseSuspended decodes the output of "dmsetup info -c -o name,suspended":
//
//	tank-golden Active
//	tank-vm1 Suspended
func parseSuspended(out string) []string {
	var names []string
	for line := range strings.Lines(out) {
		if name, state, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.TrimSpace(state) == "Suspended" {
			names = append(names, name)
		}
	}
	return names
}

// RefreshGroup gives all active volumes of a group the tables that its metadata asks
// for, and resumes those that are suspended.
func (c *Client) RefreshGroup(ctx context.Context, group string) error {
	if err := checkNames(group); err != nil {
		return fmt.Errorf("cannot refresh volume group: %w", err)
	}
	if _, err := c.lvm(ctx, "vgchange", "--refresh", group); err != nil {
		return fmt.Errorf("cannot refresh volume group %s: %w", group, err)
	}
	return nil
}

// Resume has a suspended device go on with the table that it has. One that was to
// follow is dropped: whether LVM's metadata came to ask for it isn't known.
func (c *Client) Resume(ctx context.Context, device string) error {
	if err := checkNames(device); err != nil {
		return fmt.Errorf("cannot resume device: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	for _, verb := range []string{"clear", "resume"} {
		if _, err := c.run(ctx, statusLimit, orDefault(c.DMSetup, "/sbin/dmsetup"), []string{verb, device}); err != nil {
			return fmt.Errorf("cannot resume device %s: %w", device, err)
		}
	}
	return nil
}
