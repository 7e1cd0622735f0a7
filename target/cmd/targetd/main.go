// Command targetd serves files, block devices or RAM over iSCSI from any Linux
// box. It is for debugging, conformance runs and benchmarks. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"sanstick/target"
)

func main() {
	target.SpareProcs()
	o, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "targetd: %v\nTry targetd --help.\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	reload := make(chan os.Signal, 1)
	if o.config != "" {
		signal.Notify(reload, unix.SIGHUP)
	}
	if err := run(ctx, o, log, reload); err != nil {
		fmt.Fprintf(os.Stderr, "targetd: %v\n", err)
		os.Exit(1)
	}
}
