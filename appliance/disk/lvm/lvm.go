// Package lvm drives LVM2's own tools, lvm and dmsetup, through one typed
// wrapper. It runs where there is no udev (see lvm.conf, which goes into the
// image as /etc/lvm/lvm.conf).
//
// It can't express the commands that lose data by mistake: no -ff, no
// vgreduce that removes volumes, no lvremove but of what is tagged for it. State is read as JSON; commands that
// change something are run without JSON, because their messages would end up
// in it.
package lvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/sys"
)

// SystemID is what lvm.conf makes this host's identity: groups with another
// one belong to another system.
const SystemID = "sanstick"

// A Client runs LVM's tools. It is safe for concurrent use: LVM has its own
// locks.
type Client struct {
	Runner  sys.Runner
	Log     *slog.Logger // nil discards
	LVM     string       // the program; empty: /sbin/lvm
	DMSetup string       // the program; empty: /sbin/dmsetup
	Mapper  Mapper       // tells what is active; nil: dmsetup does

	ThinDeltaProgram string // empty: /usr/sbin/thin_delta

	hide hidden
}

// PartialError says that LVM did only a part of what it was asked to, or
// nothing: exit code 5 covers everything between. Read the state to know.
type PartialError struct{ Err *sys.ExitError }

func (e *PartialError) Error() string { return e.Err.Error() }
func (e *PartialError) Unwrap() error { return e.Err }

// How long tools may take. A disk that doesn't answer any more must not hold
// up everything for ever.
const (
	// Activation checks the thin pools' metadata, up to 15 GiB of it on a slow
	// disk; ending a change halfway is the last thing to do.
	changeLimit = 30 * time.Minute
	// Reports read a little of each disk.
	reportLimit = 5 * time.Minute
	// The kernel knows its own status.
	statusLimit = 30 * time.Second
)

// lvm runs one LVM command that changes something. Once begun it isn't called off: LVM
// suspends volumes while it changes them, and if it is killed then, nobody wakes them,
// and whoever uses them hangs. A deadline counts all the same.
func (c *Client) lvm(ctx context.Context, args ...string) ([]byte, error) {
	if err := checkHarmless(args); err != nil {
		return nil, fmt.Errorf("command isn't run: lvm %s: %w", strings.Join(args, " "), err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deadline, limited := ctx.Deadline()
	if ctx = context.WithoutCancel(ctx); limited {
		var cancel func()
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	return c.runLVM(ctx, changeLimit, args)
}

// runLVM runs one LVM command, which sees what isn't hidden.
func (c *Client) runLVM(ctx context.Context, limit time.Duration, args []string) ([]byte, error) {
	return c.run(ctx, limit, orDefault(c.LVM, "/sbin/lvm"), slices.Concat(args[:1], c.filter(), args[1:]))
}

// run runs one command and returns what it printed.
func (c *Client) run(ctx context.Context, limit time.Duration, name string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it didn't end within %v", limit))
	defer cancel()
	cmd := sys.Command{Name: name, Args: args, Env: []string{"DM_DISABLE_UDEV=1", "LC_ALL=C"}, Stdin: strings.NewReader("")}
	start := time.Now()
	out, err := c.Runner.Run(ctx, cmd)
	if log := c.Log; log != nil {
		log.Debug("ran", "command", cmd.String(), "took", time.Since(start).Round(time.Millisecond), "stderr", strings.TrimSpace(string(out.Stderr)), "error", err)
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.Code == 5 {
		return out.Stdout, &PartialError{Err: exit}
	}
	return out.Stdout, err
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// What LVM takes as names and tags, less the hyphen in front, which would
// make an option of them (lvm(8), "VALID NAMES").
var (
	validName = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}$`)
	validTag  = regexp.MustCompile(`^[a-zA-Z0-9_+.][a-zA-Z0-9_+./=!:&#-]{0,1000}$`)
	validPath = regexp.MustCompile(`^/dev/[a-zA-Z0-9/_.-]+$`)
)

func checkNames(names ...string) error {
	for _, n := range names {
		if !validName.MatchString(n) || n == "." || n == ".." {
			return fmt.Errorf("%q is no name for LVM", n)
		}
	}
	return nil
}

func checkTags(tags ...string) error {
	for _, t := range tags {
		if !validTag.MatchString(t) {
			return fmt.Errorf("%q is no tag for LVM", t)
		}
	}
	return nil
}

func checkPaths(paths ...string) error {
	for _, p := range paths {
		if !validPath.MatchString(p) {
			return fmt.Errorf("%q is no device", p)
		}
	}
	return nil
}
