// Command imagebuild makes the sanstick USB stick: it builds the disk image and tries it out in a virtual machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

const usage = `imagebuild makes the sanstick USB stick.

usage: go run ./imagebuild VERB [flags]

  build     make the image build/sanstick.img, ready to be written to a stick, and build/sanstick.iso
  flash     write the image to a stick, and read it back
  verify    check an image or a stick against its manifest
  hardware  say which devices of a machine the image drives
  run       boot that image in QEMU with two empty disks, and serve a LUN on this machine
  keygen    make the keys that updates are signed and checked with
  bundle    make an update for "sanctl update"
  sign      sign an update

"imagebuild VERB --help" explains a verb. All output goes below build/.
`

// verbs are the words after the program name. Each parses its own flags.
var verbs = map[string]func(ctx context.Context, args []string) error{
	"build":    build,
	"flash":    flashVerb,
	"verify":   verifyVerb,
	"hardware": hardwareVerb,
	"run":      runVerb,
	"keygen":   keygen,
	"bundle":   bundle,
	"sign":     sign,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || os.Args[1] == "--help" || os.Args[1] == "-h" || os.Args[1] == "help" {
		fmt.Print(usage)
		return
	}
	verb, ok := verbs[os.Args[1]]
	if !ok {
		fmt.Fprintf(os.Stderr, "imagebuild: there is no verb %q\n\n%s", os.Args[1], usage)
		os.Exit(2)
	}
	switch err := verb(ctx, os.Args[2:]); {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "imagebuild: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "imagebuild:", err)
		os.Exit(1)
	}
}

// parse parses the flags of a verb, which takes no other arguments.
func parse(fs *flag.FlagSet, help string, args []string) error {
	if err := parseFlags(fs, help, args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("cannot use %q: %s takes only flags (see --help)", fs.Arg(0), fs.Name())
	}
	return nil
}

// parseOne parses the flags of a verb, and its one argument, which is what.
func parseOne(fs *flag.FlagSet, help, what string, args []string) (string, error) {
	if err := parseFlags(fs, help, args); err != nil {
		return "", err
	}
	if fs.NArg() != 1 {
		return "", fmt.Errorf("cannot use %d arguments: %s takes %s, behind the flags (see --help)", fs.NArg(), fs.Name(), what)
	}
	return fs.Arg(0), nil
}

func parseFlags(fs *flag.FlagSet, help string, args []string) error {
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help, "\nflags:\n")
		fs.PrintDefaults()
	}
	return fs.Parse(args)
}
