package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"sanstick/target/iscsitest"
	"sanstick/target/iscsitest/load"
)

// idleSessions is how many sessions there are when the memory of an idle target
// is taken.
const idleSessions = 64

// extras are figures that no ratio of rates shows.
type extras struct {
	idle        [2]int  // KiB of memory with idleSessions, of targetd and tgt
	allocations float64 // a 4 KiB read
	limits      []limitRun
	slow        []float64 // rate beside slowClients to the rate alone, by round
}

// limitRun is what a target with a limit has done.
type limitRun struct {
	flag string
	size int
	want float64 // commands a second
	got  float64
}

func measureExtras(ctx context.Context, o *options, program string, peers [2]*peer) (*extras, error) {
	x := &extras{}
	for i, p := range peers {
		n, err := idleMemory(ctx, program, p)
		if err != nil {
			return nil, fmt.Errorf("cannot measure the memory of an idle target: %w", err)
		}
		x.idle[i] = n
	}
	var err error
	if x.allocations, err = allocations(ctx); err != nil {
		return nil, err
	}
	for _, r := range []limitRun{
		{flag: "iops=200", size: 4096, want: 200},
		{flag: "iops=5000", size: 4096, want: 5000},
		{flag: "mbps=10", size: 4096, want: 10e6 / 4096},
		{flag: "mbps=200", size: 256 << 10, want: 200e6 / (256 << 10)},
		{flag: "iops=1000,mbps=50", size: 64 << 10, want: 50e6 / (64 << 10)},
	} {
		if r.got, err = limited(ctx, program, r); err != nil {
			return nil, fmt.Errorf("cannot measure a limit: %w", err)
		}
		x.limits = append(x.limits, r)
	}
	x.slow, err = besideSlowClients(ctx, o, peers[0])
	return x, err
}

// fresh starts another process of the same kind, with RAM to serve.
func (p *peer) fresh(ctx context.Context, program string, more ...string) (*peer, error) {
	if p.name == "tgt" {
		f, err := newFiles("/dev/shm", "idle")
		defer f.remove() // tgt has them open
		if err != nil {
			return nil, err
		}
		return startTgt(ctx, f)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	n := &peer{name: p.name, addr: addr, iqn: iqn, lun: 1}
	if err := n.start(ctx, append([]string{program, "--listen", addr, "--iqn", iqn, "--lun", fmt.Sprintf("1=mem:%d", lunSize)}, more...)...); err != nil {
		return nil, err
	}
	if err := n.await(ctx); err != nil {
		n.stop()
		return nil, errors.Join(err, errors.New(n.log.String()))
	}
	return n, nil
}

// idleMemory is that of a new target with sessions that have read a little.
func idleMemory(ctx context.Context, program string, like *peer) (kib int, err error) {
	p, err := like.fresh(ctx, program)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	for i := range idleSessions {
		c, err := iscsitest.Dial(ctx, p.addr)
		if err != nil {
			return 0, fmt.Errorf("session %d: %w", i, err)
		}
		defer c.Close()
		c.ISID[4], c.ISID[5] = 1, byte(i)
		if _, err := c.Login(iscsitest.Names("iqn.2006-12.localhost:idle", p.iqn, "HeaderDigest=None", "DataDigest=None")...); err != nil {
			return 0, fmt.Errorf("session %d: %w", i, err)
		}
		for range 4 { // unit attentions first
			cmd := iscsitest.Read10(uint32(i)*8, 8, 512)
			cmd.LUN = 1
			if _, err := c.Do(cmd); err != nil {
				return 0, fmt.Errorf("session %d: %w", i, err)
			}
		}
	}
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return p.memory("VmRSS")
}

var allocsPerCommand = regexp.MustCompile(`([\d.]+) allocs/command`)

// allocations has package testing count them.
func allocations(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkPath$/^read_4_KiB$", "sanstick/target/iscsitest/load").CombinedOutput()
	m := allocsPerCommand.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("cannot count allocations: %v: %s", err, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// limited returns how many commands a second a target with a limit does for two
// sessions that want more.
func limited(ctx context.Context, program string, r limitRun) (float64, error) {
	p, err := (&peer{name: "targetd"}).fresh(ctx, program, "--limit", r.flag)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	got, err := load.Run(ctx, load.Spec{Addr: p.addr, Target: p.iqn, LUN: p.lun, Sessions: 2, Depth: 8, Size: r.size, Random: true, WritePercent: 30, Duration: 5 * time.Second, Seed: 1})
	if err != nil {
		return 0, err
	}
	return got.Rate(), nil
}

// slowClients is how many there are of each kind: those that ask for much and
// never read it, and those that send a byte a second.
const slowClients = 16

// besideSlowClients compares what one good initiator gets while there are
// others that don't keep up, with what it gets alone.
func besideSlowClients(ctx context.Context, o *options, p *peer) (ratios []float64, err error) {
	d := time.Duration(o.seconds * float64(time.Second))
	p.lun = p.luns[tmpfs]
	good := ownLoad{depth: 32, size: 4096, random: true}
	for range o.rounds {
		alone, err := good.run(ctx, p, d)
		if err != nil {
			return nil, err
		}
		stop, err := annoy(ctx, p)
		if err != nil {
			return nil, err
		}
		beside, err := good.run(ctx, p, d)
		stop()
		if err != nil {
			return nil, err
		}
		ratios = append(ratios, beside.iops/alone.iops)
	}
	slices.Sort(ratios)
	return ratios, nil
}

// annoy makes the slow clients, until stop is called.
func annoy(ctx context.Context, p *peer) (stop func(), err error) {
	var all []net.Conn
	ctx, cancel := context.WithCancel(ctx)
	stop = func() {
		cancel()
		for _, c := range all {
			c.Close()
		}
	}
	for i := range slowClients {
		c, err := iscsitest.Dial(ctx, p.addr)
		if err != nil {
			stop()
			return nil, err
		}
		all = append(all, c)
		c.ISID[4], c.ISID[5] = 2, byte(i)
		if _, err := c.Login(iscsitest.Names("iqn.2006-12.localhost:deaf", p.iqn)...); err != nil {
			stop()
			return nil, err
		}
		for range 64 {
			cmd := iscsitest.Read10(0, 2048, 512)
			cmd.LUN = uint16(p.lun)
			if _, err := c.Start(cmd); err != nil {
				stop()
				return nil, err
			}
		}
		drip, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
		if err != nil {
			stop()
			return nil, err
		}
		all = append(all, drip)
		go func() {
			for {
				if _, err := drip.Write([]byte{0x43}); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
				}
			}
		}()
	}
	return stop, nil
}
