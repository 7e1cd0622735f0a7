// Command appliance is the daemon that PID 1 supervises: it reads the
// configuration from the stick, sets up network and pools, and serves volumes.
// It takes no configuration from its command line.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/box"
)

const usage = `appliance runs this machine as a storage appliance.

  appliance            read /stick/appliance.toml and serve it, until SIGTERM
  appliance --release  deactivate all volumes, before the machine goes off

It is started by PID 1, which starts it again if it ends. To see what it does,
run "sanctl status". Its log is /run/log/appliance.log.
`

func main() {
	flags := flag.NewFlagSet("appliance", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	release := flags.Bool("release", false, "deactivate all volumes and end")
	verbose := flags.Bool("verbose", false, "log what only a developer wants to see")
	switch err := flags.Parse(os.Args[1:]); {
	case err == flag.ErrHelp:
		return
	case err != nil || flags.NArg() > 0:
		os.Exit(2)
	}
	if err := run(*release, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "appliance:", err)
		os.Exit(1)
	}
}

func run(release, verbose bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	o := box.Options{Log: log}
	if release {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return box.Release(ctx, o)
	}
	limitMemory()
	return box.Run(ctx, o)
}

// limitMemory lets the garbage collector work harder before this process takes
// more than half of the machine.
func limitMemory() {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		debug.SetMemoryLimit(int64(info.Totalram) * int64(info.Unit) / 2)
	}
}
