package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// captureLimit bounds a capture's file, in kB. The capture is exchanged between
// tests, once it has captureEnough bytes, and its buffer in the kernel holds
// what the largest tests send, so that nothing is lost when dumpcap is slow.
const (
	captureLimit  = 600_000
	captureBuffer = 512 // MiB
	captureEnough = 32 << 20
)

// capture is a dumpcap that runs.
type capture struct {
	file  string
	ports []string
	cmd   *exec.Cmd
	said  bytes.Buffer
}

// startCapture captures what goes to and from the ports on loopback.
func startCapture(ctx context.Context, dir string, ports []string) (*capture, error) {
	f, err := os.CreateTemp(dir, "capture-*.pcapng")
	if err != nil {
		return nil, fmt.Errorf("cannot capture: %w", err)
	}
	f.Close()
	c := &capture{file: f.Name(), ports: ports}
	c.cmd = exec.CommandContext(ctx, "dumpcap", "-q", "-i", "lo", "-B", strconv.Itoa(captureBuffer), "-w", c.file,
		"-a", fmt.Sprint("filesize:", captureLimit), "-f", "tcp port "+strings.Join(ports, " or tcp port "))
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot capture (apt-get install wireshark-common): %w", err)
	}
	// The file has its first block when dumpcap is about to capture.
	for range 200 {
		if time.Sleep(50 * time.Millisecond); c.size() > 0 {
			time.Sleep(50 * time.Millisecond)
			return c, nil
		}
	}
	_, err = c.stop()
	return nil, fmt.Errorf("cannot capture: dumpcap does nothing: %w\n%s", err, &c.said)
}

func (c *capture) size() int64 {
	info, err := os.Stat(c.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// totals is what dumpcap says at the end: packets captured, received, dropped.
var totals = regexp.MustCompile(`(?s)Packets captured: (\d+)\s.*Packets received/dropped on interface '[^']*': (\d+)/(\d+) `)

// stop ends the capture and returns its file. A capture that has lost packets
// or hit its limit is an error.
func (c *capture) stop() (string, error) {
	// The last packets come a moment later.
	for last := int64(-1); last != c.size(); {
		last = c.size()
		time.Sleep(250 * time.Millisecond)
	}
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	if err := c.cmd.Wait(); err != nil {
		return "", fmt.Errorf("dumpcap failed (it needs root): %w\n%s", err, &c.said)
	}
	if c.size() >= captureLimit*1000 {
		return "", fmt.Errorf("the capture has hit its limit of %d kB", captureLimit)
	}
	m := totals.FindStringSubmatch(c.said.String())
	if m == nil || m[1] != m[2] || m[3] != "0" {
		return "", fmt.Errorf("the capture isn't whole: %s", &c.said)
	}
	return c.file, nil
}
