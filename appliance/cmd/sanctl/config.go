package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"sanstick/appliance/api"
)

func configCommands() []command {
	return []command{configShow(), configApply(), configAdopt()}
}

func configShow() command {
	return command{
		name:  "config show",
		short: "print the configuration file",
		long: `
Prints appliance.toml as it lies on the stick, secrets included. What is in
force may be an older version: sanctl status says so.`,
		examples: []string{"sanctl config show > /tmp/a.toml"},
		see:      []string{"config apply"},
		run: func(ctx context.Context, c *call) error {
			_, err := api.ReadConfig.Call(ctx, c.client, api.ReadConfigRequest{}, c.stdout)
			return err
		},
	}
}

func configApply() command {
	var q api.ApplyConfigRequest
	return command{
		name: "config apply", args: "[FILE]", max: 1,
		short: "go over to a changed configuration",
		long: `
Reads the configuration again and brings everything in line with it: pools
and volumes are created, volumes grow, targets come, change and go. Without
FILE it reads appliance.toml on the stick. With FILE, or - for the standard
input, it puts that in its place first, if it is free of errors.

Initiators stay logged in. Those that see a larger volume are told so. What
would interrupt somebody (a target goes, an initiator may not use it any
more, a LUN is another volume) is refused and names who it is, unless
--force is given.

Nothing is ever deleted: a volume that isn't in the file any more is kept,
unserved. The host name and network cards change at the next start.

If there is an error in the file, nothing changes at all, and every error is
told with its line.`,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&q.Check, "check", false, "only say what would change")
			f.BoolVar(&q.Force, "force", false, "also interrupt initiators")
		},
		examples: []string{"sanctl config apply --check", "sanctl config apply", "sanctl config apply /tmp/a.toml"},
		see:      []string{"config show", "status"},
		run: func(ctx context.Context, c *call) error {
			body, err := applyInput(c, &q)
			if err != nil {
				return err
			}
			defer body.Close()
			a, err := api.ApplyConfig.Call(ctx, c.client, q, body, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, applyText(q, a))
		},
	}
}

// applyInput opens what is to replace the file, if anything is.
func applyInput(c *call, q *api.ApplyConfigRequest) (io.ReadCloser, error) {
	if q.Replace = len(c.args) == 1; !q.Replace {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if c.args[0] == "-" {
		return io.NopCloser(c.stdin), nil
	}
	f, err := os.Open(c.args[0])
	if err != nil {
		return nil, fmt.Errorf("cannot read the new configuration: %w", err)
	}
	return f, nil
}

func applyText(q api.ApplyConfigRequest, a api.ApplyConfigAnswer) string {
	var p page
	switch {
	case len(a.Changes) == 0:
		p.line("The configuration is in force already.")
	case q.Check:
		p.line("This would change:")
	default:
		p.line("Changed:")
	}
	for _, s := range a.Changes {
		p.line("  ", s)
	}
	block := func(heading string, lines []string) {
		if len(lines) > 0 {
			p.heading(heading)
		}
		for _, l := range lines {
			p.line("  ", l)
		}
	}
	block("At the next start only:", a.Later)
	if q.Check {
		block("Initiators would be interrupted:", a.Interrupts)
	}
	block("Warnings:", a.Warnings)
	problems(&p, a.Problems)
	return p.text.String()
}

func configAdopt() command {
	var q api.AdoptConfigRequest
	var yes bool
	return command{
		name: "config adopt", args: "[FROM]", max: 1,
		short: "go on with the configuration that the disks keep",
		long: `
Each disk of a pool keeps a copy of what is on the stick. If the stick has
died, start the machine from a new one, and give this command: the newest
copy is written to the new stick, and the appliance starts again with it,
with the same name, volumes, targets and secrets. Without a [[pool]] in the
new stick's configuration nothing was written to any disk until then.

FROM is the host name of the old appliance, its ID, or the serial number of
a disk; it is needed if the disks come from several, or if nothing tells
which of two copies is newer. --check only says what is kept.

A stick that has a configuration of its own is refused unless --force is
given, and so is a pool of which a disk is missing or doesn't answer: that
disk may keep something newer. A copy is as old as the last time that its
disk was here.

With adopt = "auto" in the new stick's configuration this happens by itself
if there is no doubt.

It asks for the old host name, unless --yes is given.`,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&q.Check, "check", false, "only say what is kept")
			f.BoolVar(&q.Force, "force", false, "although the stick has a configuration, or not all disks answer")
			f.BoolVar(&yes, "yes", false, "don't ask")
		},
		examples: []string{"sanctl config adopt --check", "sanctl config adopt"},
		see:      []string{"config show", "pool adopt"},
		run: func(ctx context.Context, c *call) error {
			if len(c.args) == 1 {
				q.From = c.args[0]
			}
			look := q
			look.Check = true
			a, err := api.AdoptConfig.Call(ctx, c.client, look, nil)
			if err != nil {
				return err
			}
			if q.Check {
				return c.print(a, keptText(a.Kept))
			}
			fmt.Fprint(c.stderr, keptText(a.Kept))
			word := q.From
			if word == "" && len(a.Kept) == 1 {
				word = a.Kept[0].Hostname
			}
			if word != "" { // otherwise the appliance says what is lacking
				if err := c.confirm(yes, "This stick's configuration will be replaced by that of "+word+".", word); err != nil {
					return err
				}
			}
			if a, err = api.AdoptConfig.Call(ctx, c.client, q, c.showProgress); err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, "adopted; the appliance starts again with it\n")
		},
	}
}

func keptText(all []api.KeptConfig) string {
	if len(all) == 0 {
		return "No disk that is here keeps a configuration.\n"
	}
	var p page
	for _, k := range all {
		p.line("appliance ", k.Hostname, ", ID ", k.Appliance)
		p.line("  written    ", k.Time.UTC().Format("2006-01-02 15:04 UTC"))
		p.line("  disks      ", strings.Join(k.Disks, ", "))
		p.line("  pools      ", strings.Join(k.Pools, ", "))
	}
	return p.text.String()
}
