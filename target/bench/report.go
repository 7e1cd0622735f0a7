package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report makes the Markdown page.
func report(ctx context.Context, o *options, c *comparison, took time.Duration) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# targetd beside tgt\n\nMade by `make bench`, not by hand. %s; %d rounds of %v s a case and target, in turn; %v in all.\n\n",
		machine(ctx), o.rounds, o.seconds, took.Round(time.Second))
	fmt.Fprintf(&b, "## What is wanted\n\n%s\n## All cases\n\n", c.wantedTable())
	fmt.Fprintf(&b, "Rates are medians. The ratio is of rates in the same round: median (least to most). CPU is that of the target's process\n"+
		"in seconds for a million commands, and for a GiB. Latencies are targetd's and tgt's, where the tool tells them.\n\n")
	fmt.Fprintln(&b, "| case | targetd | tgt | ratio | wanted | CPU s/M targetd, tgt | ratio | CPU s/GiB | p50, p99, p99.9 targetd | tgt |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range c.results {
		fmt.Fprintln(&b, r.row())
	}
	fmt.Fprintf(&b, "\nMost memory: targetd %d MiB (with %d MiB of it a RAM disk), tgt %d MiB.\n", c.oursRSS>>10, lunSize>>20, c.tgtRSS>>10)
	if len(c.loopback) > 0 {
		fmt.Fprintf(&b, "The limit of loopback: iperf3 moves %.0f MB/s in one stream (median of as many runs, between the others).\n", middleOf(c.loopback)/1e6)
	}
	if len(c.disk) > 0 {
		fmt.Fprintf(&b, "The limit of the disk: fio, without a network and a target, writes %.1f k blocks of 4 KiB a second and has them on stable storage, %d at a time and a flush after them.\n", middleOf(c.disk)/1e3, groupDepth)
	}
	fmt.Fprintf(&b, "\n## How\n\n| case | backing | made by |\n|---|---|---|\n")
	for _, r := range c.results {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", r.name, r.backing, r.tool.how())
	}
	return b.String()
}

func (r *result) row() string {
	size := r.ours[0].size
	rate := func(s []sample) string {
		v := median(s, func(s sample) float64 { return s.iops })
		if size >= 128<<10 {
			return fmt.Sprintf("%.0f MB/s", v*float64(size)/1e6)
		}
		return fmt.Sprintf("%.1f k", v/1e3)
	}
	wanted := "-"
	if r.least > 0 {
		wanted = fmt.Sprintf("%.1f, aim %.1f", r.least, r.aim)
	}
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	perGiB := float64(1<<30) / float64(size) / 1e6
	ours, tgt := median(r.ours, cpu), median(r.tgt, cpu)
	return fmt.Sprintf("| %s | %s | %s | **%s** | %s | %.1f, %.1f | %.2f | %.2f, %.2f | %s | %s |",
		r.name, rate(r.ours), rate(r.tgt), r.ratio(), wanted, ours, tgt, ours/tgt, ours*perGiB, tgt*perGiB, latencies(r.ours), latencies(r.tgt))
}

// ratios compares round by round.
func (r *result) ratios() (all []float64) {
	for i := range r.ours {
		all = append(all, r.ours[i].iops/r.tgt[i].iops)
	}
	slices.Sort(all)
	return all
}

func (r *result) ratio() string {
	all := r.ratios()
	return fmt.Sprintf("%.2f (%.2f to %.2f)", middle(all), all[0], all[len(all)-1])
}

func latencies(s []sample) string {
	if s[0].p50 == 0 {
		return "-"
	}
	us := func(f func(sample) time.Duration) string {
		return fmt.Sprintf("%.0f", median(s, func(s sample) float64 { return float64(f(s).Microseconds()) }))
	}
	text := fmt.Sprintf("%s, %s, %s µs", us(func(s sample) time.Duration { return s.p50 }),
		us(func(s sample) time.Duration { return s.p99 }), us(func(s sample) time.Duration { return s.p999 }))
	if s[0].least != 0 {
		text += fmt.Sprintf("; sessions %.2f to %.2f of the mean", median(s, func(s sample) float64 { return s.least }),
			median(s, func(s sample) float64 { return s.most }))
	}
	return text
}

func median(s []sample, f func(sample) float64) float64 {
	var all []float64
	for _, x := range s {
		all = append(all, f(x))
	}
	slices.Sort(all)
	return middle(all)
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// machine says where and with what this was measured.
func machine(ctx context.Context) string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(b); m != nil {
			model = string(m[1])
		}
	}
	first := func(args ...string) string {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		if err != nil {
			return "?"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	return fmt.Sprintf("%s, %s, %d cores of %s, Linux %s, %s, tgt %s, commit %s", time.Now().UTC().Format(time.DateOnly),
		runtime.GOARCH, runtime.NumCPU(), model, first("uname", "-r"), runtime.Version(), first("tgtd", "-V"), first("git", "rev-parse", "--short", "HEAD"))
}
