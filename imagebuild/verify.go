package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/imagebuild/verify"
)

const verifyHelp = `imagebuild verify checks an image, an ISO image or a stick against the manifest on its boot volume: every file's SHA-256.
It names each file that differs, is missing, or doesn't belong there. It finds damage, not forgery: who can write the
files can write the manifest.

On a stick that is in use some things may differ, and it says so: a slot that was updated is held to its own
description, a slot that isn't active may hold an update that was cut off, the boot loader's settings say which slot is
active, and appliance.toml is yours.

  go run ./imagebuild verify build/sanstick.img
  go run ./imagebuild verify build/sanstick.iso
  sudo go run ./imagebuild verify /dev/sdX
`

// verifyVerb implements the verb.
func verifyVerb(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("verify", flag.ContinueOnError)
	path, err := parseOne(fs, verifyHelp, "an image, an ISO image or a stick", args)
	if err != nil {
		return err
	}
	r, err := verify.Check(path)
	if err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Println(n)
	}
	fmt.Printf("%d files are as they should be\n", r.Good)
	for _, w := range r.Wrong {
		fmt.Println("WRONG", w)
	}
	if len(r.Wrong) > 0 {
		return verify.ErrWrong
	}
	return nil
}
