package lvm

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// standIn matches the names of devices that LVM puts in the place of a disk that is
// missing. In the name of a volume a hyphen is doubled.
var standIn = regexp.MustCompile(`[^-]-missing_[0-9]+_[0-9]+$`)

// RemoveStandIns removes the devices of a group that LVM has put in the place of missing
// disks and that nothing uses any more. LVM leaves them when a leg gets another disk. The
// new leg has the old one's name, and when its disk is missing, too, LVM can't make the
// device that it needs: "Device or resource busy".
func (c *Client) RemoveStandIns(ctx context.Context, group string) error {
	if err := checkNames(group); err != nil {
		return fmt.Errorf("cannot remove what stood in for missing disks: %w", err)
	}
	out, err := c.dmsetup(ctx, "info", "-c", "--noheadings", "--separator", " ", "-o", "name,open")
	if err != nil {
		return fmt.Errorf("cannot see what stands in for missing disks: %w", err)
	}
	for _, device := range parseStandIns(string(out), group) {
		if _, err := c.run(ctx, statusLimit, orDefault(c.DMSetup, "/sbin/dmsetup"), []string{"remove", device}); err != nil {
			return fmt.Errorf("cannot remove device %s, which stood in for a missing disk: %w", device, err)
		}
	}
	return nil
}

// parseStandIns finds those of a group that nobody has open in the output of "dmsetup
// info -c -o name,open":
//
//	tank-thinpool_tmeta_rimage_0-missing_0_0 0
func parseStandIns(out, group string) []string {
	var names []string
	for line := range strings.Lines(out) {
		name, open, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && strings.TrimSpace(open) == "0" && standIn.MatchString(name) && strings.HasPrefix(name, DeviceName(group, "")) {
			names = append(names, name)
		}
	}
	return names
}
