package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"sanstick/appliance/api"
)

// A command is one verb of sanctl.
type command struct {
	name     string              // "disk wipe"
	args     string              // what follows, as in "SERIAL [SERIAL ...]"; empty: nothing may
	min, max int                 // how many arguments; max -1: any number
	short    string              // what it does, in a line without a full stop
	long     string              // all that there is to know, wrapped to 76 columns
	options  func(*flag.FlagSet) // may be nil; the usage text of each flag is shown in the help
	examples []string            // command lines
	see      []string            // names of related commands
	exit     string              // what the exit status says, unless it is as with most
	run      func(context.Context, *call) error
}

// A call is one run of a command.
type call struct {
	client         *api.Client
	args           []string
	json           bool // --json
	stdin          io.Reader
	stdout, stderr io.Writer
	progress       progressLine
}

// usageError says that sanctl was called wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// flags are the options of a command with those that all have.
func (cmd command) flags(c *call) (f *flag.FlagSet, socket *string) {
	f = flag.NewFlagSet("sanctl "+cmd.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&c.json, "json", false, "the answer as JSON, for programs")
	socket = f.String("socket", api.DefaultSocket, "the `path` at which the daemon listens")
	if cmd.options != nil {
		cmd.options(f)
	}
	return f, socket
}

// parse takes options and arguments in any order; after -- all are arguments.
func (cmd command) parse(c *call, args []string) (socket string, err error) {
	f, s := cmd.flags(c)
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			return "", usage("%w; `sanctl help %s` shows the options", err, cmd.name)
		}
		rest := f.Args()
		if consumed := args[:len(args)-len(rest)]; len(consumed) > 0 && consumed[len(consumed)-1] == "--" {
			c.args = append(c.args, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		c.args, args = append(c.args, rest[0]), rest[1:]
	}
	switch n := len(c.args); {
	case n < cmd.min:
		return "", usage("needs %s; `sanctl help %s` shows how to use it", cmd.args, cmd.name)
	case cmd.max >= 0 && n > cmd.max:
		return "", usage("%q is too much; `sanctl help %s` shows how to use it", c.args[cmd.max], cmd.name)
	}
	return *s, nil
}

// find returns the command that args begin with, and what follows it.
func find(all []command, args []string) (command, []string, bool) {
	var best command
	var rest []string
	for _, cmd := range all {
		words := strings.Fields(cmd.name)
		if len(args) >= len(words) && strings.Join(args[:len(words)], " ") == cmd.name && (best.name == "" || len(words) > len(strings.Fields(best.name))) {
			best, rest = cmd, args[len(words):]
		}
	}
	return best, rest, best.name != ""
}

// printJSON writes v for programs.
func (c *call) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// print writes text, or v if JSON is wanted.
func (c *call) print(v any, text string) error {
	if c.json {
		return c.printJSON(v)
	}
	_, err := io.WriteString(c.stdout, text)
	return err
}

// confirm asks a person to type word, which names what would be lost. yes skips
// it. Nobody is asked if the input is no terminal: that is a refusal.
func (c *call) confirm(yes bool, question, word string) error {
	if yes {
		return nil
	}
	if !isTerminal(c.stdin) {
		return errors.New("needs to be confirmed, and the input is no terminal; give --yes if you are sure")
	}
	fmt.Fprintf(c.stderr, "%s\nType %s to go on: ", question, word)
	line, err := readLine(c.stdin)
	if err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if strings.TrimSpace(line) != word {
		return errors.New("nothing was done: that is not what was to be typed")
	}
	return nil
}
