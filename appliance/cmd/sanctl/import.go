package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/config"
	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
	"sanstick/appliance/status"
)

// importOptions are the flags of volume import.
type importOptions struct {
	format, size, pool              string
	overwrite, restart, incremental bool
}

func importCommand() command {
	var o importOptions
	return command{
		name: "volume import", args: "NAME FILE|URL|-", min: 2, max: 2,
		short: "bring a disk image, or an export, into a volume",
		long: `
Fills volume NAME with the disk that an image holds. The image is a file
where sanctl runs, something at an http or https address that the appliance
fetches itself, or - for the standard input.

Formats are raw, qcow2, vmdk (sparse, streamOptimized, and flat or in
pieces with all files in one directory), vhdx, vhd, and stream, which is
what ` + "`" + `sanctl volume export --format stream` + "`" + ` writes; raw and stream also
packed with gz, zst or xz. The format shows in the first bytes; a pipe
can't bring qcow2, vmdk, vhdx and vhd, because they have to be read here
and there. Images that build on another one (a backing file, a parent, a
checkpoint) are refused: they are half a disk.

If there is no volume NAME, it is made, as large as the disk (or --size),
in the one pool that there is (or --pool). Put it into the configuration
afterwards, as a [[volume]] of at least that size. A volume that exists
must be large enough and, unless --overwrite is given, empty: nothing was
ever written to it. No initiator may be logged in to a target that has it.

The volume isn't served until the import is done and everything is on
stable storage. An import that was interrupted (by Ctrl-C, the network, a
power cut) leaves a volume that isn't served; the same command goes on
where it was, at most some seconds' work earlier. The standard input
can't be read again, so such an import starts again (changes are applied
again, wherever they come from). What is zero in the
image takes no space.

If the image has a GPT and the volume is larger, the backup of the
partition table is moved to the volume's end, provided that both copies are
valid.

With --incremental the stream must be one with the changes between two
snapshots (` + "`" + `sanctl volume export NAME@TO --since FROM` + "`" + `). They are applied
only to a volume that holds what snapshot FROM held: it must have a
snapshot that came with an import of FROM (or be where FROM was made), and
must not have been written to since. One that was interrupted is finished
by the same changes, or sanctl volume revert takes the volume back to FROM.`,
		options: func(f *flag.FlagSet) {
			o = importOptions{}
			f.StringVar(&o.format, "format", "", "the image's `format`, one of "+strings.Join(image.Formats(), ", ")+" (default: found out, as stream and packing always are)")
			f.StringVar(&o.size, "size", "", "the `size` of a new volume, as in 64GiB (default: the disk's in the image)")
			f.StringVar(&o.pool, "pool", "", "the `pool` for a new volume (default: the only one there is)")
			f.BoolVar(&o.overwrite, "overwrite", false, "lose what is in the volume")
			f.BoolVar(&o.restart, "restart", false, "begin again, though the same import was interrupted")
			f.BoolVar(&o.incremental, "incremental", false, "apply the changes since an earlier import")
		},
		examples: []string{
			"sanctl volume import golden http://10.0.0.2/debian.qcow2 --size 64GiB",
			"sanctl volume import vm1 /mnt/usb/vm1.vmdk",
			"zstdcat disk.raw.zst | sanctl volume import vm1 - --size 20GiB",
			"sanctl volume import vm1 --incremental vm1-tuesday.stream",
		},
		see: []string{"volume export", "volume verify", "status"},
		run: func(ctx context.Context, c *call) error { return o.run(ctx, c, c.args[0], c.args[1]) },
	}
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

func (o importOptions) run(ctx context.Context, c *call, volume, from string) error {
	q := api.ImportRequest{Volume: volume, Pool: o.pool, Overwrite: o.overwrite, Restart: o.restart}
	if o.size != "" {
		var err error
		if q.Size, err = config.ParseSize(o.size); err != nil {
			return usage("--size: %w", err)
		}
	}
	if isURL(from) {
		if o.incremental {
			return usage("changes come from a file or a pipe, not from a URL")
		}
		q.URL, q.Format = from, o.format
		a, err := api.ImportURL.Call(ctx, c.client, q, c.showProgress)
		return o.done(c, a, err)
	}
	src, err := openSource(c, from, o.format)
	if err != nil {
		return err
	}
	defer src.Close()
	fmt.Fprintf(c.stderr, "%s: format %s%s\n", from, src.format, sizeText(src.size))
	switch {
	case src.from != nil && !o.incremental:
		return usage("%s holds only what has changed since snapshot %s; give --incremental to apply that", from, src.from.Name)
	case src.from == nil && o.incremental:
		return usage("%s is a whole disk, not the changes to one; leave --incremental out", from)
	}
	if q.Size == 0 || src.size > q.Size {
		q.Size = src.size
	}
	q.Source = src.identity
	var a api.ImportAnswer
	if src.from != nil {
		q.From, q.Source = src.from.UUID, changesIdentity(*src.from, src.to)
		if _, err := api.BeginImport.Call(ctx, c.client, q, nil); err != nil {
			return err
		}
		a, err = api.Import.Call(ctx, c.client, q, src.raw, c.showProgress)
		return o.done(c, a, err)
	}
	begin, err := api.BeginImport.Call(ctx, c.client, q, nil)
	if err != nil {
		return err
	}
	if begin.Start > 0 {
		fmt.Fprintf(c.stderr, "going on at %s, where this import was interrupted\n", status.FormatBytes(begin.Start))
	}
	content, err := src.content(begin.Start)
	if err != nil {
		return err
	}
	body, stop := sending(ctx, stream.Header{Volume: volume, Size: src.size, Start: begin.Start, To: src.to}, content)
	a, err = api.Import.Call(ctx, c.client, q, body, c.showProgress)
	if sent := stop(); sent != nil && err != nil {
		err = sent // the cause of it
	}
	a.Format = src.format
	return o.done(c, a, err)
}

// sending gives a body in which a source comes as a stream. stop ends it and
// tells why it ended early, if it did by itself.
func sending(ctx context.Context, h stream.Header, src image.Source) (body io.Reader, stop func() error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		out := &cancelWriter{ctx, w}
		err := stream.Write(out, h, src, nil)
		w.CloseWithError(err) // nil is io.EOF
		done <- err
	}()
	return r, func() error {
		r.CloseWithError(errStopped)
		if err := ended(done); !errors.Is(err, errStopped) {
			return err
		}
		return nil
	}
}

