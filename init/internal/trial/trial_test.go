package trial

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOn(t *testing.T) {
	for line, want := range map[string]bool{"quiet slot=b mode=try": true, "mode=try": true, "slot=a mode=normal": false, "xmode=try": false, "": false} {
		if got := On(line); got != want {
			t.Errorf("On(%q) = %v", line, got)
		}
	}
}

// kennel is a machine's watchdogs.
type kennel struct {
	fed      map[string][]time.Duration
	disarmed map[string]bool
	restarts atomic.Int32
}

type dog struct {
	k    *kennel
	name string
}

func (d dog) Feed(t time.Duration) error {
	d.k.fed[d.name] = append(d.k.fed[d.name], t)
	return nil
}
func (d dog) Disarm() error { d.k.disarmed[d.name] = true; return nil }

func (k *kennel) trial(dir string) *Trial {
	k.fed, k.disarmed = map[string][]time.Duration{}, map[string]bool{}
	return New(Options{
		Confirmed: filepath.Join(dir, "confirmed"), Dev: dir,
		Open: func(path string) (Watchdog, error) {
			if filepath.Base(path) == "watchdog9" {
				return nil, errors.New("somebody else has it")
			}
			return dog{k, filepath.Base(path)}, nil
		},
		Restart: func() { k.restarts.Add(1) },
		Log:     slog.New(slog.DiscardHandler),
	})
}

func touch(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// last is what each watchdog was fed with in the end.
func (k *kennel) last() map[string]time.Duration {
	out := map[string]time.Duration{}
	for name, all := range k.fed {
		out[name] = all[len(all)-1]
	}
	return out
}

func run(t *testing.T, tr *Trial, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	do()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, k := t.TempDir(), &kennel{}
		touch(t, dir, "watchdog")
		touch(t, dir, "watchdog0")
		touch(t, dir, "watchdog9")
		run(t, k.trial(dir), func() {
			time.Sleep(time.Minute)
			touch(t, dir, "watchdog1") // its driver came later
			time.Sleep(time.Minute)
			touch(t, dir, "confirmed")
			time.Sleep(time.Hour)
		})
		if diff := cmp.Diff(map[string]bool{"watchdog0": true, "watchdog1": true}, k.disarmed); diff != "" || k.restarts.Load() != 0 {
			t.Errorf("%d restarts; disarmed (-want +got)\n%s", k.restarts.Load(), diff)
		}
		if n := len(k.fed["watchdog0"]); n < 59 || n > 61 {
			t.Errorf("fed %d times in two minutes", n)
		}
		if diff := cmp.Diff(map[string]time.Duration{"watchdog0": margin, "watchdog1": margin}, k.last()); diff != "" {
			t.Errorf("fed (-want +got)\n%s", diff)
		}
	})
}

// A version that isn't kept in time goes, and is forced to if it doesn't.
func TestTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, k := t.TempDir(), &kennel{}
		touch(t, dir, "watchdog0")
		run(t, k.trial(dir), func() {
			time.Sleep(Limit - time.Second)
			if k.restarts.Load() != 0 {
				t.Error("restarted early")
			}
			time.Sleep(time.Hour)
		})
		fed := k.fed["watchdog0"]
		if k.restarts.Load() != 1 || len(k.disarmed) != 0 || fed[len(fed)-1] != lastWords || fed[len(fed)-2] != margin {
			t.Errorf("%d restarts, disarmed %v, fed last with %v", k.restarts.Load(), k.disarmed, fed[len(fed)-2:])
		}
	})
}

func TestDaemonDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, k := t.TempDir(), &kennel{}
		touch(t, dir, "watchdog0")
		tr := k.trial(dir)
		run(t, tr, func() {
			for i := range 3 * Deaths {
				if want := i >= Deaths; (k.restarts.Load() > 0) != want {
					t.Errorf("%d restarts after %d deaths", k.restarts.Load(), i)
				}
				tr.DaemonDied()
				time.Sleep(3 * time.Second)
			}
		})
		if k.restarts.Load() != 1 || k.last()["watchdog0"] != lastWords {
			t.Errorf("%d restarts, fed with %v", k.restarts.Load(), k.last())
		}
	})
}

// Somebody switches the machine off during the trial.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, k := t.TempDir(), &kennel{}
		touch(t, dir, "watchdog0")
		run(t, k.trial(dir), func() { time.Sleep(time.Minute) })
		if k.restarts.Load() != 0 || len(k.disarmed) != 0 || k.last()["watchdog0"] != lastWords {
			t.Errorf("%d restarts, disarmed %v, fed with %v", k.restarts.Load(), k.disarmed, k.last())
		}
	})
}

// Restarting ends all parts of init at once: the watchdogs leave the time for
// that, whatever was first.
func TestEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, k := t.TempDir(), &kennel{}
		touch(t, dir, "watchdog0")
		tr := k.trial(dir)
		ctx, cancel := context.WithCancel(t.Context())
		tr.o.Restart = cancel
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		for range Deaths {
			time.Sleep(3 * time.Second)
			tr.DaemonDied()
		}
		if err := <-done; err != nil || k.last()["watchdog0"] != lastWords || len(k.disarmed) != 0 {
			t.Errorf("error %v, fed last with %v, disarmed %v; want %v", err, k.last(), k.disarmed, lastWords)
		}
	})
}
