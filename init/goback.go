package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/init/internal/guard"
	"sanstick/init/internal/trial"
)

const (
	goBackPause = 15 * time.Second // for somebody at the console who wants to see what is wrong
	syncLimit   = 10 * time.Second // disks may not answer any more
)

// goBack is what comes before the rescue shell when init itself has failed. A
// version on trial has nobody who waits at its console, and perhaps no watchdog
// yet: the machine is restarted, and the boot loader takes the version before.
type goBack struct {
	cmdline   string                   // the file with the kernel's command line
	confirmed string                   // the file that is there once the version is kept
	asked     func(time.Duration) bool // waits for somebody at the console; true: there is one
	restart   func() error             // doesn't return on success
	out       io.Writer
}

func newGoBack() goBack {
	return goBack{
		cmdline: "/proc/cmdline", confirmed: confirmed, out: os.Stderr, restart: restartNow,
		asked: func(limit time.Duration) bool { return askedAt("/dev/console", limit) },
	}
}

// unless restarts the machine, unless this version is to stay, somebody wants
// a shell, or it can't. Where nobody can tell whether this is a trial, it is
// taken for one.
func (g goBack) unless(cause error) error {
	line, err := os.ReadFile(g.cmdline)
	if err == nil && !trial.On(string(line)) {
		return nil
	}
	if _, err := os.Stat(g.confirmed); err == nil {
		return nil
	}
	why := "this version is on trial"
	if err != nil {
		why = "it may be on trial: " + err.Error()
	}
	fmt.Fprintf(g.out, "\ninit: cannot go on: %v\ninit: %s; the machine restarts in %v, unless somebody presses Enter here\n", cause, why, goBackPause)
	if g.asked(goBackPause) {
		return nil
	}
	return g.restart()
}

// askedAt waits until there is a line of input, at most for limit.
func askedAt(path string, limit time.Duration) bool {
	end := time.Now().Add(limit)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		<-time.After(limit)
		return false
	}
	defer f.Close()
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for left := limit; left > 0; left = time.Until(end) {
		_, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if err == nil && fds[0].Revents&unix.POLLIN != 0 {
			if n, err := unix.Read(int(fds[0].Fd), make([]byte, 256)); n > 0 && err == nil {
				return true
			}
		}
		if err == nil && fds[0].Revents != 0 || err != nil {
			<-time.After(min(100*time.Millisecond, left)) // a line that hangs up answers at once: don't spin
		}
	}
	return false
}

// restartNow writes back what it can, and restarts the machine.
func restartNow() error {
	done := make(chan error, 1)
	go func() { done <- guard.Call(func() error { unix.Sync(); return nil }) }()
	select {
	case <-done:
	case <-time.After(syncLimit):
	}
	return sys.KernelPower{}.Reboot()
}
