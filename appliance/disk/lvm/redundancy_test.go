package lvm

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func TestRedundancyCommands(t *testing.T) {
	ctx := context.Background()
	for want, do := range map[string]func(*Client) error{
		"lvcreate --type raid10 -i 2 -l 80 -m 1 -n data tank":               func(c *Client) error { return c.CreateStriped(ctx, "tank", "data", Raid10, 2, 80) },
		"lvcreate --type raid6 -i 3 -l 90 -n data tank":                     func(c *Client) error { return c.CreateStriped(ctx, "tank", "data", Raid6, 3, 90) },
		"pvcreate --bootloaderareasize 2m /dev/sdc\nvgextend tank /dev/sdc": func(c *Client) error { return c.AddDisk(ctx, "tank", "/dev/sdc") },
		"vgextend --restoremissing tank /dev/sdc":                           func(c *Client) error { return c.RestoreDisk(ctx, "tank", "/dev/sdc") },
		"vgreduce tank /dev/sdc":                                            func(c *Client) error { return c.RemoveDisk(ctx, "tank", "/dev/sdc") },
		"lvchange --refresh tank/thinpool":                                  func(c *Client) error { return c.Refresh(ctx, "tank", "thinpool") },
		"lvconvert --yes --repair tank/thinpool_tdata /dev/sdc":             func(c *Client) error { return c.RepairRaid(ctx, "tank", "thinpool_tdata", "/dev/sdc") },
		"lvconvert --yes --replace /dev/sda tank/thinpool_tdata /dev/sdc": func(c *Client) error {
			return c.ReplaceLeg(ctx, "tank", "thinpool_tdata", "/dev/sda", "/dev/sdc")
		},
		"lvconvert --yes -m 2 tank/thinpool_tdata /dev/sdc":   func(c *Client) error { return c.AddCopy(ctx, "tank", "thinpool_tdata", 3, "/dev/sdc") },
		"lvchange --syncaction check tank/thinpool_tdata":     func(c *Client) error { return c.Scrub(ctx, "tank", "thinpool_tdata") },
		"vgreduce --removemissing tank":                       func(c *Client) error { return c.DropMissing(ctx, "tank") },
		"vgreduce --removemissing --force --mirrorsonly tank": func(c *Client) error { return c.CutMissing(ctx, "tank") },
	} {
		var got []string
		c := &Client{Runner: &systest.Runner{Handle: func(cmd sys.Command) (sys.Output, error) {
			got = append(got, strings.Join(cmd.Args, " "))
			return sys.Output{}, nil
		}}}
		if err := do(c); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
	}
	c := &Client{Runner: &systest.Runner{Handle: func(cmd sys.Command) (sys.Output, error) {
		t.Errorf("%s was run", cmd)
		return sys.Output{}, nil
	}}}
	for name, err := range map[string]error{
		"option as disk":  c.AddDisk(ctx, "tank", "--force"),
		"option as group": c.CutMissing(ctx, "-f"),
		"option as leg":   c.RepairRaid(ctx, "tank", "a", "--force"),
		"no multiple":     c.CreateStriped(ctx, "tank", "a", Raid5, 2, 81),
		"no stripes":      c.CreateStriped(ctx, "tank", "a", Raid1, 2, 80),
	} {
		if err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// What loses data isn't run, whatever method asks for it.
func TestDangerousCommands(t *testing.T) {
	for _, line := range []string{
		"vgreduce --removemissing --force tank", // removes the pools on what is left of mirrors
		"vgreduce -f --removemissing tank",
		"vgreduce --force --mirrorsonly tank",
		"lvremove --yes tank", "lvremove -ff tank/a", "vgremove tank", "pvremove /dev/sda",
		"pvcreate -ff /dev/sda", "pvcreate --force /dev/sda", "pvcreate --yes /dev/sda", "pvcreate -u x --restorefile y /dev/sda", "vgextend --force tank /dev/sda", "lvcreate -ff -n a tank", "lvconvert --force --repair tank/a",
		"lvreduce -L 1g tank/a", "lvresize -L 1g tank/a", "vgcfgrestore tank", "",
	} {
		c := &Client{Runner: &systest.Runner{Handle: func(cmd sys.Command) (sys.Output, error) {
			t.Errorf("%s was run", cmd)
			return sys.Output{}, nil
		}}}
		if _, err := c.lvm(context.Background(), strings.Fields(line)...); err == nil {
			t.Errorf("%q is no error", line)
		}
	}
}
