package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"sanstick/init/internal/guard"
)

// Backoff says how long to wait before a program that ended is started again.
type Backoff struct {
	Min, Max time.Duration // the first pause, and the longest
	Healthy  time.Duration // having run that long, it starts with Min again
}

// Next returns the pause after a run that took ran, last being the pause
// before that run.
func (b Backoff) Next(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= b.Healthy {
		return b.Min
	}
	return min(2*last, b.Max)
}

// DaemonOptions describe a Daemon. All fields but Died are needed.
type DaemonOptions struct {
	Reaper  *Reaper
	Spec    Spec // Files are set by the Daemon
	Output  io.Writer
	Backoff Backoff
	Grace   time.Duration // from SIGTERM to SIGKILL when it is to stop
	Died    func()        // told each time that the program has ended by itself
	Log     *slog.Logger
}

// A Daemon keeps a program running: whenever it ends, for whatever reason, it
// is started again after a pause. It is a task.Task, ready once the program
// has been started for the first time.
type Daemon struct {
	o     DaemonOptions
	once  sync.Once
	ready chan struct{}
}

// NewDaemon makes a Daemon.
func NewDaemon(o DaemonOptions) *Daemon {
	return &Daemon{o: o, ready: make(chan struct{})}
}

func (d *Daemon) String() string         { return d.o.Spec.Path }
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// Run implements task.Task. When ctx is done it ends the program by SIGTERM,
// and if that takes longer than Grace, kills it and what it started.
func (d *Daemon) Run(ctx context.Context) error {
	// One pipe for all runs: nothing of the last words is lost, and processes
	// left over from the last run still have somewhere to write to.
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make pipe: %w", err)
	}
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		if err := guard.Call(func() error { return pump(d.o.Output, r) }); err != nil {
			d.o.Log.Error("Cannot pass on output", "program", d.o.Spec.Path, "err", err)
		}
	}()
	defer func() {
		w.Close()
		// Those left over may hold the other end: what they wrote is read,
		// what they will write isn't waited for.
		_ = r.SetReadDeadline(time.Now().Add(drain))
		<-pumped
		r.Close()
	}()

	spec := d.o.Spec
	spec.Files = []*os.File{nil, w, w}
	for pause := time.Duration(0); ctx.Err() == nil; {
		started := time.Now()
		end := d.runOnce(ctx, spec)
		if ctx.Err() != nil {
			return nil
		}
		if d.o.Died != nil {
			d.o.Died()
		}
		ran := time.Since(started)
		pause = d.o.Backoff.Next(pause, ran)
		d.o.Log.Error("The daemon ended, starting it again", "program", spec.Path, "end", end,
			"ran", ran.Round(time.Millisecond), "after", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	return nil
}

const drain = 200 * time.Millisecond

// runOnce runs the program until it ends or ctx is done, and tells how it
// ended.
func (d *Daemon) runOnce(ctx context.Context, spec Spec) string {
	c, err := d.o.Reaper.Start(spec)
	if err != nil {
		return err.Error()
	}
	d.once.Do(func() { close(d.ready) })
	select {
	case <-c.Done():
		return c.Exit()
	case <-ctx.Done():
	}
	c.Signal(syscall.SIGTERM)
	select {
	case <-c.Done():
	case <-time.After(d.o.Grace):
		d.o.Log.Error("The daemon doesn't end, killing it", "program", spec.Path, "after", d.o.Grace)
		c.Kill()
	}
	return c.Exit()
}

// pump copies lines from r to w until the end or the deadline of r. A write
// error doesn't stop it: the program must never block for want of a reader.
func pump(w io.Writer, r io.Reader) error {
	lines := newLineReader(r)
	for {
		line, err := lines.next()
		if len(line) > 0 {
			_, _ = w.Write(line)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}
