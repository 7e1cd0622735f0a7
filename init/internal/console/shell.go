package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/init/internal/supervise"
)

// A Shell waits at a console for a person to press Enter, and then runs a
// shell there until it ends; then it waits again. It is a task.Task.
type Shell struct {
	path   string
	reaper *supervise.Reaper
	spec   supervise.Spec
	log    *slog.Logger

	once  sync.Once
	ready chan struct{}
}

// NewShell makes a Shell at the terminal of that name in dev. The spec's
// program gets the terminal as its own, and TERM for it.
func NewShell(dev, name string, r *supervise.Reaper, spec supervise.Spec, log *slog.Logger) *Shell {
	return &Shell{path: filepath.Join(dev, name), reaper: r, spec: spec, log: log, ready: make(chan struct{})}
}

func (s *Shell) String() string         { return "shell on " + s.path }
func (s *Shell) Ready() <-chan struct{} { return s.ready }

const (
	prompt  = "\r\nPress Enter for a shell.\r\n"
	retry   = 5 * time.Second // for a terminal that has no hardware or hung up
	hangup  = 2 * time.Second
	maxLine = 4096 // of a terminal's line, N_TTY_BUF_SIZE
)

// Run implements task.Task. When ctx is done, a running shell is hung up.
func (s *Shell) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue // the shell ended: the next may begin
		}
		// A serial line without hardware, or with nobody at its end: as good
		// as not there. Somebody may plug it in later.
		s.log.Debug("No shell here for now", "console", s.path, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return nil
}

// serve waits for Enter once, and runs the shell once.
func (s *Shell) serve(ctx context.Context) error {
	f, err := open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := makeSane(f); err != nil {
		return fmt.Errorf("cannot set up %s: %w", s.path, err)
	}
	s.once.Do(func() { close(s.ready) })
	if err := waitEnter(ctx, f); err != nil {
		return err
	}
	return s.runShell(ctx)
}

// waitEnter shows the prompt and reads a line.
func waitEnter(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = f.SetWriteDeadline(time.Now().Add(lineLimit))
	if _, err := f.WriteString(prompt); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("cannot write prompt: %w", err)
	}
	n, err := f.Read(make([]byte, maxLine))
	if err != nil {
		return fmt.Errorf("cannot read line: %w", err)
	}
	if n == 0 {
		return errors.New("cannot read line: terminal hung up")
	}
	return nil
}

func (s *Shell) runShell(ctx context.Context) error {
	// Opened anew: the shell expects reads that block, and that is a property
	// of what is opened, not of the terminal.
	tty, err := open(s.path)
	if err != nil {
		return err
	}
	defer tty.Close()
	tty.Fd() // makes it block
	spec := s.spec
	spec.Files = []*os.File{tty, tty, tty}
	spec.Terminal = true
	spec.Env = append(append([]string(nil), spec.Env...), "TERM="+term(s.path))
	c, err := s.reaper.Start(spec)
	if err != nil {
		s.log.Error("Cannot start a shell", "console", s.path, "err", err)
		return err
	}
	tty.Close()
	select {
	case <-c.Done():
		return nil
	case <-ctx.Done():
	}
	c.SignalGroup(syscall.SIGHUP)
	select {
	case <-c.Done():
	case <-time.After(hangup): // whoever ends the machine kills it
	}
	return nil
}

// makeSane sets the terminal up as a person expects it, whatever the last
// program left behind. The speed stays as the kernel's command line set it.
func makeSane(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var terr error
	err = raw.Control(func(fd uintptr) {
		var t *unix.Termios
		if t, terr = unix.IoctlGetTermios(int(fd), unix.TCGETS); terr != nil {
			return
		}
		sane(t)
		terr = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	})
	return errors.Join(err, terr)
}

func sane(t *unix.Termios) {
	t.Iflag = unix.ICRNL | unix.IXON | unix.IUTF8
	t.Oflag = unix.OPOST | unix.ONLCR
	t.Lflag = unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN
	// No carrier needed; a hang-up of the modem lines stays a hang-up.
	t.Cflag |= unix.CREAD | unix.CLOCAL
	t.Cc[unix.VINTR], t.Cc[unix.VQUIT], t.Cc[unix.VERASE], t.Cc[unix.VKILL] = 3, 28, 127, 21
	t.Cc[unix.VEOF], t.Cc[unix.VSUSP], t.Cc[unix.VSTART], t.Cc[unix.VSTOP] = 4, 26, 17, 19
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// term returns the kind of terminal at the other end.
func term(path string) string {
	name := strings.TrimPrefix(filepath.Base(path), "tty")
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		return "linux"
	}
	return "vt220"
}
