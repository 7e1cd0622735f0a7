package iscsi

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A peer that has gone without a word is noticed by TCP: keepalives on an idle
// connection, and a limit on how long sent data may stay unacknowledged. iSCSI
// has a ping of its own, but there are initiators that never answer it (iPXE).
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 6
	userTimeout       = 45 * time.Second
)

// tune sets the socket options of a connection. What isn't TCP is left alone.
func tune(nc net.Conn) error {
	c, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}); err != nil {
		return fmt.Errorf("cannot set keepalive: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the socket: %w", err)
	}
	var opt error
	err = raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	if err == nil {
		err = opt
	}
	if err != nil {
		return fmt.Errorf("cannot set TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}

// hungUp says whether the peer of a connection will send no more than what is
// here already.
func hungUp(nc net.Conn) bool {
	c, ok := nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true // closed by us
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0
	})
	return err != nil || gone
}
