package sys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel's own messages go to multicast group 1, udevd's to group 2.
const kernelUevents = 1

// Room for the burst of a big controller's disks appearing at once.
const ueventBuffer = 2 << 20

type ueventSocket struct {
	f      *os.File
	buf    []byte
	closed atomic.Bool
}

// ListenUevents subscribes to the kernel's uevents. Events that happen after
// it returns are seen.
func ListenUevents() (UeventSource, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("cannot open uevent socket: %w", err)
	}
	// Only root may exceed the limit of the system; the plain option is the
	// best that others get, and a small buffer still works.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ueventBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ueventBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelUevents}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot bind uevent socket: %w", err)
	}
	// One byte more than is accepted shows what is too long.
	return &ueventSocket{f: os.NewFile(uintptr(fd), "uevents"), buf: make([]byte, maxUevent+1)}, nil
}

func (s *ueventSocket) Close() error {
	s.closed.Store(true)
	return s.f.Close()
}

func (s *ueventSocket) Receive(ctx context.Context) (Uevent, error) {
	if err := ctx.Err(); err != nil {
		return Uevent{}, err
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = s.f.SetReadDeadline(time.Unix(1, 0)) // in the past: frees the read below
	})
	defer func() {
		if !stop() {
			<-fired
			_ = s.f.SetReadDeadline(time.Time{})
		}
	}()
	for {
		n, fromKernel, err := s.read()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return Uevent{}, ErrUeventsLost
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return Uevent{}, ctx.Err()
		case err != nil && s.closed.Load(): // the poller's own error says less
			return Uevent{}, os.ErrClosed
		case err != nil:
			return Uevent{}, fmt.Errorf("cannot receive uevent: %w", err)
		case !fromKernel:
			continue // another process made it up
		}
		e, err := ParseUevent(s.buf[:n])
		if err != nil {
			continue // the next one may be better; nobody can act on this one
		}
		return e, nil
	}
}

func (s *ueventSocket) read() (n int, fromKernel bool, err error) {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		var from unix.Sockaddr
		n, from, rerr = unix.Recvfrom(int(fd), s.buf, 0)
		if nl, ok := from.(*unix.SockaddrNetlink); ok {
			fromKernel = nl.Pid == 0
		}
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	if err != nil {
		return 0, false, err
	}
	return n, fromKernel, rerr
}
