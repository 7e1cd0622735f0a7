package main

import (
	"context"
	"flag"

	"sanstick/appliance/api"
)

func poolCommands() []command {
	return []command{poolAdopt()}
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
