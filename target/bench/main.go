// Command bench compares targetd with tgt, Debian's target in C, on loopback.
// See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `bench compares targetd with tgt on this machine: both serve the same kind of
backing on loopback, and are driven in turn by the same tools, many times.
What is shown is the ratio within a round: noise of the machine hits both.

  make bench                        all cases, ten rounds, writes target/BENCHMARKS.md
  go run ./target/bench --list      which cases there are
  go run ./target/bench --case 'random read' --rounds 4

  --case REGEXP    only the cases whose name matches
  --rounds N       how often each case is run on each target (10)
  --seconds S      how long each run takes (2)
  --dir DIR        where the files on a real disk are made (build/bench)
  --out FILE       write the tables as Markdown
  --profile FILE   run the cases once, on targetd alone, and write a CPU profile of it
                   (go tool pprof -top FILE)
  --list           list the cases

With all cases, it also finds out what memory idle sessions take, what a command
allocates, how well limits are held, and what slow clients cost the others.
`

type options struct {
	cases   *regexp.Regexp
	rounds  int
	seconds float64
	dir     string
	out     string
	profile string
	list    bool
}

func parseFlags(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), usage) }
	pattern := fs.String("case", ".", "")
	fs.IntVar(&o.rounds, "rounds", 10, "")
	fs.Float64Var(&o.seconds, "seconds", 2, "")
	fs.StringVar(&o.dir, "dir", "build/bench", "")
	fs.StringVar(&o.out, "out", "", "")
	fs.StringVar(&o.profile, "profile", "", "")
	fs.BoolVar(&o.list, "list", false, "")
	err := fs.Parse(args)
	if err == nil {
		o.cases, err = regexp.Compile(*pattern)
	}
	if err == nil && (o.rounds < 1 || o.seconds < 0.2 || o.seconds > 600 || fs.NArg() > 0) {
		err = errors.New("want at least 1 round, 0.2 to 600 seconds, and no other arguments")
	}
	return o, err
}

func main() {
	o, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\nTry --help.\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	var chosen []benchCase
	for _, c := range cases() {
		if o.cases.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return errors.New("no case has such a name; see --list")
	}
	if o.list {
		for _, c := range chosen {
			fmt.Printf("%-40s %s\n", c.name, c.tool.how())
		}
		return nil
	}
	if o.profile != "" {
		return profile(ctx, o, chosen)
	}
	begin := time.Now()
	results, err := compare(ctx, o, chosen)
	if err != nil {
		return err
	}
	text := report(ctx, o, results, time.Since(begin))
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}
