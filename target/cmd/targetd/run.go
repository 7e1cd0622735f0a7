package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"sanstick/target"
	"sanstick/target/statefile"
)

// run serves until ctx is cancelled, then flushes and closes all devices. What
// comes from reload makes it read the configuration file again.
func run(ctx context.Context, o *options, log *slog.Logger, reload <-chan os.Signal) (err error) {
	s := o.setup
	if o.profile != "" {
		stop, err := startProfile(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	to := target.Options{Log: log}
	if s.advertise != nil {
		to.Advertise = func(net.Addr) []string { return s.advertise }
	}
	srv, err := target.New(to)
	if err != nil {
		return err
	}
	d := &daemon{srv: srv, log: log, disks: make(map[string]*disk), targets: make(map[string]targetSpec)}
	if s.state != "" {
		if d.state, err = statefile.Open(s.state); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.state.Close()) }()
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.apply(s); err != nil {
		return err
	}
	listeners, err := s.listeners(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range listeners {
		for _, t := range s.targets {
			fmt.Printf("serving %s on %s\n", t.iqn, l.Addr())
		}
		fmt.Printf("try: iscsi-ls -s iscsi://%s\n", l.Addr())
		g.Go(func() error { return srv.ServePortal(ctx, l, s.portals[i].target()) })
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-reload:
				d.reload(o)
			}
		}
	})
	return g.Wait()
}

// reload reads the configuration file again and serves what it says. A file
// with an error changes nothing.
func (d *daemon) reload(o *options) {
	s, err := readConfig(o.config)
	if err != nil {
		d.log.Error("configuration not taken: nothing has changed", "error", err)
		return
	}
	if !slices.EqualFunc(s.portals, o.setup.portals, portal.same) || !slices.Equal(s.advertise, o.setup.advertise) || s.state != o.setup.state {
		d.log.Warn("listen, portal, advertise and state are read at the start only: the old ones hold until the next")
	}
	if err := d.apply(s); err != nil {
		d.log.Error("configuration not taken, or in part", "error", err)
		return
	}
	d.log.Info("configuration taken", "targets", len(s.targets), "disks", len(d.disks))
}
