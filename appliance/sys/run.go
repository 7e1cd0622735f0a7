package sys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// MaxOutput is how many bytes of each of standard output and standard error
// a command may write. A command that writes more fails: half an answer is
// none.
const MaxOutput = 8 << 20

// killDelay is how long a cancelled command may take to end after SIGTERM,
// before it is killed.
const killDelay = 10 * time.Second

// A Command is a program to run, without any shell in between.
type Command struct {
	Name  string   // path, or a name looked up in PATH
	Args  []string // without the name itself
	Env   []string // added to this process's environment, "KEY=value"
	Stdin io.Reader
}

// String is the command as a person would type it, for logs and errors.
func (c Command) String() string {
	var b strings.Builder
	b.WriteString(c.Name)
	for _, a := range c.Args {
		b.WriteByte(' ')
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\|&;<>()$`*?[]#~") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}

// Output is what a command wrote, each stream by itself.
type Output struct {
	Stdout, Stderr []byte
}

// A Runner runs programs. It is safe for concurrent use.
type Runner interface {
	// Run runs c to its end. A command that ran but failed gives an
	// *ExitError; Output holds what it wrote in that case too. When ctx is
	// cancelled the command gets SIGTERM, later SIGKILL, and Run returns once
	// it has ended.
	Run(ctx context.Context, c Command) (Output, error)
}

// ExitError is the failure of a command that could be started.
type ExitError struct {
	Command string
	Code    int // the exit code, or -1 if a signal ended it
	Stderr  string
}

func (e *ExitError) Error() string {
	why := fmt.Sprintf("exit code %d", e.Code)
	if e.Code < 0 {
		why = "ended by a signal"
	}
	if s := strings.TrimSpace(e.Stderr); s != "" {
		return fmt.Sprintf("%s: %s: %s", e.Command, why, strings.Join(strings.Fields(s), " "))
	}
	return e.Command + ": " + why
}

// Exec is the Runner that starts real processes.
type Exec struct{}

var _ Runner = Exec{}

// Run implements Runner.
func (Exec) Run(ctx context.Context, c Command) (Output, error) {
	var stdout, stderr limitedBuffer
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = c.Stdin
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay

	err := cmd.Run()
	out := Output{Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out, fmt.Errorf("%s: %w", c, context.Cause(ctx))
	case stdout.overflow || stderr.overflow:
		return out, fmt.Errorf("%s: wrote more than %d bytes", c, MaxOutput)
	case errors.As(err, &exit):
		return out, &ExitError{Command: c.String(), Code: exit.ExitCode(), Stderr: stderr.buf.String()}
	case err != nil:
		return out, fmt.Errorf("cannot run %s: %w", c.Name, err)
	}
	return out, nil
}

// limitedBuffer keeps the first MaxOutput bytes and swallows the rest, so that
// the command doesn't block on a full pipe.
type limitedBuffer struct {
	buf      bytes.Buffer
	overflow bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := len(p)
	if room := MaxOutput - b.buf.Len(); n > room {
		b.overflow = true
		p = p[:room]
	}
	b.buf.Write(p)
	return n, nil
}
