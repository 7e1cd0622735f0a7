package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

func diskCommands() []command {
	return []command{diskWipe()}
}

func diskWipe() command {
	var yes bool
	var q api.WipeDiskRequest
	return command{
		name: "disk wipe", args: "SERIAL", min: 1, max: 1,
		short: "erase a disk, so that a pool can take it",
		long: `
Pools take only disks that are blank. This makes one blank: it shows what is
on the disk, asks, and overwrites it. Without a terminal it needs --yes.

SERIAL is the disk's serial number or WWN, never a name like sda, which may
be another disk tomorrow.

It refuses the boot stick, disks of pools that the configuration names, and
disks that are in use. If what is on the disk has changed since it was
shown, nothing is done.

What makes the disk blank is overwritten: partition tables, everything that
names a file system or an array, and samples in between. The rest stays on
the platters, out of reach of ordinary means. --zero overwrites all of it,
which takes as long as writing the whole disk does.

A blank disk that the configuration names is taken at once. So is one that
was connected or wiped after a pool had lost a disk, if it is large enough
and no other pool lacks one, too: sanctl disk replace chooses then. One that
was here before takes a lost one's place after the pool's spare_after.

A disk that is read-only is refused.`,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&yes, "yes", false, "don't ask")
			f.BoolVar(&q.Zero, "zero", false, "overwrite all of the disk")
		},
		examples: []string{"sanctl disk wipe WD-WCC4E1234567", "sanctl disk wipe --zero --yes wwn-0x5000c500a1b2c3d4"},
		see:      []string{"disks", "disk replace", "status"},
		run: func(ctx context.Context, c *call) error {
			q.Disk = c.args[0]
			a, err := api.WipeDisk.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			if err := c.confirm(yes, wipeQuestion(a), a.Disk); err != nil {
				return err
			}
			q.Wipe, q.Confirmed = true, a.Holds
			if a, err = api.WipeDisk.Call(ctx, c.client, q, c.showProgress); err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("disk %s is blank now\n", a.Disk))
		},
	}
}

// wipeQuestion says what would be lost.
func wipeQuestion(a api.WipeDiskAnswer) string {
	var p page
	p.line("Disk ", a.Disk, " (", status.FormatBytes(a.Size), ", ", a.Model, ", ", a.Name, " today) holds:")
	for _, h := range a.Holds {
		p.line("  ", h)
	}
	if len(a.Holds) == 0 {
		p.line("  nothing: it is blank already")
	}
	p.line("All of it will be lost.")
	return p.text.String()
}
