package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/appliance/api"
)

func poolCommands() []command {
	return []command{poolAdopt(), poolRepair(), poolReservations()}
}

func poolAdopt() command {
	var q api.AdoptPoolRequest
	return command{
		name: "pool adopt", args: "POOL", min: 1, max: 1,
		short: "use a pool whose disks come from elsewhere",
		long: `
Disks that hold a pool which the configuration doesn't name are left alone:
they may come from another appliance, or the pool was taken out of the
configuration. sanctl status lists such pools as offers, with their disks
and volumes.

This adds the pool and its volumes to appliance.toml and makes them usable.
All of its disks must be here. Nobody may use the volumes yet: add a
[[target]] for them and run sanctl config apply. Initiators find the same
LUN identities as before.

POOL is its name, or its UUID if there are several of that name. If the
configuration has a pool of that name already, give this one another name
by --as.`,
		options: func(f *flag.FlagSet) {
			f.StringVar(&q.As, "as", "", "the `name` that the pool gets")
			f.BoolVar(&q.Check, "check", false, "only show what would be added to the configuration")
		},
		examples: []string{"sanctl pool adopt tank --check", "sanctl pool adopt tank", "sanctl pool adopt tank --as attic"},
		see:      []string{"status", "config apply"},
		run: func(ctx context.Context, c *call) error {
			q.Pool = c.args[0]
			a, err := api.AdoptPool.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			heading := "Added to the configuration:\n\n"
			if q.Check {
				heading = "This would be added to the configuration:\n\n"
			}
			return c.print(a, heading+a.Added+"\n"+applyText(api.ApplyConfigRequest{Check: q.Check}, a.ApplyConfigAnswer))
		},
	}
}

func poolRepair() command {
	var yes bool
	return command{
		name: "pool repair", args: "POOL", min: 1, max: 1,
		short: "rebuild the damaged metadata of a pool",
		long: `
A pool's metadata says where each block of each volume lies. LVM checks it
before the pool is used; if that fails, the pool isn't activated and nothing
of it is served. sanctl status says so then.

This writes what can be read of the metadata to another place and uses that.
What was there is kept, as a volume whose name is told at the end. The data
itself isn't touched. What the damaged part said is lost all the same: check
the volumes' file systems afterwards.

All disks of the pool must be here, and it must not be in use: then LVM has
found its metadata to be good. If the disks can be copied first (dd, to
disks of the same size), that is the safest thing to do before this.

What is written has one copy at first; the others are made by itself, and
until then the pool is degraded. It asks for the name of the pool, unless
--yes is given.`,
		options:  func(f *flag.FlagSet) { f.BoolVar(&yes, "yes", false, "don't ask") },
		examples: []string{"sanctl pool repair tank"},
		see:      []string{"status", "pools"},
		run: func(ctx context.Context, c *call) error {
			q := api.RepairPoolRequest{Pool: c.args[0]}
			if err := c.confirm(yes, "The metadata of pool "+q.Pool+" will be rebuilt; the old one is kept.", q.Pool); err != nil {
				return err
			}
			a, err := api.RepairPool.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("The pool is in use again. What was damaged is kept as %s/%s.\nCheck the file systems on its volumes.\n", q.Pool, a.Kept))
		},
	}
}

func poolReservations() command {
	var yes bool
	return command{
		name: "pool reservations", args: "POOL", min: 1, max: 1,
		short: "serve volumes though reservations may be lost",
		long: `
Hosts of a cluster reserve the volumes that they share, so that only one of
them writes, and may ask for reservations that outlast a loss of power. They
are kept on the stick and on the disks of the pool. If what is found after a
start may not be the newest (the stick's file is damaged, and a disk of the
pool isn't here), the pool's volumes aren't served. sanctl status says so,
and what is missing.

This serves them with what was found. What was reserved, or given up, since
then is forgotten: first make sure that no more than one host uses each
volume, for instance by shutting down all nodes of the cluster. It is
refused if nothing is in doubt, and asks for the name of the pool, unless
--yes is given.`,
		options:  func(f *flag.FlagSet) { f.BoolVar(&yes, "yes", false, "don't ask") },
		examples: []string{"sanctl pool reservations tank"},
		see:      []string{"status"},
		run: func(ctx context.Context, c *call) error {
			q := api.AcceptReservationsRequest{Pool: c.args[0]}
			if err := c.confirm(yes, "The newest reservations of the volumes of pool "+q.Pool+" may be lost.", q.Pool); err != nil {
				return err
			}
			a, err := api.AcceptReservations.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, "The volumes of pool "+q.Pool+" are served with the reservations that were found\n")
		},
	}
}
