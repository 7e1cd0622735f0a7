package main

import "context"

func statusCommands() []command {
	return []command{{
		name:  "status",
		short: "how the appliance is, and what to do about every problem",
		long: `
Shows the health first, then every problem with what to do about it; then
the configuration, the network, pools with their disks (by serial number)
and volumes, targets, and who is connected.

The exit status is 0 whenever the question was answered: read the health.`,
		examples: []string{"sanctl status", "sanctl status --json | grep serial"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			return c.print(s, render(s))
		},
	}}
}
