package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what fits into a sockaddr_un with its final NUL.
const maxSocketPath = 107

// listen makes the socket, mode 0600, and its directory, mode 0700, if that
// isn't there. A socket that a dead daemon left behind is replaced.
//
// The socket is made in a directory of its own that nobody else can enter and
// moved into place with its mode set, so there is no moment in which others
// could connect.
func listen(ctx context.Context, path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	// The private path has this form, and is a bit longer than most.
	if len(path) > maxSocketPath || len(dir)+len("/.api-0123456789/s") > maxSocketPath {
		return nil, fmt.Errorf("cannot listen on %s: the path is too long for a socket; choose one of at most 80 bytes", path)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the socket's directory: %w", err)
	}
	if err := replaceable(ctx, path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(dir, ".api-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the socket: %w", err)
	}
	defer os.RemoveAll(private)
	l, err := bind(ctx, filepath.Join(private, "s"))
	if err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(private, "s"), path); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot put the socket in place: %w", err)
	}
	return l, nil
}

// bind listens on a new socket at path with mode 0600 that stays when the
// listener is closed.
func bind(ctx context.Context, path string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot set the socket's mode: %w", err)
	}
	return l, nil
}

// replaceable fails if there is something at path that must not be replaced: a
// daemon that answers, or no socket at all.
func replaceable(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look at the socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("cannot listen on %s: it is not a socket; remove it", path)
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist): // nobody listens
		return nil
	case err != nil && !errors.Is(err, syscall.EAGAIN): // which is somebody who is too busy
		return fmt.Errorf("cannot tell whether another daemon listens: %w", err)
	case err == nil:
		c.Close()
	}
	return fmt.Errorf("cannot listen on %s: another appliance daemon answers there; stop it first", path)
}
