// Package console is init's side of the machine's consoles, each screen and
// serial line that the kernel uses as one: it writes what happens to all of
// them, and gives a person at any of them a shell. A console that is slow,
// stopped by Ctrl-S or not there never holds init up.
package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Active returns the names of the terminals that are the kernel's consoles
// ("tty1", "ttyS0"), from /sys/class/tty/console/active. extra are added if
// they aren't among them. tty0 means the screen in front, whose first terminal
// is tty1.
func Active(sysfs string, extra ...string) []string {
	// Without the file there is no console but the extra ones.
	b, _ := os.ReadFile(filepath.Join(sysfs, "class", "tty", "console", "active"))
	var names []string
	for _, n := range append(strings.Fields(string(b)), extra...) {
		if n == "tty0" {
			n = "tty1"
		}
		if !slices.Contains(names, n) && !strings.Contains(n, "/") {
			names = append(names, n)
		}
	}
	return names
}

// open opens a terminal without becoming its owner and without waiting for a
// carrier on a serial line.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open console: %w", err)
	}
	return f, nil
}

const (
	queued    = 256              // lines that wait for a slow console
	lineLimit = 10 * time.Second // for a line to get out
	reopen    = 30 * time.Second // before a console that failed is tried again
)

// A Writer writes lines to consoles. A console that can't keep up loses
// lines, and is told how many. Safe for concurrent use.
type Writer struct {
	outs []*out
}

type out struct {
	path   string
	lines  chan []byte
	unsent []byte // used by run only

	mu      sync.Mutex
	dropped int
}

// NewWriter makes a Writer for the terminals of that name in dev, "/dev".
// Nothing is written until Run runs.
func NewWriter(dev string, names []string) *Writer {
	w := &Writer{}
	for _, n := range names {
		w.outs = append(w.outs, &out{path: filepath.Join(dev, n), lines: make(chan []byte, queued)})
	}
	return w
}

// Write queues one or more whole lines. It never blocks or fails.
func (w *Writer) Write(b []byte) (int, error) {
	line := append([]byte(nil), b...)
	for _, o := range w.outs {
		select {
		case o.lines <- line:
		default:
			o.mu.Lock()
			o.dropped++
			o.mu.Unlock()
		}
	}
	return len(b), nil
}

func (w *Writer) String() string { return "console output" }

// Ready implements task.Task; lines may be written at any time.
func (w *Writer) Ready() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// Run writes to all consoles until ctx is done, and then what is queued, for
// at most a second. It may be called again after it returned.
func (w *Writer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, o := range w.outs {
		wg.Go(func() { o.run(ctx) })
	}
	wg.Wait()
	return nil
}

func (o *out) run(ctx context.Context) {
	for {
		worked, err := o.write(ctx)
		if ctx.Err() != nil || err == nil {
			return
		}
		if worked {
			// The kernel hangs a terminal up when a shell on it ends, for
			// everybody who has it open. Opened anew it works.
			continue
		}
		// There is nowhere to tell it: this is where it would be told.
		select {
		case <-ctx.Done():
			return
		case <-time.After(reopen):
		}
	}
}

// write opens the console and writes to it until ctx is done or it fails. It
// reports whether anything could be written.
func (o *out) write(ctx context.Context) (worked bool, err error) {
	f, err := open(o.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		if o.unsent != nil {
			if err := o.line(f, o.unsent); err != nil {
				return worked, err
			}
			o.unsent, worked = nil, true
		}
		select {
		case <-ctx.Done():
			return worked, o.flush(f)
		case o.unsent = <-o.lines:
		}
	}
}

// flush writes what is queued, for at most a second.
func (o *out) flush(f *os.File) error {
	_ = f.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		select {
		case line := <-o.lines:
			if _, err := f.Write(line); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (o *out) line(f *os.File, line []byte) error {
	o.mu.Lock()
	dropped := o.dropped
	o.dropped = 0
	o.mu.Unlock()
	if dropped > 0 {
		line = fmt.Appendf(nil, "(%d lines were left out: the console was too slow)\n%s", dropped, line)
	}
	// Not every terminal's driver can wait with a limit; then it waits.
	_ = f.SetWriteDeadline(time.Now().Add(lineLimit))
	_, err := f.Write(line)
	if os.IsTimeout(err) { // stopped by Ctrl-S: lose the line, go on
		o.mu.Lock()
		o.dropped++
		o.mu.Unlock()
		return nil
	}
	return err
}

var _ io.Writer = (*Writer)(nil)
