package main

import (
	"context"
	"flag"

	"sanstick/appliance/api"
)

func hardwareCommands() []command {
	var q api.HardwareRequest
	return []command{{
		name:  "hardware",
		short: "a report of the machine's devices, and what drives them",
		long: `
Lists the devices on PCI, USB and the buses of virtual machines, a line for
each: vendor and device, subsystem, class, the driver that is bound to it if
there is one, and the kernel's name for what it is (its modalias).

The report is for the machine where images are built. There

  imagebuild hardware FILE

says for each device which module of an image drives it, which one of
Debian's would, and which firmware it wants. Nothing in the report says who
you are: it has neither serial numbers nor addresses of network cards.

With --save it is also written to the stick, as hardware.txt on the volume
SANSTICK, which any PC can open.`,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&q.Save, "save", false, "write it to the stick, too")
		},
		examples: []string{"sanctl hardware", "sanctl hardware --save"},
		see:      []string{"status", "disks"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.Hardware.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			text := a.Report
			if a.File != "" {
				text += "# saved as " + a.File + "\n"
			}
			return c.print(a, text)
		},
	}}
}
