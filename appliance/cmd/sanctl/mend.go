package main

import (
	"context"
	"fmt"

	"sanstick/appliance/api"
)

func mendCommands() []command {
	return []command{{
		name: "disk replace", args: "OLD NEW", min: 2, max: 2,
		short: "put a blank disk in the place of one of a pool's",
		long: `
Fills disk NEW with what disk OLD had, from the pool's other copies, and
takes OLD out of the pool. OLD may be lost, failing or well. Volumes can be
used meanwhile; sanctl status tells how far it is. OLD and NEW are serial
numbers or WWNs.

NEW must be blank (sanctl disk wipe makes it so) and have room for what OLD
held, or for what any disk of the pool holds if OLD still works; the refusal
says how much is needed. While NEW is being filled the pool bears one loss
less, also if OLD is well. The order outlasts a restart.

It is refused for a pool of layout single, which has no other copy; and
unless the pool is healthy, or lacks OLD.

Mostly this isn't needed: a blank disk that is plugged in or wiped after
one was lost is taken by itself, and so is a spare, or a blank disk that was
here before, after the pool's spare_after. It is needed when several pools
lack a disk, for one that still works, and so as not to wait.

Name NEW instead of OLD under disks in the configuration then.`,
		examples: []string{"sanctl disk replace WD-WCC4E1234567 WD-WCC4E7654321"},
		see:      []string{"disks", "disk wipe", "status", "pool scrub"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.ReplaceDisk.Call(ctx, c.client, api.ReplaceDiskRequest{Old: c.args[0], New: c.args[1]}, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("disk %s is being filled for pool %s; sanctl status tells how far it is\n", c.args[1], a.Pool))
		},
	}, {
		name: "pool scrub", args: "NAME", min: 1, max: 1,
		short: "compare all copies of a pool",
		long: `
Starts to read all copies of a pool, or its data and parity, and to compare
them. It goes on in the background, slowly when there is other work, and
sanctl status tells how far it is.

Differences are reported and nothing is changed: nobody can tell which copy
is right. Afterwards sanctl status says how many sectors of 512 bytes
differ, if any do.

It is refused for a pool of layout single, which has nothing to compare, for
one that isn't healthy, and while it goes on already. Nothing stops it; if a
restart does, it is begun again.

The same is done by itself every 30 days, or as scrub in the configuration
says.`,
		examples: []string{"sanctl pool scrub tank"},
		see:      []string{"status", "pools", "disk replace"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.ScrubPool.Call(ctx, c.client, api.ScrubPoolRequest{Pool: c.args[0]}, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("the copies of pool %s are being compared; sanctl status tells how far it is\n", c.args[0]))
		},
	}}
}
