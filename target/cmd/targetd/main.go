// Command targetd serves files, block devices or RAM over iSCSI from any Linux
// box. It is for debugging, conformance runs and benchmarks. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sanstick/target"
)

func main() {
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
	if err := run(ctx, o, log); err != nil {
		fmt.Fprintf(os.Stderr, "targetd: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx is cancelled, then flushes and closes all devices.
func run(ctx context.Context, o *options, log *slog.Logger) (err error) {
	var disks disks
	defer func() { err = errors.Join(err, disks.close()) }()
	if err := disks.open(o); err != nil {
		return err
	}
	srv, err := target.New(target.Options{Log: log})
	if err != nil {
		return err
	}
	err = srv.Add(target.Config{IQN: o.iqn, LUNs: disks.luns, Initiators: o.initiators, CHAP: o.chap, Mutual: o.mutual})
	if err != nil {
		return err
	}
	var listeners []net.Listener
	for _, addr := range o.listen {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return fmt.Errorf("cannot listen: %w", err)
		}
		listeners = append(listeners, l)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		fmt.Printf("serving %s on %s\ntry: iscsi-ls -s iscsi://%s\n", o.iqn, l.Addr(), l.Addr())
		g.Go(func() error { return srv.Serve(ctx, l) })
	}
	return g.Wait()
}