// ended waits for what reads an image, but not for ever: a pipe into which
// nobody writes can't be left.
func ended(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return errStopped
	}
}

var errStopped = errors.New("nobody reads any more")

type cancelWriter struct {
	ctx context.Context
	io.Writer
}

func (w *cancelWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

// done says what was done.
func (o importOptions) done(c *call, a api.ImportAnswer, err error) error {
	if err != nil {
		var e *api.Error
		if !errors.As(err, &e) {
			err = fmt.Errorf("%w; the volume isn't served until the same command has been run to its end", err)
		}
		return err
	}
	c.endProgress()
	text := fmt.Sprintf("volume %s in pool %s: %s imported, all of it on stable storage; the volume has %s\n",
		a.Volume, a.Pool, status.FormatBytes(a.Disk), status.FormatBytes(a.Size))
	if o.incremental {
		text = fmt.Sprintf("volume %s in pool %s: the changes are applied, all of them on stable storage\n", a.Volume, a.Pool)
	}
	if a.Kept != "" {
		text += fmt.Sprintf("snapshot %s is kept; later changes can be applied on it\n", a.Kept)
	}
	for _, n := range a.Notes {
		text += n + "\n"
	}
	return c.print(a, text)
}

func sizeText(n int64) string {
	if n < 0 {
		return ", of a size that shows only at the end"
	}
	return ", a disk of " + status.FormatBytes(n)
}

// changesIdentity stands for the changes between two snapshots, wherever they come from.
func changesIdentity(from stream.Point, to *stream.Point) string {
	text := from.UUID
	if to != nil {
		text += "\n" + to.UUID
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// randomIdentity stands for content that can't be read again.
func randomIdentity() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// beside opens files of the directory that a file is in.
func beside(file string, open func(string) (*diskFile, error)) image.Opener {
	return func(name string) (image.File, error) { return open(filepath.Join(filepath.Dir(file), name)) }
}
