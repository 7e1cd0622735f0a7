package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const iqn = "iqn.2026-01.test:conformance"

func expand(s, path string) string { return strings.ReplaceAll(s, "FILE", path) }

// build builds targetd into dir and returns its path.
func build(ctx context.Context, dir string, flags ...string) (string, error) {
	bin := filepath.Join(dir, "targetd")
	args := append([]string{"build", "-o", bin}, flags...)
	if out, err := exec.CommandContext(ctx, "go", append(args, "sanstick/target/cmd/targetd")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build targetd: %w\n%s", err, out)
	}
	return bin, nil
}

// server is a targetd that runs.
type server struct {
	addrs  []string // of its portals
	cmd    *exec.Cmd
	cancel context.CancelFunc
	log    bytes.Buffer  // what it says
	read   chan struct{} // closed when that is all
}

// startCell starts targetd with two portals for a cell.
func startCell(ctx context.Context, bin, dir string, c cell) (*server, error) {
	lun, err := c.profile.disk(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot make the disk: %w", err)
	}
	args := []string{"--iqn", iqn, "--lun", lun, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--serial", "CONFORM" + c.profile.name,
		"--state", filepath.Join(dir, "state")}
	if c.chap != noCHAP {
		args = append(args, "--chap", user+":"+secret)
	}
	if c.chap == mutual {
		args = append(args, "--mutual", targetUser+":"+targetSecret)
	}
	return start(ctx, bin, 2, args...)
}

// start starts targetd and returns when all its portals listen, on ports that
// the kernel picks.
func start(ctx context.Context, bin string, portals int, args ...string) (*server, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start targetd: %w", err)
	}
	defer in.Close()
	s := &server{read: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	s.cmd = exec.CommandContext(ctx, bin, args...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 30 * time.Second
	s.cmd.Stdout, s.cmd.Stderr = in, in
	if err := s.cmd.Start(); err != nil {
		s.cancel()
		out.Close()
		return nil, fmt.Errorf("cannot start targetd: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(s.read)
		defer out.Close()
		s.follow(out, portals, ready)
	}()
	select {
	case <-ready:
		return s, nil
	case <-s.read:
	case <-time.After(30 * time.Second):
	}
	return nil, errors.Join(errors.New("targetd does not listen"), s.stop())
}

var serving = regexp.MustCompile(`^serving \S+ on (\S+)$`)

// follow reads what targetd says and closes ready when so many portals listen.
func (s *server) follow(out io.Reader, portals int, ready chan struct{}) {
	lines := bufio.NewScanner(io.TeeReader(out, &s.log))
	for lines.Scan() {
		m := serving.FindStringSubmatch(lines.Text())
		if m == nil || len(s.addrs) == portals || slices.Contains(s.addrs, m[1]) {
			continue
		}
		if s.addrs = append(s.addrs, m[1]); len(s.addrs) == portals {
			close(ready)
		}
	}
	_, _ = io.Copy(&s.log, out) // a line that is too long
}

// stop ends targetd. An end that isn't clean is an error, and so is a line in
// its log that tells of a defect.
func (s *server) stop() error {
	s.cancel()
	err := s.cmd.Wait() // says that it was asked to end, too
	<-s.read
	log := s.log.String()
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("targetd did not end well: %w\n%s", err, log[max(0, len(log)-2000):])
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			return fmt.Errorf("targetd said: %s", line)
		}
	}
	return nil
}

// ports are those of the portals.
func (s *server) ports() (ports []string) {
	for _, a := range s.addrs {
		_, port, _ := net.SplitHostPort(a)
		ports = append(ports, port)
	}
	return ports
}
