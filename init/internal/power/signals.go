// Package power ends the machine's run in order: it takes the wishes to do so
// (power button, Ctrl-Alt-Del, signals) and works through what has to happen
// before the power goes. Each step has a time limit: a machine that is told
// to go down does.
package power

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// An Action is what a person or a program wants of the machine.
type Action int

const (
	None Action = iota
	PowerOff
	Reboot
)

func (a Action) String() string {
	switch a {
	case PowerOff:
		return "power off"
	case Reboot:
		return "reboot"
	}
	return "nothing"
}

// ForSignal returns what a signal to PID 1 means.
//
//	SIGINT            reboot     the kernel sends it on Ctrl-Alt-Del
//	SIGTERM           reboot     the reboot command
//	SIGUSR2, SIGUSR1  power off  the poweroff command; halting means the same
//	SIGPWR            power off  a UPS's daemon, a container manager
func ForSignal(s os.Signal) Action {
	switch s {
	case syscall.SIGINT, syscall.SIGTERM:
		return Reboot
	case syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPWR:
		return PowerOff
	}
	return None
}

// Signals passes the wishes that come as signals on to a channel, and keeps
// the other signals from ending the process. It is a task.Task.
type Signals struct {
	wishes chan<- Action
	log    *slog.Logger
	ch     chan os.Signal
}

// NewSignals subscribes to the signals at once, so that none is lost or
// deadly from here on. wishes gets an action if it has room: one wish is
// enough.
func NewSignals(wishes chan<- Action, log *slog.Logger) *Signals {
	s := &Signals{wishes: wishes, log: log, ch: make(chan os.Signal, 8)}
	signal.Notify(s.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPWR,
		// Go programs die of these unless somebody takes them.
		syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGABRT,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGSYS, syscall.SIGTRAP, syscall.SIGIO, syscall.SIGSTKFLT,
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
		// Sent by somebody; a fault of our own is still a panic.
		syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL)
	return s
}

func (s *Signals) String() string { return "signals" }

// Ready implements task.Task: signals are taken since NewSignals.
func (s *Signals) Ready() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// Run implements task.Task.
func (s *Signals) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case sig := <-s.ch:
			if a := ForSignal(sig); a != None {
				s.log.Info("Asked by a signal", "signal", sig, "to", a)
				wish(s.wishes, a)
			}
		}
	}
}

func wish(ch chan<- Action, a Action) {
	select {
	case ch <- a:
	default: // an earlier wish is being carried out
	}
}
