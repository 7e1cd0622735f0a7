// Package coldplug loads drivers without udev: for the devices that are there
// at boot, by the modaliases in sysfs, and for those that appear later, by
// the kernel's uevents. Which module is for which device comes from depmod's
// files. It makes no device nodes (devtmpfs does) and no names or links.
package coldplug

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sanstick/appliance/sys"
	"sanstick/init/internal/guard"
)

// Task loads what is always needed and the drivers for all devices, then what
// nothing waits for, and then drivers for new devices. It is a task.Task, ready once the drivers for all
// devices that were there at the start are loaded.
type Task struct {
	modules *Modules
	sysfs   string
	listen  func() (sys.UeventSource, error)
	workers int
	log     *slog.Logger

	once  sync.Once
	ready chan struct{}
}

// NewTask makes a Task. sysfs is where sysfs is mounted, workers how many
// drivers are loaded at the same time at first. A nil log discards.
func NewTask(m *Modules, sysfs string, listen func() (sys.UeventSource, error), workers int, log *slog.Logger) *Task {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Task{modules: m, sysfs: sysfs, listen: listen, workers: max(workers, 1), log: log, ready: make(chan struct{})}
}

func (t *Task) String() string         { return "coldplug" }
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Run implements task.Task. It fails only when devices can't be seen at all;
// a module that can't be loaded is logged.
func (t *Task) Run(ctx context.Context) error {
	// Listening comes first, so that nothing appears unseen after the walk.
	src, err := t.listen()
	if err != nil {
		return err
	}
	defer src.Close()

	for _, name := range needed() {
		t.preload(name)
	}
	if err := t.loadAll(ctx); err != nil {
		return err
	}
	if err := t.settle(ctx, src); err != nil {
		return err
	}
	t.once.Do(func() { close(t.ready) })
	for _, name := range later() {
		t.preload(name)
	}
	return t.follow(ctx, src)
}

// A driver that hangs mustn't keep the next device from getting its own.
const followers = 4

// follow loads drivers for devices that appear until ctx is done.
func (t *Task) follow(ctx context.Context, src sys.UeventSource) error {
	var g errgroup.Group
	g.SetLimit(followers)
	defer g.Wait()
	for {
		e, err := src.Receive(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, sys.ErrUeventsLost):
			t.log.Warn("Uevents were lost, looking at all devices again")
			if err := t.loadAll(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if alias := wanted(e); alias != "" {
				g.Go(func() error { t.loadAlias(alias); return nil })
			}
		}
	}
}

// A driver's own devices (a virtio disk behind its PCI function) are
// announced while it loads, so what the kernel has to say is there at once.
const (
	quiet      = 20 * time.Millisecond
	maxPending = 4096
)

// settle loads drivers for what other drivers made appear, until nothing new
// comes.
func (t *Task) settle(ctx context.Context, src sys.UeventSource) error {
	for {
		aliases, err := pending(ctx, src)
		if errors.Is(err, sys.ErrUeventsLost) {
			aliases, err = Aliases(t.sysfs)
		}
		if err != nil || len(aliases) == 0 {
			return err
		}
		t.load(ctx, aliases)
	}
}

// pending returns the modaliases of the events that wait to be received. It
// returns none, without an error, when ctx is done.
func pending(ctx context.Context, src sys.UeventSource) ([]string, error) {
	var aliases []string
	for len(aliases) < maxPending {
		wait, cancel := context.WithTimeout(ctx, quiet)
		e, err := src.Receive(wait)
		over := wait.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case err != nil && over:
			return aliases, nil
		case err != nil:
			return nil, err
		}
		if a := wanted(e); a != "" {
			aliases = append(aliases, a)
		}
	}
	return aliases, nil
}

// loadAll loads the drivers of all devices that are there.
func (t *Task) loadAll(ctx context.Context) error {
	start := time.Now()
	aliases, err := Aliases(t.sysfs)
	if err != nil {
		return err
	}
	walked := time.Now()
	t.load(ctx, aliases)
	t.log.Debug("Loaded drivers", "devices", len(aliases), "walk", walked.Sub(start), "load", time.Since(walked))
	return nil
}

// load loads the drivers for the modaliases, several at a time.
func (t *Task) load(ctx context.Context, aliases []string) {
	var g errgroup.Group
	g.SetLimit(t.workers)
	for _, a := range aliases {
		g.Go(func() error {
			if ctx.Err() == nil {
				t.loadAlias(a)
			}
			return nil
		})
	}
	_ = g.Wait() // what fails is logged where it fails
}

func (t *Task) preload(name string) {
	err := guard.Call(func() error { return t.modules.LoadName(name) })
	if err != nil && !errors.Is(err, ErrUnknown) {
		t.log.Warn("Cannot preload", "err", err)
	}
}

func (t *Task) loadAlias(alias string) {
	if err := guard.Call(func() error { return t.modules.LoadAlias(alias) }); err != nil {
		t.log.Warn("Cannot load driver", "device", alias, "err", err)
	}
}
