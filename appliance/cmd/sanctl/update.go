package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

func updateCommands() []command {
	return []command{updateCommand(), updateStatus(), updateRollback(), updateDismiss()}
}

func updateCommand() command {
	var q api.UpdateRequest
	return command{
		name: "update", args: "FILE|URL|-", min: 1, max: 1,
		short: "go over to another version of sanstick",
		long: `
Writes a version that imagebuild bundle made into the slot of the stick that
doesn't run, reads it back and compares it, and restarts the machine with it
on trial. FILE is where sanctl runs; from a URL (http or https) the
appliance fetches it itself; - is the standard input.

The new version is kept once it is as healthy as this one is now, for 20 s
without a break: every target that is served now is served with as many
LUNs, every volume can be read, no pool is worse, the configuration is in
force, there is a network address. If that isn't so five minutes after the
start, if it stops, hangs or dies again and again, or if the power fails
meanwhile, the next start is this version's again, and sanctl status says
why.

Initiators stay logged in or come back by themselves: for them it is a
restart, a pause of as long as the machine takes to start. The new version
is started straight away (kexec), without the firmware and its self-test,
which take half a minute or more on many PCs. Where that can't be done, the
machine restarts by way of the firmware, and it is said why. If a machine
hangs when it is restarted without, switch it off and on, which starts this
version again, and use --no-kexec. The configuration stays as it is.

An update must be signed with a key that this version was built with. It is
refused if it is older than this version (unless --allow-older is given), is
for other machines, doesn't understand the version of appliance.toml, or
doesn't fit into the slot. The power may fail at any moment: one whole
version is always there to be started.`,
		options: func(f *flag.FlagSet) {
			q = api.UpdateRequest{}
			f.BoolVar(&q.AllowOlder, "allow-older", false, "also if it is older than this version")
			f.BoolVar(&q.Later, "later", false, "don't restart: the next start tries it, whenever that is")
			f.BoolVar(&q.Firmware, "no-kexec", false, "restart by way of the firmware")
		},
		examples: []string{"sanctl update /tmp/sanstick.update", "sanctl update http://10.0.0.2/sanstick.update --later"},
		see:      []string{"update status", "update rollback", "update dismiss", "status"},
		run: func(ctx context.Context, c *call) error {
			from := c.args[0]
			if isURL(from) {
				q.URL = from
				a, err := api.UpdateURL.Call(ctx, c.client, q, c.showProgress)
				return updated(c, a, err)
			}
			body, err := updateInput(c, from)
			if err != nil {
				return err
			}
			defer body.Close()
			a, err := api.Update.Call(ctx, c.client, q, body, c.showProgress)
			return updated(c, a, err)
		},
	}
}

func updateInput(c *call, name string) (io.ReadCloser, error) {
	if name == "-" {
		if isTerminal(c.stdin) {
			return nil, usage("the standard input is a terminal")
		}
		return io.NopCloser(c.stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the update: %w", err)
	}
	return f, nil
}

// updated says what comes now.
func updated(c *call, a api.UpdateAnswer, err error) error {
	if err != nil {
		return err
	}
	c.endProgress()
	text := fmt.Sprintf("version %s is in slot %s; ", a.Version, a.Slot)
	if a.Restarting {
		text += "the machine restarts with it now, on trial"
		switch {
		case a.Direct:
			text += ", without its firmware"
		case a.Why != "":
			text += ", by way of its firmware: " + a.Why
		}
		text += "\n"
	} else {
		text += "the next start tries it\n"
	}
	return c.print(a, text)
}

func updateStatus() command {
	return command{
		name:  "update status",
		short: "which versions there are, and how the update went",
		long: `
Shows which slot runs and how the machine came to that (normal, try: on
trial, fallback: not what was to run), which version is in the other slot,
and the last update: whether it was kept, or why not.`,
		examples: []string{"sanctl update status", "sanctl update status --json"},
		see:      []string{"update", "update rollback", "update dismiss"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			return c.print(s.System, updateText(s))
		},
	}
}

func updateText(s status.Snapshot) string {
	var p page
	y := s.System
	if y.Slot == "" {
		p.line("This machine wasn't booted from a stick with two slots, so it takes no updates.")
		return p.text.String()
	}
	other := "a"
	if y.Slot == "a" {
		other = "b"
	}
	p.table("", [][]string{
		{"slot " + y.Slot, cmp.Or(s.Version, "unknown version"), "runs (" + y.Mode + ")"},
		{"slot " + other, cmp.Or(y.Other, "empty"), ""},
	})
	if y.Update == nil {
		return p.text.String()
	}
	u := *y.Update
	what := map[string]string{
		"writing": "is being written to slot " + u.Slot, "written": "is in slot " + u.Slot, "armed": "is tried at the next start",
		"trying": "runs on trial", "confirmed": "is kept", "fell-back": "failed, and what was there before runs",
		"interrupted": "failed before it was tried",
	}
	p.line()
	p.line("The update", fromText(u.From), " to version ", u.Version, " ", cmp.Or(what[u.Phase], "is "+u.Phase), ".")
	if u.Reason != "" {
		p.line("  ", u.Reason)
	}
	if !u.Began.IsZero() {
		p.line("  begun ", u.Began.Format("2006-01-02 15:04:05"))
	}
	return p.text.String()
}

func fromText(version string) string {
	if version == "" {
		return ""
	}
	return " from version " + version
}

func updateRollback() command {
	var q api.UpdateRequest
	return command{
		name:  "update rollback",
		short: "go back to the version in the other slot",
		long: `
Reads all of what is in the slot that doesn't run, and restarts the machine
with it. It is on trial as after an update: if it isn't healthy, the machine
comes back to this version.

If the version that runs is on trial itself, this ends the trial: the
machine restarts with the version before.`,
		options: func(f *flag.FlagSet) {
			q = api.UpdateRequest{}
			f.BoolVar(&q.Later, "later", false, "don't restart: the next start tries it, whenever that is")
			f.BoolVar(&q.Firmware, "no-kexec", false, "restart by way of the firmware")
		},
		examples: []string{"sanctl update rollback"},
		see:      []string{"update status", "update"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.RollbackUpdate.Call(ctx, c.client, q, c.showProgress)
			return updated(c, a, err)
		},
	}
}

func updateDismiss() command {
	return command{
		name:  "update dismiss",
		short: "forget an update that failed",
		long: `
Takes an update that failed out of the problems that sanctl status shows,
after you have read why.`,
		examples: []string{"sanctl update dismiss"},
		see:      []string{"update status"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.DismissUpdate.Call(ctx, c.client, api.UpdateRequest{}, nil)
			if err != nil {
				return err
			}
			return c.print(a, "the failed update is forgotten\n")
		},
	}
}
