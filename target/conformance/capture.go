package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	captureBuffer = 256 // MiB
	captureEnough = 64 << 20
)

// dissected is what tshark found in captures.
type dissected struct {
	pdus      int
	initiator int      // PDUs of the initiator that it can't dissect: tests of bad input
	cut       int      // answers of the target that it can't, because an allocation length cut them
	bad       []string // others of the target's, the first few
	nbad      int      // all of those
}

func (d *dissected) add(e dissected) {
	d.pdus += e.pdus
	d.initiator += e.initiator
	d.cut += e.cut
	d.nbad += e.nbad
	d.bad = append(d.bad, e.bad...)
	d.bad = d.bad[:min(len(d.bad), 5)]
}

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

// dissect has tshark read a capture of these ports, and removes it.
func dissect(ctx context.Context, file string, ports []string, c cell) (d dissected, err error) {
	defer os.Remove(file)
	const malformed = "_ws.malformed || _ws.expert.severity == error"
	out, err := tshark(ctx, file, ports, "iscsi || "+malformed,
		"frame.number", "tcp.srcport", "iscsi.opcode", "_ws.expert.severity", "_ws.expert.message", "iscsi.request_frame")
	if err != nil {
		return d, err
	}
	type suspect struct{ frame, request, says string }
	var suspects []suspect
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 6 {
			return d, fmt.Errorf("tshark says %q", line)
		}
		if f[2] != "" {
			d.pdus += strings.Count(f[2], ",") + 1
		}
		switch {
		case !isError(f[3]):
		case !slices.Contains(ports, f[1]):
			d.initiator++
		default:
			suspects = append(suspects, suspect{f[0], f[5], f[4]})
		}
	}
	if len(suspects) == 0 {
		return d, nil
	}
	var frames []string
	for _, s := range suspects {
		frames = append(frames, s.frame)
		frames = append(frames, strings.Split(s.request, ",")...)
	}
	frames = slices.DeleteFunc(frames, func(s string) bool { return s == "" })
	out, err = tshark(ctx, file, ports, "frame.number in {"+strings.Join(frames, ",")+"}", "frame.number", "tcp.payload", "tcp.reassembled.data")
	if err != nil {
		return d, err
	}
	payload := map[string][]byte{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) == 3 {
			payload[f[0]], _ = hex.DecodeString(f[1])
		}
	}
	for _, s := range suspects {
		if isCut(payload[s.frame], payload[s.request], c.header, c.data) {
			d.cut++
		} else {
			d.nbad++
			d.bad = append(d.bad, fmt.Sprintf("frame %s: %s: % x", s.frame, s.says, payload[s.frame][:min(96, len(payload[s.frame]))]))
		}
	}
	return d, nil
}

// isError looks for the severity "error" in a list.
func isError(severities string) bool {
	const severe = 0x800000
	for s := range strings.SplitSeq(severities, ",") {
		if n, err := strconv.Atoi(s); err == nil && n >= severe {
			return true
		}
	}
	return false
}

func tshark(ctx context.Context, file string, ports []string, filter string, fields ...string) (string, error) {
	args := []string{"-r", file, "-o", "iscsi.target_ports:" + strings.Join(ports, ","), "-Y", filter, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(ctx, "tshark", args...)
	cmd.Dir = filepath.Dir(file)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tshark failed (apt-get install tshark): %w\n%s", err, &errs)
	}
	return string(out), nil
}
