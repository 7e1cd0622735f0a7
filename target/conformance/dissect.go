package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// dissected is what tshark found in captures.
type dissected struct {
	pdus      int
	initiator int      // PDUs of the initiator that it can't dissect: tests of bad input
	excused   int      // PDUs of the target that it wrongly finds fault with
	bad       []string // others of the target's, the first few
	nbad      int      // all of those
}

func (d *dissected) add(e dissected) {
	d.pdus += e.pdus
	d.initiator += e.initiator
	d.excused += e.excused
	d.nbad += e.nbad
	d.bad = append(d.bad, e.bad...)
	d.bad = d.bad[:min(len(d.bad), 5)]
}

// dissect has tshark read a capture of these ports, and removes it.
func dissect(ctx context.Context, file string, ports []string, header, data bool) (d dissected, err error) {
	defer os.Remove(file)
	const malformed = "_ws.malformed || _ws.expert.severity == error"
	out, err := tshark(ctx, file, ports, "iscsi || "+malformed,
		"frame.number", "tcp.srcport", "iscsi.opcode", "_ws.expert.severity", "_ws.expert.message", "iscsi.request_frame")
	if err != nil {
		return d, err
	}
	type suspect struct {
		frame, requests, says string
		errors                int
	}
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
		case countErrors(f[3]) == 0:
		case !slices.Contains(ports, f[1]):
			d.initiator++
		default:
			suspects = append(suspects, suspect{f[0], f[5], f[4], countErrors(f[3])})
		}
	}
	if len(suspects) == 0 {
		return d, nil
	}
	var frames []string
	for _, s := range suspects {
		frames = append(frames, s.frame)
		frames = append(frames, strings.Split(s.requests, ",")...)
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
		var requests []byte
		for f := range strings.SplitSeq(s.requests, ",") {
			requests = append(requests, payload[f]...)
		}
		if excused(payload[s.frame], requests, header, data) >= s.errors {
			d.excused++
		} else {
			d.nbad++
			d.bad = append(d.bad, fmt.Sprintf("frame %s: %s: % x", s.frame, s.says, payload[s.frame][:min(96, len(payload[s.frame]))]))
		}
	}
	return d, nil
}

// countErrors counts the severities "error" in a list.
func countErrors(severities string) int {
	const severe = 0x800000
	n := 0
	for s := range strings.SplitSeq(severities, ",") {
		if v, err := strconv.Atoi(s); err == nil && v >= severe {
			n++
		}
	}
	return n
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
