package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// options are the command line's.
type options struct {
	only, tests     pattern
	report, logs    string
	capture, others bool
	jobs            int // cells to run at once
}

// partial says that not everything is to be run.
func (o options) partial() bool {
	return o.only.Regexp != nil || o.tests.Regexp != nil || !o.capture || !o.others
}

// pattern is a flag: what is wanted, all if it isn't given. It has to match the
// whole of a name.
type pattern struct{ *regexp.Regexp }

func (p *pattern) Set(s string) (err error) {
	p.Regexp, err = regexp.Compile("^(?:" + s + ")$")
	return err
}

func (p *pattern) String() string { return "" }

func (p *pattern) wants(name string) bool { return p.Regexp == nil || p.MatchString(name) }

// outcome is what came of a cell.
type outcome struct {
	cell      cell
	results   []result
	dissected dissected
	problems  []string // beside the tests: targetd, captures, the list of skips
}

// failed counts the tests that have failed.
func (o outcome) failed() (n int) {
	for _, r := range o.results {
		if len(r.failures) > 0 {
			n++
		}
	}
	return n
}

// conform runs everything and writes the report. It returns an error if
// anything has failed.
func conform(ctx context.Context, o options) (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tests, err := listTests(ctx)
	if err != nil {
		return err
	}
	bin, err := build(ctx, dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(o.logs); err != nil {
		return err
	}
	outcomes := runCells(ctx, o, dir, bin, tests)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var others []other
	if o.others {
		others = runOthers(ctx, bin, o.capture)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := report{tests, outcomes, others, versions(ctx), time.Since(began), o.partial()}
	fmt.Print("\n", r.markdown(), "\n")
	if o.partial() && o.report == "" {
		fmt.Println("This was not everything, so the report isn't written.")
	} else if err := os.WriteFile(cmp.Or(o.report, "target/CONFORMANCE.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	if problems := r.problems(); len(problems) > 0 {
		return fmt.Errorf("%d problems:\n%s", len(problems), strings.Join(problems, "\n"))
	}
	return nil
}

// runCells runs the cells that are wanted, several at once.
func runCells(ctx context.Context, o options, dir, bin string, tests []test) []outcome {
	wanted := slices.DeleteFunc(cells(), func(c cell) bool { return !o.only.wants(c.String()) })
	outcomes := make([]outcome, len(wanted))
	var g errgroup.Group
	g.SetLimit(max(1, o.jobs))
	for i, c := range wanted {
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			start := time.Now()
			outcomes[i] = runCell(ctx, c, o, dir, bin, tests)
			fmt.Printf("%-32s %v, %.0f s\n", c, outcomes[i], time.Since(start).Seconds())
			return nil
		})
	}
	_ = g.Wait() // always nil
	return outcomes
}

func (o outcome) String() string {
	s := fmt.Sprintf("%d tests, %d failed", len(o.results), o.failed())
	if o.dissected.pdus > 0 {
		s += fmt.Sprintf(", %d PDUs dissected", o.dissected.pdus)
	}
	for _, r := range o.results {
		for _, f := range r.failures {
			s += fmt.Sprintf("\n  %s: %s", r.test, f)
		}
	}
	for _, p := range o.problems {
		s += "\n  " + p
	}
	return s
}

// runCell runs the tests one after the other on a targetd of their own.
func runCell(ctx context.Context, c cell, o options, dir, bin string, tests []test) (out outcome) {
	out.cell = c
	problem := func(err error) {
		if err != nil {
			out.problems = append(out.problems, err.Error())
		}
	}
	dir, err := os.MkdirTemp(dir, "cell-")
	if err != nil {
		problem(err)
		return out
	}
	defer os.RemoveAll(dir)
	s, err := startCell(ctx, bin, dir, c)
	if err != nil {
		problem(err)
		return out
	}
	defer func() { problem(s.stop()) }()
	var urls []string
	for _, addr := range s.addrs {
		if c.header || c.data {
			d, err := newDigester(ctx, addr, c.header, c.data)
			if err != nil {
				problem(err)
				return out
			}
			defer func() { problem(d.stop()) }()
			addr = d.listener.Addr().String()
		}
		urls = append(urls, c.url(addr))
	}
	w := watcher{ctx: ctx, dir: dir, ports: s.ports(), header: c.header, data: c.data, off: !o.capture}
	allowed := newAllowance(skips)
	for i, t := range tests {
		if !o.tests.wants(t.String()) {
			continue
		}
		progress(c, t, i, len(tests))
		if c.sparing() && bulk.MatchString(t.suite) {
			w.rotate()
		} else {
			w.begin()
		}
		var r result
		if allowed.omits(t, c.profile.name) {
			r = result{test: t, skips: []string{notRun}}
		} else if r = runTest(ctx, t, !c.profile.huge, urls...); c.profile.readOnly {
			r.writeProtected()
		}
		if ctx.Err() != nil {
			break
		}
		for _, reason := range allowed.unexpected(r, c.profile.name) {
			r.failures = append(r.failures, "not on the list of skips: "+reason)
		}
		if len(r.failures) > 0 {
			problem(keep(filepath.Join(o.logs, c.file()), r))
		}
		r.output = ""
		out.results = append(out.results, r)
	}
	problem(w.end())
	out.dissected = w.found
	if o.tests.Regexp == nil && ctx.Err() == nil {
		out.problems = append(out.problems, allowed.stale(c.profile.name)...)
	}
	return out
}

// bulk are the suites that read and write the most.
var bulk = regexp.MustCompile(`^(CompareAndWrite|GetLBAStatus|OrWrite|Unmap|(Read|Write|Verify|WriteSame|WriteVerify)1\d)$`)

// file is the cell as a file name.
func (c cell) file() string {
	return strings.NewReplacer(", ", "_", " ", "-").Replace(c.String())
}

// keep writes what the tool said to a file.
func keep(dir string, r result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := strings.Join(r.failures, "\n") + "\n\n" + r.output
	return os.WriteFile(filepath.Join(dir, r.test.String()+".txt"), []byte(text), 0o644)
}

// progress overwrites a line of a terminal; elsewhere it says nothing.
func progress(c cell, t test, i, n int) {
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Printf("%-32s %3d of %d: %-40s\r", c, i, n, t)
	}
}
