// Command sanctl asks the appliance daemon what it is doing, and tells it what
// to do.
//
// It exits with 0 if that was done, 1 if not, and 2 if it was called wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"sanstick/appliance/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands are all verbs, in the order of the help.
func commands() []command {
	var all []command
	for _, area := range [][]command{
		statusCommands(),
		volumeCommands(),
		configCommands(),
		inventoryCommands(),
		hardwareCommands(),
		diskCommands(),
		arrayCommands(),
		mendCommands(),
		poolCommands(),
		spaceCommands(),
		transferCommands(),
		updateCommands(),
	} {
		all = append(all, area...)
	}
	return all
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	all := commands()
	if len(args) == 0 {
		fmt.Fprint(stderr, overview(all))
		return 2
	}
	if text, ok := help(all, args); ok {
		fmt.Fprint(stdout, text)
		return 0
	}
	if len(args) > 1 && args[0] == "help" {
		args = args[1:]
	}
	cmd, rest, ok := find(all, args)
	if !ok {
		fmt.Fprintf(stderr, "sanctl: %s\n", unknown(all, args))
		return 2
	}
	c := &call{stdin: stdin, stdout: stdout, stderr: stderr}
	fail := func(err error) int {
		fmt.Fprintf(stderr, "sanctl %s: %v\n", cmd.name, err)
		var wrong usageError
		if errors.As(err, &wrong) {
			return 2
		}
		return 1
	}
	socket, err := cmd.parse(c, rest)
	if err != nil {
		return fail(err)
	}
	c.client = api.NewClient(socket)
	defer c.client.Close()
	if err := cmd.run(ctx, c); err != nil {
		c.endProgress()
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fail(err)
	}
	c.endProgress()
	return 0
}
