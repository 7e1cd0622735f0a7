// Command sanctl asks the appliance daemon what it is doing.
//
// It exits with 0 if the question was answered, 1 if it could not be, and 2 if
// it was called wrongly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"sanstick/appliance/api"
)

const usage = `sanctl tells what this storage appliance is doing.

Usage:
  sanctl status [--json] [--socket PATH]
        Health first, with what to do about every problem; then the
        configuration, network, pools with their disks (by serial number),
        volumes, targets and who is connected.
  sanctl help
        This text.

Options:
  --json          the answer as JSON, for programs
  --socket PATH   where the daemon listens (` + api.DefaultSocket + `)

Examples:
  sanctl status
  sanctl status --json | grep serial

Exit status: 0 answered (also if something is degraded: read the health),
1 the daemon could not be asked, 2 wrong usage.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "help", "--help", "-help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	case "status":
		return runStatus(ctx, args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "sanctl: there is no %q; `sanctl help` shows what there is\n", args[0])
	return 2
}

func runStatus(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sanctl status", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	asJSON := flags.Bool("json", false, "")
	socket := flags.String("socket", api.DefaultSocket, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is not an option", flags.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "sanctl status: %v; `sanctl help` shows the options\n", err)
		return 2
	}

	client := api.NewClient(*socket)
	defer client.Close()
	s, err := client.Status(ctx)
	if err == nil && *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(s)
	} else if err == nil {
		_, err = io.WriteString(stdout, render(s))
	}
	if err != nil {
		fmt.Fprintf(stderr, "sanctl: %v\n", err)
		return 1
	}
	return 0
}
