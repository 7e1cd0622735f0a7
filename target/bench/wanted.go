package main

import (
	"fmt"
	"slices"
	"strings"
)

// want is a figure that is wanted, and what was found.
type want struct {
	what, least, aim, found string
	met, reached            bool // at least, and the aim
}

func (w want) row() string {
	verdict := "**missed**"
	switch {
	case w.reached:
		verdict = "aim reached"
	case w.met:
		verdict = "met"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", w.what, w.least, w.aim, w.found, verdict)
}

// moreIsBetter makes a want of a number that should be large.
func moreIsBetter(what string, found, least, aim float64, format string) want {
	f := func(x float64) string { return fmt.Sprintf(format, x) }
	return want{what, f(least), f(aim), f(found), found >= least, found >= aim}
}

// lessIsBetter makes one of a number that should be small.
func lessIsBetter(what string, found, most, aim float64, format string) want {
	f := func(x float64) string { return fmt.Sprintf(format, x) }
	return want{what, "at most " + f(most), f(aim), f(found), found <= most, found <= aim}
}

// wants are all figures that are wanted and can be told.
func (c *comparison) wants() (all []want) {
	for i := range c.results {
		r := &c.results[i]
		if r.least == 0 {
			continue
		}
		all = append(all, moreIsBetter(r.name+", ratio to tgt", middleOf(r.ratios()), r.least, r.aim, "%.2fx"))
	}
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	if r := c.find(randomRead); r != nil {
		all = append(all, lessIsBetter("CPU for a million 4 KiB reads, ratio to tgt", median(r.ours, cpu)/median(r.tgt, cpu), 0.6, 0.4, "%.2fx"))
	}
	if r := c.find(streamRead); r != nil {
		var ratios []float64
		for i, s := range r.ours {
			ratios = append(ratios, s.iops*float64(s.size)/c.loopback[i])
		}
		found := middleOf(ratios)
		all = append(all, want{streamRead + ", ratio to iperf3", "-", "0.90x", fmt.Sprintf("%.2fx", found), true, found >= 0.9})
	}
	if r := c.find(groupCommit); r != nil {
		var ratios []float64
		for i, s := range r.tgt {
			ratios = append(ratios, c.disk[i]/s.iops)
		}
		all = append(all, want{groupCommit + ": ratio of the disk itself (fio, no network) to tgt", "-", "-", fmt.Sprintf("%.2fx", middleOf(ratios)), true, false})
	}
	for _, d := range [][2]string{{plainRandom, digestRandom}, {plainStream, digestStream}} {
		plain, digests := c.find(d[0]), c.find(d[1])
		if plain == nil || digests == nil {
			continue
		}
		var kept []float64
		for i := range plain.ours {
			kept = append(kept, 100*digests.ours[i].iops/plain.ours[i].iops)
		}
		all = append(all, moreIsBetter(d[1]+": kept of the rate without", middleOf(kept), 75, 90, "%.0f %%"))
	}
	for i := range c.results {
		if r := &c.results[i]; r.ours[0].least != 0 {
			low, high := median(r.ours, func(s sample) float64 { return s.least }), median(r.ours, func(s sample) float64 { return s.most })
			all = append(all, want{r.name + ": slowest and fastest session to the mean", "0.80, 1.20", "-",
				fmt.Sprintf("%.2f, %.2f", low, high), low >= 0.8 && high <= 1.2, false})
		}
	}
	if c.more != nil {
		all = append(all, c.more.wants()...)
	}
	return all
}

func (x *extras) wants() []want {
	all := []want{
		lessIsBetter("allocations for a 4 KiB read", x.allocations, 0.2, 0, "%.3f"),
		lessIsBetter(fmt.Sprintf("memory with %d idle sessions (tgt: %d MiB)", idleSessions, x.idle[1]>>10), float64(x.idle[0])/1024, 64, 32, "%.0f MiB"),
	}
	for _, l := range x.limits {
		ratio := l.got / l.want
		all = append(all, want{fmt.Sprintf("limit %s, %d bytes a command: rate to the limit", l.flag, l.size), "0.95 to 1.05", "-",
			fmt.Sprintf("%.3f", ratio), ratio >= 0.95 && ratio <= 1.05, false})
	}
	return append(all, want{fmt.Sprintf("4 KiB random read, QD 32, beside %d clients that never read and %d that send a byte a second: rate to that alone", slowClients, slowClients),
		"-", "-", fmt.Sprintf("%.2f", middleOf(x.slow)), true, false})
}

// middleOf returns the median.
func middleOf(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return middle(x)
}

// wantedTable is the Markdown of all wants.
func (c *comparison) wantedTable() string {
	var b strings.Builder
	b.WriteString("| what | at least | aim | found | |\n|---|---|---|---|---|\n")
	for _, w := range c.wants() {
		b.WriteString(w.row() + "\n")
	}
	return b.String()
}
