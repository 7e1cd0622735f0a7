// Command conformance runs foreign initiators against targetd and writes what
// came of it to target/CONFORMANCE.md: all suites of iscsi-test-cu on every
// kind of LUN, with every combination of digests and CHAP, while dumpcap
// captures and tshark looks for what it can't dissect; then our own long tests
// and QEMU. `make conformance` runs it. It has to run in the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	var o options
	flag.Var(&o.only, "only", "run only the `runs` that this regular expression matches, such as '[BC]' or 'A, digests both.*', and leave the default report alone")
	flag.Var(&o.tests, "tests", "run only the `tests` that this regular expression matches, such as 'Sanitize.*', and leave the report alone")
	flag.StringVar(&o.report, "report", "", "the `file` to write the report to (default target/CONFORMANCE.md, of everything)")
	flag.StringVar(&o.logs, "logs", "build/conformance", "where the output of tests that fail goes")
	flag.BoolVar(&o.capture, "capture", true, "capture the traffic (needs root, or a dumpcap that may) and check it with tshark")
	flag.BoolVar(&o.others, "others", true, "run the other checks too")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "how many `runs` there are at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := conform(ctx, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}
