package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/image"
	"sanstick/appliance/image/gpt"
	"sanstick/appliance/status"
)

func verifyCommand() command {
	var format string
	return command{
		name: "volume verify", args: "NAME[@SNAPSHOT] FILE|URL|-", min: 2, max: 2,
		short: "compare a volume or snapshot with an image",
		long: `
Reads the whole volume, or what it held when SNAPSHOT was made, and the
whole image, and compares them by SHA-256 of each 64 KiB. Formats are those
of ` + "`" + `sanctl volume import` + "`" + `. Where one is longer, the rest must be zeros.
What is at an http or https address is read by the appliance itself.

Of a volume in use, a snapshot is taken for the time of it, so that it is
compared as of one moment.

The first differences are told.
That an import has moved the backup of the image's GPT to the volume's end
is no difference; that can't be told of what comes through a pipe.`,
		options: func(f *flag.FlagSet) {
			f.StringVar(&format, "format", "", "the image's `format`, one of "+strings.Join(image.Formats(), ", ")+" (default: found out)")
		},
		exit:     "0: they are equal. 1: they differ, or weren't compared; standard error\n    says which. 2: wrong usage.",
		examples: []string{"sanctl volume verify golden@monday golden.qcow2", "zstdcat vm1.raw.zst | sanctl volume verify vm1@monday -"},
		see:      []string{"volume import", "volume export"},
		run:      func(ctx context.Context, c *call) error { return verify(ctx, c, c.args[0], c.args[1], format) },
	}
}

func verify(ctx context.Context, c *call, name, file, format string) error {
	if isURL(file) {
		a, err := api.VerifyURL.Call(ctx, c.client, api.VerifyRequest{Volume: name, URL: file, Format: format}, c.showProgress)
		if err != nil {
			return err
		}
		return verified(c, file, a)
	}
	src, err := openSource(c, file, format)
	if err != nil {
		return err
	}
	defer src.Close()
	if src.from != nil {
		return fmt.Errorf("%s holds only what has changed since snapshot %s, which can't be compared with a volume", file, src.from.Name)
	}
	content, err := src.content(0)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	var found image.Compared
	done := make(chan error, 1)
	go func() {
		var told time.Time
		var err error
		found, err = image.Compare(content, r, api.MostDifferences, func(n int64) {
			if now := time.Now(); now.Sub(told) > time.Second {
				told = now
				c.showProgress(api.Progress{What: "comparing " + name, Done: n, Total: max(src.size, 0)})
			}
		})
		r.CloseWithError(errors.Join(err, errStopped))
		done <- err
	}()
	a, err := api.Digests.Call(ctx, c.client, api.ExportRequest{Volume: name}, w)
	w.CloseWithError(err)
	if err != nil {
		if compared := ended(done); compared != nil && errors.Is(err, errStopped) {
			err = compared // the cause of it
		}
		return err
	}
	if compared := <-done; compared != nil {
		return compared
	}
	v := api.VerifyAnswer{Volume: name}
	if src.image != nil {
		if v.Moved, err = gpt.Excuse(&found, src.image, src.size, a.Size); err != nil {
			return err
		}
	}
	v.Bytes, v.Differing = found.Bytes, found.Differing
	for _, d := range found.First {
		v.Differences = append(v.Differences, api.Difference(d))
	}
	return verified(c, file, v)
}

// verified tells what was found.
func verified(c *call, file string, v api.VerifyAnswer) error {
	c.endProgress()
	text := fmt.Sprintf("%s and %s are equal: %s compared\n", v.Volume, file, status.FormatBytes(v.Bytes))
	if v.Moved {
		text += "(the backup of the GPT is at the end of the volume, where the import has moved it)\n"
	}
	if v.Differing > 0 {
		text = ""
		for _, d := range v.Differences {
			text += fmt.Sprintf("bytes %d to %d differ\n", d.Off, d.Off+d.Len-1)
		}
	}
	if err := c.print(v, text); err != nil {
		return err
	}
	if v.Differing > 0 {
		return fmt.Errorf("%s and %s differ in %s of %s (in pieces of 64 KiB)", v.Volume, file, status.FormatBytes(v.Differing), status.FormatBytes(v.Bytes))
	}
	return nil
}
