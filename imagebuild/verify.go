package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"sanstick/imagebuild/verify"
)

const verifyHelp = `imagebuild verify checks an image, or a stick, against the manifest on its boot volume: every file's SHA-256. It says which
differ, are missing, or aren't in the manifest; an update writes files that aren't. It finds damage, not forgery: who can
write the files can write the manifest.

  go run ./imagebuild verify build/sanstick.img
  sudo go run ./imagebuild verify /dev/sdX
`

// verifyVerb implements the verb.
func verifyVerb(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	path, err := parseOne(fs, verifyHelp, "an image or a stick", args)
	if err != nil {
		return err
	}
	good, differs, err := verify.Check(path)
	if err != nil {
		return err
	}
	for _, d := range differs {
		fmt.Println(d)
	}
	fmt.Printf("%d files are as the manifest says\n", good)
	if len(differs) > 0 {
		return errors.New("the image isn't what its manifest says")
	}
	return nil
}
