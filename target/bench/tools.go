package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sanstick/target/iscsitest/load"
)

// tool makes work for a target.
type tool interface {
	// run works on a LUN for about so long.
	run(ctx context.Context, p *peer, d time.Duration) (outcome, error)
	// how says what is done, for people.
	how() string
}

// outcome is what a tool found.
type outcome struct {
	iops  float64
	size  int           // bytes a command
	p50   time.Duration // latencies; 0 = not known
	p99   time.Duration
	p999  time.Duration
	least float64 // of many sessions the slowest one's share of the mean, and the
	most  float64 // fastest one's; 0 = one session
}

// iscsiPerf is libiscsi's benchmark: reads only.
type iscsiPerf struct {
	depth, size int
	random      bool
}

func (t iscsiPerf) how() string {
	return strings.Join(t.args("LUN", time.Second), " ")
}

func (t iscsiPerf) args(url string, d time.Duration) []string {
	a := []string{"iscsi-perf", "-m", strconv.Itoa(t.depth), "-b", strconv.Itoa(t.size / 512), "-t", strconv.Itoa(max(1, int(d/time.Second)))}
	if t.random {
		a = append(a, "-r")
	}
	return append(a, url)
}

var perfAverage = regexp.MustCompile(`(?m)^iops average (\d+) `)

func (t iscsiPerf) run(ctx context.Context, p *peer, d time.Duration) (outcome, error) {
	out, err := output(ctx, t.args(p.url(), d), d)
	if err != nil {
		return outcome{}, err
	}
	m := perfAverage.FindStringSubmatch(strings.ReplaceAll(out, "\r", "\n"))
	if m == nil {
		return outcome{}, fmt.Errorf("iscsi-perf shows no average: %q", out)
	}
	iops, err := strconv.ParseFloat(m[1], 64)
	return outcome{iops: iops, size: t.size}, err
}

// qemuBench is qemu-img bench over QEMU's own iSCSI driver.
type qemuBench struct {
	depth, size int
	write       bool
	flush       int // after so many requests; 0 = never
}

func (t qemuBench) how() string { return strings.Join(t.args("LUN", 1000), " ") }

func (t qemuBench) args(url string, count int) []string {
	a := []string{"qemu-img", "bench", "-f", "raw", "-t", "none", "-d", strconv.Itoa(t.depth), "-s", strconv.Itoa(t.size), "-c", strconv.Itoa(count)}
	if t.write {
		a = append(a, "-w")
	}
	if t.flush > 0 {
		a = append(a, "--flush-interval", strconv.Itoa(t.flush))
	}
	return append(a, url)
}

var benchTime = regexp.MustCompile(`Run completed in ([\d.]+) seconds`)

// run has to say how many requests to make, so it makes a few to see how long
// they take.
func (t qemuBench) run(ctx context.Context, p *peer, d time.Duration) (outcome, error) {
	count := p.counts[t.how()]
	if count == 0 {
		s, err := t.measure(ctx, p, 2000, d)
		if err != nil {
			return outcome{}, err
		}
		count = max(500, int(2000*d.Seconds()/s))
		p.counts[t.how()] = count
	}
	s, err := t.measure(ctx, p, count, d)
	return outcome{iops: float64(count) / s, size: t.size}, err
}

func (t qemuBench) measure(ctx context.Context, p *peer, count int, d time.Duration) (float64, error) {
	out, err := output(ctx, t.args(p.url(), count), d)
	if err != nil {
		return 0, err
	}
	m := benchTime.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("qemu-img bench shows no time: %q", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// ownLoad is package load.
type ownLoad struct {
	sessions, depth, size int
	random, fua, digests  bool
	writes                int // percent
	flush                 int
}

func (t ownLoad) how() string {
	s := fmt.Sprintf("iscsitest/load: %d session(s), %d in flight, %d bytes, %d %% writes", max(1, t.sessions), t.depth, t.size, t.writes)
	for _, x := range []struct {
		on   bool
		text string
	}{{t.random, ", random"}, {t.fua, ", FUA"}, {t.digests, ", both digests"}, {t.flush > 0, fmt.Sprintf(", a flush after %d", t.flush)}} {
		if x.on {
			s += x.text
		}
	}
	return s
}

func (t ownLoad) run(ctx context.Context, p *peer, d time.Duration) (outcome, error) {
	r, err := load.Run(ctx, load.Spec{
		Addr: p.addr, Target: p.iqn, LUN: p.lun, Sessions: t.sessions, Depth: t.depth, Size: t.size,
		Random: t.random, WritePercent: t.writes, FUA: t.fua, FlushEvery: t.flush,
		HeaderDigest: t.digests, DataDigest: t.digests, Duration: d, Seed: 1,
	})
	if err != nil {
		return outcome{}, err
	}
	o := outcome{iops: r.Rate(), size: t.size, p50: r.Latency.Quantile(0.5), p99: r.Latency.Quantile(0.99), p999: r.Latency.Quantile(0.999)}
	if mean := float64(r.Ops) / float64(len(r.PerSession)); len(r.PerSession) > 1 {
		o.least, o.most = 1e9, 0
		for _, n := range r.PerSession {
			o.least, o.most = min(o.least, float64(n)/mean), max(o.most, float64(n)/mean)
		}
	}
	return o, nil
}

// output runs a tool that should take about so long.
func output(ctx context.Context, args []string, d time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*d+30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot run %s: %w: %s", args[0], errors.Join(err, ctx.Err()), out)
	}
	return string(out), nil
}
