// Package supervise starts and reaps processes as PID 1 must: every process
// whose parent died becomes ours, so one place waits for all (Reaper), and
// one program is kept running (Daemon).
//
// Nothing in init may use os/exec: its Wait and the Reaper would take each
// other's exit statuses.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// A Reaper collects the exit status of every child process. Its Run must be
// running for children to end. Safe for concurrent use.
type Reaper struct {
	mu        sync.Mutex // held over fork and wait: a child is registered before its exit can be seen
	children  map[int]*Child
	changed   chan struct{} // closed and replaced after each collection
	childless bool
}

// NewReaper makes a Reaper.
func NewReaper() *Reaper {
	return &Reaper{children: make(map[int]*Child), changed: make(chan struct{})}
}

// A Spec tells what to start.
type Spec struct {
	Path  string
	Args  []string // without the program's name
	Env   []string
	Files []*os.File // 0, 1, 2, ...; nil is /dev/null
	// Terminal makes file 0, a terminal, the one that controls the process.
	Terminal bool
}

// A Child is a process that a Reaper started. It leads a session of its own.
type Child struct {
	reaper *Reaper
	pid    int
	done   chan struct{}
	status syscall.WaitStatus // set before done is closed
}

// Start starts a process. Whoever starts one waits for Done, or leaves it to
// the end of the machine.
func (r *Reaper) Start(s Spec) (*Child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.Path, err)
	}
	defer null.Close()
	fds := make([]uintptr, 3)
	for i := range fds {
		fds[i] = null.Fd()
		if i < len(s.Files) && s.Files[i] != nil {
			fds[i] = s.Files[i].Fd()
		}
	}
	attr := &syscall.ProcAttr{
		Dir: "/", Env: s.Env, Files: fds,
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: s.Terminal, Ctty: 0},
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(s.Path, append([]string{s.Path}, s.Args...), attr)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", s.Path, err)
	}
	c := &Child{reaper: r, pid: pid, done: make(chan struct{})}
	r.children[pid] = c
	r.childless = false
	return c, nil
}

// Run collects children until ctx is done. It is a task's Run, and may be
// called again after it returned.
func (r *Reaper) Run(ctx context.Context) error {
	// One is enough: the signal says that there is something to collect, not
	// how much. It is subscribed before the first look, so nothing is missed.
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGCHLD)
	defer signal.Stop(ch)
	for {
		r.collect()
		select {
		case <-ctx.Done():
			return nil
		case <-ch:
		}
	}
}

// Ready implements task.Task: children may be started at any time.
func (r *Reaper) Ready() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

func (r *Reaper) String() string { return "reaper" }

// collect takes the status of all children that have ended.
func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			r.childless = errors.Is(err, syscall.ECHILD)
			close(r.changed)
			r.changed = make(chan struct{})
			return
		}
		if c := r.children[pid]; c != nil { // otherwise an orphan
			delete(r.children, pid)
			c.status = status
			close(c.done)
		}
	}
}

// WaitChildless waits until this process has no child left, and for PID 1
// that is: until no other process is left. It returns ctx's error if that
// comes first.
func (r *Reaper) WaitChildless(ctx context.Context) error {
	for {
		r.collect()
		r.mu.Lock()
		childless, changed := r.childless, r.changed
		r.mu.Unlock()
		if childless {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// RunOnce starts a program and waits for its end; once ctx is done it is
// killed. A status other than 0 is an error.
func (r *Reaper) RunOnce(ctx context.Context, s Spec) error {
	c, err := r.Start(s)
	if err != nil {
		return err
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		c.Kill()
		return fmt.Errorf("cannot finish %s: %w", s.Path, ctx.Err())
	}
	if c.status != 0 {
		return fmt.Errorf("%s ended with %s", s.Path, c.Exit())
	}
	return nil
}

// PID returns the process's number.
func (c *Child) PID() int { return c.pid }

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Exit tells how the process ended: "exit code 3", "signal killed".
func (c *Child) Exit() string {
	select {
	case <-c.done:
	default:
		return "nothing yet: it still runs"
	}
	switch s := c.status; {
	case s.Signaled() && s.CoreDump():
		return fmt.Sprintf("signal %s (core dumped)", s.Signal())
	case s.Signaled():
		return fmt.Sprintf("signal %s", s.Signal())
	default:
		return fmt.Sprintf("exit code %d", s.ExitStatus())
	}
}

// Signal sends sig to the process if it hasn't ended.
func (c *Child) Signal(sig syscall.Signal) { c.kill(c.pid, sig) }

// SignalGroup sends sig to the process and those it started in its group, if
// it hasn't ended.
func (c *Child) SignalGroup(sig syscall.Signal) { c.kill(-c.pid, sig) }

// A process that waits for a broken disk doesn't die before the disk answers.
const deathLimit = 5 * time.Second

// Kill kills the process and its group and waits for its end, but not
// forever.
func (c *Child) Kill() {
	c.SignalGroup(syscall.SIGKILL)
	select {
	case <-c.done:
	case <-time.After(deathLimit):
	}
}

// kill holds the lock, so the number can't have gone to another process.
func (c *Child) kill(pid int, sig syscall.Signal) {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	if c.reaper.children[c.pid] == c {
		_ = syscall.Kill(pid, sig) // gone already: what was wanted
	}
}
