package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// report is what CONFORMANCE.md says.
type report struct {
	tests    []test
	outcomes []outcome
	others   []other
	versions []string
	took     time.Duration
	partial  bool
}

// problems are all reasons why the run hasn't passed.
func (r report) problems() (all []string) {
	for _, o := range r.outcomes {
		for _, res := range o.results {
			for _, f := range res.failures {
				all = append(all, fmt.Sprintf("%s: %s: %s", o.cell, res.test, f))
			}
		}
		for _, p := range o.problems {
			all = append(all, fmt.Sprintf("%s: %s", o.cell, p))
		}
	}
	for _, o := range r.others {
		all = append(all, o.failures...)
	}
	return all
}

// count is how the tests of a suite, or all, went.
type count struct{ passed, failed, skipped int }

func (c *count) add(r result) {
	switch {
	case len(r.failures) > 0:
		c.failed++
	case slices.ContainsFunc(r.skips, func(s string) bool { return !strings.HasPrefix(s, "[WARNING]") }):
		c.skipped++
	default:
		c.passed++
	}
}

// String is short: tests passed, then what failed and what was skipped.
func (c count) String() string {
	s := fmt.Sprint(c.passed)
	if c.failed > 0 {
		s += fmt.Sprintf(" **%d failed**", c.failed)
	}
	if c.skipped > 0 {
		s += fmt.Sprintf(" +%d s", c.skipped)
	}
	return s
}

func (o outcome) count(suite string) (c count) {
	for _, r := range o.results {
		if suite == "" || r.test.suite == suite {
			c.add(r)
		}
	}
	return c
}

func (r report) markdown() string {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Conformance")
	p("Written by `make conformance`, in %d minutes on %s.\n", int(r.took.Minutes()+0.5), strings.Join(r.versions, ", "))
	if r.partial {
		p("**Not everything was run.**\n")
	}
	p("`iscsi-test-cu` counts a test that skips as passed. Here it is counted as skipped, even when it skips only a part, and each")
	p("reason has to be on the list below (`target/conformance/skips.go`). Each test runs in a process of its own, over two portals")
	p("for those that want two paths. The families `ALL` and `LINUX` of the tool name the same tests as `SCSI` and `iSCSI`.\n")
	var plain []outcome
	for _, o := range r.outcomes {
		if o.cell.plain() {
			plain = append(plain, o)
		}
	}
	p("## LUNs")
	p("| profile | LUN |\n|---|---|")
	for _, o := range plain {
		p("| %s | %s |", o.cell.profile.name, o.cell.profile.what)
	}
	p("\n## Suites on each profile")
	p("Tests passed; `+n s` are n more that are skipped, in whole or in part.\n")
	row := func(first string, cells func(o outcome) string) {
		s := "| " + first + " |"
		for _, o := range plain {
			s += " " + cells(o) + " |"
		}
		p("%s", s)
	}
	row("suite", func(o outcome) string { return o.cell.profile.name })
	row("---", func(outcome) string { return "---" })
	for i, t := range r.tests {
		if i == 0 || r.tests[i-1].suite != t.suite {
			row(t.family+"."+t.suite, func(o outcome) string { return o.count(t.suite).String() })
		}
	}
	row("**all**", func(o outcome) string { return o.count("").String() })
	p("\n## Digests and CHAP")
	p("All suites on profile A. iscsi-test-cu has one-way and mutual CHAP with MD5, and no digests: these are added to what it sends, and")
	p("checked in what it gets, by a proxy (`target/conformance/digests.go`). QEMU's driver, below, has header digests of its own.\n")
	p("| digests | CHAP | passed | failed | skipped |\n|---|---|---|---|---|")
	for _, o := range r.outcomes {
		if c := o.count(""); o.cell.profile.name == "A" {
			p("| %s | %s | %d | %d | %d |", o.cell.digests(), o.cell.chap, c.passed, c.failed, c.skipped)
		}
	}
	r.skips(p)
	p("\n## Captures")
	p("`tshark` reads a capture of all that, but for the suites of profile C, and of most runs with digests or CHAP, that move most.")
	p("*Malformed* are PDUs of the target that it calls malformed or gives an expert error for. *Excused* are those where that is")
	p("proven to be wrong: answers that the initiator has had cut short, lists of log pages, text that goes on in the next PDU, and the initiator's")
	p("header in a Reject (`target/conformance/excuse.go`). *Bad input* are PDUs that the initiator has sent wrong on purpose.\n")
	p("| run | PDUs | malformed | excused | bad input |\n|---|---|---|---|---|")
	for _, o := range r.outcomes {
		d := o.dissected
		p("| %s | %d | %d | %d | %d |", o.cell, d.pdus, d.nbad, d.excused, d.initiator)
	}
	for _, o := range r.others {
		if d := o.dissected; o.captured != notCaptured {
			p("| %s | %d | %d | %d | %d |", o.what, d.pdus, d.nbad, d.excused, d.initiator)
		}
	}
	p("\n## Other checks")
	p("| what | passed | failed |\n|---|---|---|")
	for _, o := range r.others {
		p("| %s | %d | %d |", o.what, o.passed, o.failed)
	}
	if problems := r.problems(); len(problems) > 0 {
		p("\n## Problems")
		for _, s := range problems[:min(len(problems), 50)] {
			p("- %s", strings.ReplaceAll(strings.TrimSpace(s), "\n", " "))
		}
	}
	return b.String()
}

// skips is the table of what may be skipped. All of it has been, or the run
// has failed.
func (r report) skips(p func(string, ...any)) {
	p("\n## Skipped")
	p("| tests | profiles | the tool says | because |\n|---|---|---|---|")
	for _, s := range skips {
		p("| %s | %s | %s | %s |", strings.ReplaceAll(s.tests, "*", `\*`), s.profiles, s.says, s.why)
	}
}

// versions are those of the tools, and the commit.
func versions(ctx context.Context) []string {
	one := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return name + " (unknown)"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line)
	}
	pkg := func(name string) string {
		return name + " " + one("dpkg-query", "-W", "-f", "${Version}", name)
	}
	commit := one("git", "rev-parse", "--short=12", "HEAD")
	if one("git", "status", "--porcelain", "--", "*.go") != "" {
		commit += " with changes"
	}
	return slices.Concat([]string{time.Now().UTC().Format(time.DateOnly), "commit " + commit, one("go", "env", "GOVERSION")},
		[]string{pkg("libiscsi-bin"), pkg("tshark"), pkg("qemu-utils")})
}
