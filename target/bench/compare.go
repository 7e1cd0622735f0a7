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

// peaks are the most memory that the targets took, in KiB.
type comparison struct {
	results          []result
	oursRSS, tgtRSS  int
	iperf, iperfNote string
}

// compare runs the cases on both targets, in turn.
func compare(ctx context.Context, o *options, chosen []benchCase) (*comparison, error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a place for files: %w", err)
	}
	var peers [2]*peer
	for i, name := range []string{"ours", "tgt"} {
		inRAM, onDisk, err := files(o.dir, name)
		defer os.Remove(inRAM)
		defer os.Remove(onDisk)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			peers[0], err = startOurs(ctx, o.dir, inRAM, onDisk)
		} else {
			peers[1], err = startTgt(ctx, inRAM, onDisk)
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
	d := time.Duration(o.seconds * float64(time.Second))
	for round := range o.rounds {
		for i := range c.results {
			r := &c.results[i]
			order := peers[:]
			if round%2 == 1 {
				order = []*peer{peers[1], peers[0]}
			}
			for _, p := range order {
				s, err := measure(ctx, p, r.benchCase, d)
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", r.name, p.name, errors.Join(err, ctx.Err()))
				}
				if p == peers[0] {
					r.ours = append(r.ours, s)
				} else {
					r.tgt = append(r.tgt, s)
				}
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %-46s targetd %8.0f, tgt %8.0f a second: %.2f\n", round+1, o.rounds, r.name,
				r.ours[round].iops, r.tgt[round].iops, r.ours[round].iops/r.tgt[round].iops)
		}
	}
	var err1, err2 error
	c.oursRSS, err1 = peers[0].peakRSS()
	c.tgtRSS, err2 = peers[1].peakRSS()
	c.iperf, c.iperfNote = iperf(ctx)
	return c, errors.Join(err1, err2)
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
