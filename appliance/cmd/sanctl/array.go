package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

func arrayCommands() []command {
	return []command{arrayOpen(), arrayClose()}
}

func arrayOpen() command {
	var q api.OpenArrayRequest
	return command{
		name: "md open", args: "UUID", min: 1, max: 1,
		short: "open an md array (Linux software RAID) for reading",
		long: `
Disks of a Linux PC may be members of an md array. sanctl disks lists the
arrays, with their UUIDs and with the members that are here. None is
assembled by itself.

This assembles one, read-only, and shows what is on it: partitions, a file
system, an LVM volume group. Nothing is written to its members, not even
what mdadm and the kernel write to assemble an array elsewhere: that goes to
memory. No resync begins.

What is on it can be brought into a volume, from the device that is named
then: sanctl volume import VOLUME /dev/md127.

An array that lacks members is opened only with --degraded, and not at all
if what they held can't be told for sure. Members that are out of date
count as missing.

It stays open until sanctl md close UUID, or until the machine is restarted.
Its disks can't be wiped meanwhile.`,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&q.Degraded, "degraded", false, "open it even if it lacks members")
		},
		examples: []string{"sanctl md open 7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b"},
		see:      []string{"md close", "disks", "volume import"},
		run: func(ctx context.Context, c *call) error {
			q.UUID = c.args[0]
			a, err := api.OpenArray.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			var p page
			renderArray(&p, a)
			return c.print(a, p.text.String())
		},
	}
}

func arrayClose() command {
	return command{
		name: "md close", args: "UUID", min: 1, max: 1,
		short: "stop an md array that was opened for reading",
		long: `
Its members are as they were before it was opened. It fails while somebody
reads the array, an import for instance.`,
		examples: []string{"sanctl md close 7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b"},
		see:      []string{"md open"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.CloseArray.Call(ctx, c.client, api.CloseArrayRequest{UUID: c.args[0]}, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("array %s is closed\n", a.UUID))
		},
	}
}

func renderArray(p *page, a status.Array) {
	lacks := ""
	if a.Lacks > 0 {
		lacks = fmt.Sprintf(", lacks %d of its %d members", a.Lacks, a.Members)
	}
	p.line("md array ", a.UUID, ": ", a.Level, ", ", status.FormatBytes(a.Size), lacks, ", open read-only as ", a.Path)
	contents(p, "  ", a.Holds)
}

// renderArrays lists the arrays that are open.
func renderArrays(p *page, all []status.Array) {
	for _, a := range all {
		p.line()
		renderArray(p, a)
	}
}
