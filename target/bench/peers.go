package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of backing. Each target has a LUN of each.
const (
	tmpfs  = "file on tmpfs"
	ram    = "RAM (tgt: file on tmpfs)"
	ext4   = "file on a disk, direct I/O"
	cached = "file on a disk, page cache"
)

const (
	lunSize = 1 << 30
	iqn     = "iqn.2006-12.localhost:bench"
)

// peer is a target that runs.
type peer struct {
	name   string
	addr   string
	iqn    string
	lun    byte // of the case that is run
	luns   map[string]byte
	cmd    *exec.Cmd
	log    *bytes.Buffer
	counts map[string]int // requests that take about the time of a run
}

func (p *peer) url() string { return fmt.Sprintf("iscsi://%s/%s/%d", p.addr, p.iqn, p.lun) }

// files are what a target serves.
type files map[string]string // by kind of backing

// newFiles makes the files of a target: written in full, as holes are another
// matter. Remove them, in case of an error too.
func newFiles(dir, name string) (files, error) {
	f := files{
		tmpfs:  filepath.Join("/dev/shm", fmt.Sprintf("sanstick-bench-%d-%s", os.Getpid(), name)),
		ext4:   filepath.Join(dir, name+"-direct"),
		cached: filepath.Join(dir, name+"-cached"),
	}
	for _, path := range f {
		if err := fill(path); err != nil {
			return f, fmt.Errorf("cannot make a file to serve: %w", err)
		}
	}
	return f, nil
}

func (f files) remove() {
	for _, path := range f {
		os.Remove(path)
	}
}

func fill(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	chunk := bytes.Repeat([]byte{0xa5}, 1<<20)
	for range lunSize / len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			f.Close()
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// start runs a program in the background.
func (p *peer) start(ctx context.Context, args ...string) error {
	p.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	p.log = new(bytes.Buffer)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.counts = make(map[string]int)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	return nil
}

// stop ends the process; what doesn't end by itself is killed.
func (p *peer) stop() {
	kill := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	p.cmd.Process.Signal(unix.SIGTERM)
	p.cmd.Wait()
}

// await waits until the port is open.
func (p *peer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s doesn't listen on %s: %w", p.name, p.addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddr returns an address that nobody listens on just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// build makes the program that is measured.
func build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "targetd")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "sanstick/target/cmd/targetd").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build targetd: %w: %s", err, out)
	}
	return program, nil
}

// startOurs starts targetd, with more arguments.
func startOurs(ctx context.Context, program string, f files, more ...string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p := &peer{name: "targetd", addr: addr, iqn: iqn, luns: map[string]byte{tmpfs: 1, ram: 2, ext4: 3, cached: 4}}
	err = p.start(ctx, append([]string{program, "--listen", addr, "--iqn", iqn, "--lun", "1=" + f[tmpfs],
		"--lun", fmt.Sprintf("2=mem:%d", lunSize), "--lun", "3=" + f[ext4] + ",direct", "--lun", "4=" + f[cached]}, more...)...)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		p.stop()
		return nil, errors.Join(err, errors.New(p.log.String()))
	}
	return p, nil
}

// startTgt starts tgtd and gives it its LUNs.
func startTgt(ctx context.Context, f files) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p := &peer{name: "tgt", addr: addr, iqn: iqn + "-tgt", luns: map[string]byte{tmpfs: 1, ram: 1, ext4: 2, cached: 3}}
	// The number of the control socket, which tgt wants below 32768, so that it
	// meets no other tgtd: nobody else has the port.
	_, port, _ := strings.Cut(addr, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	control := strconv.Itoa(n%32000 + 1)
	if err := p.start(ctx, "tgtd", "-f", "-C", control, "--iscsi", "portal="+addr); err != nil {
		return nil, err
	}
	err = p.await(ctx)
	for _, args := range [][]string{
		{"--mode", "target", "--op", "new", "--tid", "1", "-T", p.iqn},
		{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", f[tmpfs]},
		{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "2", "-b", f[ext4], "--bsoflags", "direct"},
		{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "3", "-b", f[cached]},
		{"--mode", "target", "--op", "update", "--tid", "1", "-n", "HeaderDigest", "-v", "CRC32C"},
		{"--mode", "target", "--op", "update", "--tid", "1", "-n", "DataDigest", "-v", "CRC32C"},
		{"--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"},
	} {
		if err == nil {
			_, err = output(ctx, append([]string{"tgtadm", "-C", control, "--lld", "iscsi"}, args...), time.Second)
		}
	}
	if err != nil {
		p.stop()
		return nil, errors.Join(err, errors.New(p.log.String()))
	}
	return p, nil
}

// cpu returns the time that the process and its threads have been running.
func (p *peer) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the times of process %d", p.cmd.Process.Pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all architectures we run on
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// memory returns how much memory the process has (VmRSS), or has had at most
// (VmHWM), in KiB.
func (p *peer) memory(what string) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, what+":"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
		}
	}
	return 0, fmt.Errorf("no %s in the status of the process", what)
}
