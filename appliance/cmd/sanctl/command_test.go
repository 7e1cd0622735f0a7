package main

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/api"
)

// TestHelpIsWhole holds every verb to what a manual page has. long is wrapped to
// 76 columns.
func TestHelpIsWhole(t *testing.T) {
	all := commands()
	names := map[string]bool{}
	for _, cmd := range all {
		if names[cmd.name] {
			t.Errorf("%s is there twice", cmd.name)
		}
		names[cmd.name] = true
	}
	for _, cmd := range all {
		text := manual(cmd)
		for _, l := range strings.Split(text, "\n") {
			if n := len([]rune(l)); n > 80 {
				t.Errorf("help of %s has a line of %d columns: %s", cmd.name, n, l)
			}
		}
		if cmd.short == "" || strings.HasSuffix(cmd.short, ".") || len(cmd.long) < 80 || len(cmd.examples) == 0 {
			t.Errorf("%s lacks a short text without a full stop, a long one or examples", cmd.name)
		}
		if cmd.min > 0 && cmd.args == "" || cmd.max == 0 && cmd.args != "" || cmd.max > 0 && cmd.min > cmd.max {
			t.Errorf("%s takes %d to %d arguments, and calls them %q", cmd.name, cmd.min, cmd.max, cmd.args)
		}
		for _, e := range cmd.examples {
			if !strings.HasPrefix(e, "sanctl "+cmd.name) && !strings.Contains(e, "| sanctl "+cmd.name) {
				t.Errorf("example of %s: %s", cmd.name, e)
			}
		}
		for _, s := range cmd.see {
			if !names[s] {
				t.Errorf("%s says to see %s, which isn't there", cmd.name, s)
			}
		}
	}
}

func TestParse(t *testing.T) {
	var yes bool
	var size string
	cmd := command{name: "volume make", args: "NAME", min: 1, max: 2, options: func(f *flag.FlagSet) {
		f.BoolVar(&yes, "yes", false, "")
		f.StringVar(&size, "size", "", "")
	}, run: func(context.Context, *call) error { return nil }}
	for _, tt := range []struct {
		line string
		args []string
		yes  bool
		size string
		err  string
	}{
		{line: "vm1", args: []string{"vm1"}},
		{line: "vm1 --yes", args: []string{"vm1"}, yes: true},
		{line: "--size 1GiB vm1 --yes extra", args: []string{"vm1", "extra"}, yes: true, size: "1GiB"},
		{line: "--yes -- --size vm1", args: []string{"--size", "vm1"}, yes: true},
		{line: "-- vm1 --yes", args: []string{"vm1", "--yes"}},
		{line: "a b c", err: `"c" is too much`},
		{line: "--yes", err: "needs NAME"},
		{line: "vm1 --sise 3", err: "-sise"},
		{line: "vm1 --size", err: "needs an argument"},
	} {
		yes, size = false, ""
		var c call
		_, err := cmd.parse(&c, strings.Fields(tt.line))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.line, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.line, err)
		}
		if diff := cmp.Diff(tt.args, c.args); diff != "" || yes != tt.yes || size != tt.size {
			t.Errorf("%q: yes %v, size %q, args (-want +got)\n%s", tt.line, yes, size, diff)
		}
	}
}

func TestHelpForms(t *testing.T) {
	all := []command{
		{name: "disks", short: "all disks"},
		{name: "disk wipe", args: "SERIAL", short: "erase a disk", long: "Erases it."},
		{name: "disk find", args: "SERIAL", short: "blink"},
	}
	for line, want := range map[string]string{
		"help":             "sanctl tells what",
		"--help":           "sanctl tells what",
		"help disk wipe":   "NAME\n    sanctl disk wipe - erase a disk",
		"disk wipe --help": "NAME\n    sanctl disk wipe - erase a disk",
		"disk wipe X -h":   "NAME\n    sanctl disk wipe - erase a disk",
		"disk":             "",
		"disk --help":      "sanctl disk has these verbs:",
		"help nonsense":    "",
		"disk wipe X":      "",
		"disk wipe -- -h":  "",
		"disk bend":        "",
	} {
		text, ok := help(all, strings.Fields(line))
		if ok != (want != "") || !strings.HasPrefix(text, want) {
			t.Errorf("%q: %v %q, want %q", line, ok, text, want)
		}
	}
	if got := unknown(all, []string{"disk", "bend"}); !strings.HasPrefix(got, `there is no "disk bend"`) {
		t.Error(got)
	}
}

func TestProgressText(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		p    api.Progress
		n    int64
		took time.Duration
		want string
	}{
		{api.Progress{What: "looking"}, 0, time.Minute, "looking"},
		{api.Progress{What: "copying", Done: 10 * mib}, 0, 0, "copying: 10 MiB"},
		{api.Progress{What: "copying", Done: 100 * mib, Total: 400 * mib}, 50 * mib, 10 * time.Second, "copying: 100 MiB of 400 MiB, 25 %, 5 MiB/s, 1 min left"},
	} {
		if got := progressText(tt.p, tt.n, tt.took); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestConfirm(t *testing.T) {
	c := &call{stdin: strings.NewReader("vm1\n")}
	if err := c.confirm(true, "?", "vm1"); err != nil {
		t.Error(err)
	}
	if err := c.confirm(false, "?", "vm1"); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("what isn't a terminal confirms: %v", err)
	}
}

// TestProgressInALog sees that what goes to no terminal is told now and then.
func TestProgressInALog(t *testing.T) {
	var out strings.Builder
	c := &call{stderr: &out}
	c.showProgress(api.Progress{})
	for done := range int64(5) {
		c.showProgress(api.Progress{What: "copying", Done: done, Total: 10})
	}
	c.endProgress()
	if want := "copying: 0 B of 10 B, 0 %\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
