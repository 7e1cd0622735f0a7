package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What no target can do better than.

// iperf returns how many bytes a second loopback moves in one TCP stream.
func iperf(ctx context.Context, d time.Duration) (rate float64, err error) {
	addr, err := freeAddr()
	if err != nil {
		return 0, err
	}
	_, port, _ := strings.Cut(addr, ":")
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	server := exec.CommandContext(ctx, "iperf3", "-s", "-1", "-p", port)
	if err := server.Start(); err != nil {
		return 0, fmt.Errorf("cannot run iperf3: %w", err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	time.Sleep(300 * time.Millisecond) // asking whether it listens would use up its one client
	seconds := strconv.Itoa(max(1, int(d/time.Second)))
	out, err := exec.CommandContext(ctx, "iperf3", "-c", "127.0.0.1", "-p", port, "-t", seconds, "-f", "m").CombinedOutput()
	m := regexp.MustCompile(`([\d.]+) Mbits/sec.*receiver`).FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("cannot run iperf3: %v: %s", err, out)
	}
	mbit, err := strconv.ParseFloat(string(m[1]), 64)
	return mbit * 1e6 / 8, err
}

// groupDepth is how many writes share a flush at most in the cases that flush.
const groupDepth = 16

// fio returns how many 4 KiB writes a second a file on a disk takes, with direct
// I/O, if so many as groupDepth begin together and one flush follows them.
func fio(ctx context.Context, path string, d time.Duration) (iops float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	depth := strconv.Itoa(groupDepth)
	out, err := exec.CommandContext(ctx, "fio", "--name=limit", "--filename="+path, "--size="+strconv.Itoa(lunSize), "--rw=randwrite", "--bs=4k", "--direct=1",
		"--ioengine=libaio", "--iodepth="+depth, "--iodepth_batch_submit="+depth, "--iodepth_batch_complete_min="+depth, "--fdatasync="+depth,
		"--time_based", "--runtime="+strconv.Itoa(int(d.Milliseconds()))+"ms", "--output-format=terse", "--terse-version=3").Output()
	if err != nil {
		return 0, fmt.Errorf("cannot run fio: %w", err)
	}
	const writeIOPS = 48 // a field of the terse output
	fields := strings.Split(string(out), ";")
	if len(fields) <= writeIOPS {
		return 0, fmt.Errorf("cannot run fio: it says %q", out)
	}
	return strconv.ParseFloat(fields[writeIOPS], 64)
}
