package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// options are the command line's.
type options struct {
	only, tests     pattern
	report, logs    string
	capture, others bool
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
	var outcomes []outcome
	for _, c := range cells() {
		if !o.only.wants(c.String()) {
			continue
		}
		start := time.Now()
		out := runCell(ctx, c, o, dir, bin, tests)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Printf("%-32s %v, %.0f s\n", c, out, time.Since(start).Seconds())
		outcomes = append(outcomes, out)
	}
	var others []other
	if o.others {
		others = runOthers(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := report{tests, outcomes, others, versions(ctx), time.Since(began)}
	fmt.Print("\n", r.markdown(), "\n")
	if o.partial() {
		fmt.Println("This was not everything, so the report isn't written.")
	} else if err := os.WriteFile(o.report, []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	if problems := r.problems(); len(problems) > 0 {
		return fmt.Errorf("%d problems:\n%s", len(problems), strings.Join(problems, "\n"))
	}
	return nil
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
	s, err := start(ctx, bin, dir, c)
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
	w := watcher{ctx: ctx, dir: dir, ports: s.ports(), cell: c, off: !o.capture}
	allowed := newAllowance(skips)
	for i, t := range tests {
		if !o.tests.wants(t.String()) {
			continue
		}
		progress(c, t, i, len(tests))
		w.begin()
		var r result
		if allowed.omits(t, c.profile.name) {
			r = result{test: t, skips: []string{notRun}}
		} else if r = runTest(ctx, t, c.profile.sanitize, urls...); c.profile.readOnly {
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

// watcher captures while tests run, in files of bounded size, and has each
// dissected while the next one fills.
type watcher struct {
	ctx   context.Context
	dir   string
	ports []string
	cell  cell
	off   bool

	now     *capture
	pending chan error
	found   dissected
	errs    []error
}

// begin is called before each test.
func (w *watcher) begin() {
	if w.off || w.now != nil && w.now.size() < captureEnough {
		return
	}
	w.rotate()
	var err error
	if w.now, err = startCapture(w.ctx, w.dir, w.ports); err != nil {
		w.errs = append(w.errs, err)
		w.off = true
	}
}

// rotate ends the capture that runs and has it dissected, after the one before.
func (w *watcher) rotate() {
	if w.pending != nil {
		w.errs = append(w.errs, <-w.pending)
		w.pending = nil
	}
	if w.now == nil {
		return
	}
	file, err := w.now.stop()
	w.now = nil
	if err != nil {
		w.errs = append(w.errs, err)
		return
	}
	done := make(chan error, 1)
	w.pending = done
	go func() {
		found, err := dissect(w.ctx, file, w.ports, w.cell)
		w.found.add(found) // nobody looks before done has something
		done <- err
	}()
}

// end is called after the last test.
func (w *watcher) end() error {
	w.rotate()
	w.rotate()
	for _, b := range w.found.bad {
		w.errs = append(w.errs, fmt.Errorf("tshark: %s", b))
	}
	if !w.off && w.found.pdus == 0 {
		w.errs = append(w.errs, errors.New("tshark has seen no PDUs"))
	}
	return errors.Join(w.errs...)
}
