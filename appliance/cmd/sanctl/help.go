package main

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// help answers what asks for help, in any of the ways that people try. It leaves alone
// what is wrong.
func help(all []command, args []string) (text string, ok bool) {
	asked := false
	var words []string
	for i, a := range args {
		switch {
		case a == "--":
			return "", false
		case a == "--help" || a == "-help" || a == "-h" || i == 0 && a == "help":
			asked = true
		case !strings.HasPrefix(a, "-"):
			words = append(words, a)
		}
	}
	if len(words) == 0 {
		return overview(all), asked
	}
	cmd, _, found := find(all, words)
	group := inGroup(all, words[0])
	switch {
	case asked && found:
		return manual(cmd), true
	case asked && len(group) > 0:
		return list("sanctl "+words[0]+" has these verbs:", group), true
	}
	return "", false
}

// inGroup returns the commands of two words that begin with the word.
func inGroup(all []command, word string) []command {
	return slices.DeleteFunc(slices.Clone(all), func(c command) bool { return !strings.HasPrefix(c.name, word+" ") })
}

func overview(all []command) string {
	var p page
	p.line("sanctl tells what this storage appliance is doing, and tells it what to do.")
	p.heading("Usage: sanctl VERB [OPTIONS] [ARGUMENTS]")
	p.line()
	return p.text.String() + list("Verbs:", all) + `
` + "`sanctl help VERB` says all about one. Every verb takes --json, for programs, and\n" +
		`--socket PATH. Disks are called by their serial numbers, volumes by their names
(POOL/NAME where two pools have one of that name), snapshots as in golden@monday.
What can lose data asks first.

Exit status: 0 done (with status: whatever the health is), 1 not done, 2 wrong
usage.
`
}

func list(heading string, some []command) string {
	var p page
	p.line(heading)
	var rows [][]string
	for _, c := range some {
		rows = append(rows, []string{strings.TrimSpace(c.name + " " + c.args), c.short})
	}
	p.table("  ", rows)
	return p.text.String()
}

// manual is the page of one command.
func manual(cmd command) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("NAME\n    sanctl %s - %s\n", cmd.name, cmd.short)
	line("SYNOPSIS\n    sanctl %s\n", strings.TrimSpace(cmd.name+" [OPTIONS] "+cmd.args))
	line("DESCRIPTION")
	for l := range strings.Lines(strings.TrimSpace(cmd.long)) {
		b.WriteString(strings.TrimRight("    "+strings.TrimRight(l, "\n"), " ") + "\n")
	}
	line("\nOPTIONS")
	flags, _ := cmd.flags(new(call))
	flags.VisitAll(func(f *flag.Flag) {
		name, usage := flag.UnquoteUsage(f)
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		line("    %s", strings.TrimSpace(dashes+f.Name+" "+strings.ToUpper(name)))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		line("%s", wrap(usage, "        "))
	})
	line("\nEXIT STATUS\n    %s", cmp.Or(cmd.exit, "0: done. 1: not done; standard error says why. 2: wrong usage."))
	if len(cmd.examples) > 0 {
		line("\nEXAMPLES")
		for _, e := range cmd.examples {
			line("    %s", e)
		}
	}
	if len(cmd.see) > 0 {
		line("\nSEE ALSO\n%s", wrap("sanctl "+strings.Join(cmd.see, ", sanctl "), "    "))
	}
	return b.String()
}

// wrap breaks a text into lines of at most 80 columns.
func wrap(text, indent string) string {
	var b strings.Builder
	width := 0
	for _, word := range strings.Fields(text) {
		switch n := len([]rune(word)); {
		case width == 0:
			b.WriteString(indent + word)
			width = len(indent) + n
		case width+1+n > 80:
			b.WriteString("\n" + indent + word)
			width = len(indent) + n
		default:
			b.WriteString(" " + word)
			width += 1 + n
		}
	}
	return b.String()
}

// unknown says that there is no such verb, and which one may be meant.
func unknown(all []command, args []string) string {
	if group := inGroup(all, args[0]); len(group) > 0 && len(args) == 1 {
		return strings.TrimSpace(list(fmt.Sprintf("%s needs a second word:", args[0]), group))
	}
	text := fmt.Sprintf("there is no %q; `sanctl help` shows what there is", args[0])
	if group := inGroup(all, args[0]); len(group) > 0 && len(args) > 1 {
		text = fmt.Sprintf("there is no %q; `sanctl help %s` shows what there is", args[0]+" "+args[1], args[0])
	}
	return text
}
