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
	return []command{configShow(), configApply()}
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
