// Package trial sees to it that a version of the appliance that was booted on
// trial doesn't stay if it is no good. The daemon decides that; this package is
// there for when it can't: it hangs, dies again and again, or never comes up.
// The machine is restarted then, and the boot loader goes back to the version
// before. Should this process or the kernel hang, a watchdog restarts it.
package trial

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a trial.
const (
	// Limit is how long the daemon may take to say that this version is kept. It
	// gives up by itself somewhat earlier.
	Limit = 8 * time.Minute
	// Deaths is how often the daemon may die.
	Deaths = 5

	period    = 2 * time.Second
	margin    = 60 * time.Second  // of a watchdog, while all is well
	lastWords = 180 * time.Second // of a watchdog, for going down in order
)

// On tells from the kernel's command line whether this is a trial.
func On(cmdline string) bool { return slices.Contains(strings.Fields(cmdline), "mode=try") }

// A Watchdog restarts the machine when it isn't fed in time, also when whoever
// fed it is gone.
type Watchdog interface {
	// Feed gives it that long from now on.
	Feed(time.Duration) error
	// Disarm ends it.
	Disarm() error
}

// Options describe a Trial. All fields are needed.
type Options struct {
	Confirmed string // the file that the daemon makes when this version is kept
	Dev       string // where devices are: /dev
	Open      func(path string) (Watchdog, error)
	Restart   func() // asks for a restart in order; may be called again
	Log       *slog.Logger
}

// Trial is a task.Task.
type Trial struct {
	o     Options
	ready chan struct{}
	once  sync.Once

	mu     sync.Mutex // guards what follows
	deaths int
	began  time.Time
	over   bool // one way or the other
	dogs   map[string]Watchdog
}

// New begins a trial. Run must follow.
func New(o Options) *Trial {
	return &Trial{o: o, ready: make(chan struct{}), began: time.Now(), dogs: map[string]Watchdog{}}
}

func (t *Trial) String() string         { return "trial" }
func (t *Trial) Ready() <-chan struct{} { return t.ready }

// DaemonDied is told each time that the daemon has ended. It never blocks for
// long.
func (t *Trial) DaemonDied() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deaths++; t.deaths == Deaths && !t.over {
		t.restart("the appliance died again and again")
	}
}

// restart goes back. It must hold mu.
func (t *Trial) restart(why string) {
	t.over = true
	t.o.Log.Error("The version on trial is no good; going back to the one before", "why", why)
	t.o.Restart()
}

// Run implements task.Task. When it is cancelled before the version is kept,
// the watchdogs stay armed for as long as going down may take.
func (t *Trial) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		t.look(time.Now())
		t.once.Do(func() { close(t.ready) })
		select {
		case <-ctx.Done():
			t.leave()
			return nil
		case <-tick.C:
		}
	}
}

// look sees how things are, and feeds the watchdogs.
func (t *Trial) look(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		t.feed(lastWords) // once: an end that doesn't come is enforced
		return
	}
	if _, err := os.Stat(t.o.Confirmed); err == nil {
		t.over = true
		t.o.Log.Info("The version on trial is kept")
		for path, d := range t.dogs {
			if err := d.Disarm(); err != nil {
				t.o.Log.Error("Cannot disarm a watchdog", "device", path, "err", err)
			}
		}
		clear(t.dogs)
		return
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.o.Log.Error("Cannot tell whether the version on trial is kept", "err", err)
	}
	if now.Sub(t.began) > Limit {
		t.restart("the appliance isn't healthy after " + Limit.String())
		t.feed(lastWords)
		return
	}
	t.find()
	t.feed(margin)
}

// find opens watchdogs that have come. Some belong to the machine, and come
// with their drivers.
func (t *Trial) find() {
	paths, _ := filepath.Glob(filepath.Join(t.o.Dev, "watchdog[0-9]*")) // the pattern is right
	for _, p := range paths {
		if t.dogs[p] != nil {
			continue
		}
		d, err := t.o.Open(p)
		if err != nil {
			t.o.Log.Warn("Cannot use a watchdog", "device", p, "err", err)
			continue
		}
		t.dogs[p] = d
	}
}

func (t *Trial) feed(d time.Duration) {
	for path, dog := range t.dogs {
		if err := dog.Feed(d); err != nil {
			t.o.Log.Warn("Cannot feed a watchdog", "device", path, "err", err)
		}
		if t.over {
			delete(t.dogs, path)
		}
	}
}

// leave gives the machine the time that going down takes, and no more. Watchdogs
// are left if this version isn't kept and nobody has given them that time yet.
func (t *Trial) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.feed(lastWords)
}
