package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// sample is one run of a case on a target.
type sample struct {
	outcome
	cpu time.Duration // of the target's process, a million commands
}

// result is all runs of a case.
type result struct {
	benchCase
	ours, tgt []sample // by round
}

// comparison is what was found.
type comparison struct {
	results         []result
	loopback        []float64 // bytes a second of iperf3, by round
	disk            []float64 // durable writes a second of fio, by round
	oursRSS, tgtRSS int       // the most memory that the targets had, in KiB
	more            *extras   // nil if it wasn't asked for
}

// find returns the result of a case, nil if it wasn't run.
func (c *comparison) find(name string) *result {
	for i := range c.results {
		if c.results[i].name == name {
			return &c.results[i]
		}
	}
	return nil
}

// compare runs the cases on both targets, in turn.
func compare(ctx context.Context, o *options, chosen []benchCase) (*comparison, error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a place for files: %w", err)
	}
	program, err := build(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	var peers [2]*peer
	var disk string
	for i, name := range []string{"ours", "tgt"} {
		f, err := newFiles(o.dir, name)
		defer f.remove()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			disk = f[ext4]
			peers[0], err = startOurs(ctx, program, f)
		} else {
			peers[1], err = startTgt(ctx, f)
		}
		if err != nil {
			return nil, err
		}
		defer peers[i].stop()
	}
	c := &comparison{}
	for _, bc := range chosen {
		c.results = append(c.results, result{benchCase: bc})
	}
	for round := range o.rounds {
		if err := c.round(ctx, o, round, peers, disk); err != nil {
			return nil, err
		}
	}
	var err1, err2 error
	c.oursRSS, err1 = peers[0].memory("VmHWM")
	c.tgtRSS, err2 = peers[1].memory("VmHWM")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if len(chosen) == len(cases()) {
		c.more, err = measureExtras(ctx, o, program, peers)
	}
	return c, err
}

// round runs each case on each target once. Who is first changes. disk is a file on
// the real disk.
func (c *comparison) round(ctx context.Context, o *options, n int, peers [2]*peer, disk string) error {
	d := time.Duration(o.seconds * float64(time.Second))
	if c.find(streamRead) != nil {
		rate, err := iperf(ctx, d)
		if err != nil {
			return err
		}
		c.loopback = append(c.loopback, rate)
	}
	if c.find(groupCommit) != nil {
		iops, err := fio(ctx, disk, d)
		if err != nil {
			return err
		}
		c.disk = append(c.disk, iops)
	}
	order := peers[:]
	if n%2 == 1 {
		order = []*peer{peers[1], peers[0]}
	}
	for i := range c.results {
		r := &c.results[i]
		for _, p := range order {
			s, err := measure(ctx, p, r.benchCase, d)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", r.name, p.name, errors.Join(err, ctx.Err()))
			}
			if p == peers[0] {
				r.ours = append(r.ours, s)
			} else {
				r.tgt = append(r.tgt, s)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %-46s targetd %8.0f, tgt %8.0f a second: %.2f\n", n+1, o.rounds, r.name,
			r.ours[n].iops, r.tgt[n].iops, r.ours[n].iops/r.tgt[n].iops)
	}
	return nil
}

func measure(ctx context.Context, p *peer, c benchCase, d time.Duration) (sample, error) {
	p.lun = p.luns[c.backing]
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	out, err := c.tool.run(ctx, p, d)
	if err != nil {
		return sample{}, err
	}
	took := time.Since(begin)
	after, err := p.cpu()
	// The tool's own start and end count as time in which nothing is asked, so
	// the number of commands is at most a little too high.
	n := out.iops * min(took.Seconds(), max(d.Seconds(), 1))
	return sample{outcome: out, cpu: time.Duration(float64(after-before) / n * 1e6)}, err
}

// profile has targetd alone do the cases, and write where its time goes.
func profile(ctx context.Context, o *options, chosen []benchCase) error {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make a place for files: %w", err)
	}
	program, err := build(ctx, o.dir)
	if err != nil {
		return err
	}
	f, err := newFiles(o.dir, "ours")
	defer f.remove()
	if err != nil {
		return err
	}
	p, err := startOurs(ctx, program, f, "--profile", o.profile)
	if err != nil {
		return err
	}
	defer p.stop()
	for _, c := range chosen {
		s, err := measure(ctx, p, c, time.Duration(o.seconds*float64(time.Second)))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, errors.Join(err, ctx.Err()))
		}
		fmt.Fprintf(os.Stderr, "%-46s %8.0f a second, %.1f CPU s a million\n", c.name, s.iops, s.cpu.Seconds())
	}
	return nil
}
