package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/appliance/status"
)

func statusCommands() []command {
	var boot bool
	return []command{{
		name:  "status",
		short: "how the appliance is, and what to do about every problem",
		long: `
Shows the health first, then every problem with what to do about it; then
the configuration, the network, pools with their disks (by serial number)
and volumes, targets, and who is connected.

With --boot it shows what the machine's start took instead, phase by phase:
when each began, counted from the kernel's beginning, and how long it took.
Some go on beside others (network beside disks). What the firmware and the
boot loader took before the kernel isn't known.

Health is ok, degraded (it works, but something is to be done or going on)
or failed (something isn't served, or not written). With --json a pool has
a state, too:

  healthy            all copies are the same, as far as anybody knows
  checking           healthy, and the copies are being compared
  syncing            copies of what is new are being made the same
  rebuilding         a disk that is new, or was away, is being filled
  degraded-absent    a disk isn't here
  degraded-returned  a disk is here again, and isn't used yet
  degraded-failed    a disk is here, and reading or writing it failed
  provisioning-cut   the pool has given up a lost disk and lacks one
  failed             more is gone than the layout bears
  inactive           not in use yet

Progress is how much of a check, a sync or a rebuild is done, in per cent.`,
		exit: "0: the question was answered, whatever the health is. 1: it wasn't; standard\n    error says why. 2: wrong usage.",
		see:  []string{"pools", "disks", "volumes", "update status"},
		options: func(f *flag.FlagSet) {
			f.BoolVar(&boot, "boot", false, "what the machine's start took, instead")
		},
		examples: []string{"sanctl status", "sanctl status --json | grep serial", "sanctl status --boot"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			if boot {
				return c.print(s.Boot, bootPhases(s.Boot))
			}
			return c.print(s, render(s))
		},
	}}
}

// bootPhases is the table of what the start took.
func bootPhases(all []status.BootPhase) string {
	var p page
	rows := [][]string{{"PHASE", "BEGAN", "TOOK"}, {"firmware", "before the kernel", "unknown"}}
	for _, x := range all {
		rows = append(rows, []string{x.Name, fmt.Sprintf("%.2f s", x.Begin), fmt.Sprintf("%.2f s", x.Took)})
	}
	p.table("", rows)
	return p.text.String()
}
