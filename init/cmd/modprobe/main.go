// Command modprobe loads modules with what they need. The kernel runs it
// itself, as /sbin/modprobe -q -- NAME, when it needs a module: for a
// filesystem to mount, an address family, an algorithm.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/init/internal/coldplug"
)

const usage = `Usage: modprobe [-q] [-a] NAME [PARAMETER=VALUE...]

Loads the module of that name or alias ("fs-vfat", "pci:v...") and, before it,
those it depends on. One that is loaded already stays as it is.

  -q  don't complain about a name that isn't known
  -a  load several: all arguments are names
  -b  leave out what the kernel's command line blacklists
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modprobe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("modprobe", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	quiet := flags.Bool("q", false, "")
	all := flags.Bool("a", false, "")
	blacklist := flags.Bool("b", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() == 0:
		flags.Usage()
		return errors.New("which module?")
	}
	names, params := flags.Args()[:1], flags.Args()[1:]
	if *all {
		names, params = flags.Args(), nil
	}

	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return fmt.Errorf("cannot find the kernel's version: %w", err)
	}
	index, err := coldplug.ReadIndex("/lib/modules/" + unix.ByteSliceToString(uname.Release[:]))
	if err != nil {
		return err
	}
	loader, err := sys.NewLoader()
	if err != nil {
		return err
	}
	cmdline, _ := os.ReadFile("/proc/cmdline") // without it there are no options
	options := coldplug.ParseOptions(string(cmdline))
	options.CPU = coldplug.CPUAlias("/sys")
	for _, m := range index.Find(names[0]) {
		options.Parameters[m] = append(options.Parameters[m], params...)
	}
	modules := coldplug.NewModules(index, loader, options, nil)
	load := modules.LoadName
	if *blacklist {
		load = modules.LoadAlias
	}
	var failed []error
	for _, n := range names {
		if err := load(n); err != nil && !(*quiet && errors.Is(err, coldplug.ErrUnknown)) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
