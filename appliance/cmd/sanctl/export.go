package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"sanstick/appliance/api"
	"sanstick/appliance/image/stream"
	"sanstick/appliance/status"
)

// exportOptions are the flags of volume export.
type exportOptions struct {
	out, since, format string
	zstd               bool
}

func exportCommand() command {
	var o exportOptions
	return command{
		name: "volume export", args: "NAME[@SNAPSHOT]", min: 1, max: 1,
		short: "write a volume or snapshot to a file or a pipe",
		long: `
Writes the disk that volume NAME holds, or held when SNAPSHOT was made. Of
a volume in use, a snapshot is taken for the time of the export, so that
what is written is of one moment: as after a power cut of the machine that
uses it. (A thick volume has no snapshots: what is written to it meanwhile
may be in the export or not, which a line of the answer says.)

The format raw is the disk's bytes; a file gets holes where the disk is
zero. The format stream is smaller on a pipe, has checksums and an end
mark, and remembers the snapshot it is of: only after importing a stream
can changes be applied. --since SNAPSHOT writes only the changes since an
earlier snapshot of the same volume, always as a stream; for ` + "`" + `sanctl volume
import --incremental` + "`" + `.

The file appears under its name when all of it is there and on stable
storage; until then it is called NAME.partial. An export whose end is
missing is noticed and is an error.

The stream: "sanstrm1", the header's length (4 bytes, little-endian), the
header in JSON, a CRC-32C; then records of 32 bytes: kind (D data, Z zeros,
E end), offset, length, CRC-32C of the data behind it, CRC-32C of the
record.`,
		options: func(f *flag.FlagSet) {
			o = exportOptions{}
			f.StringVar(&o.out, "o", "-", "the `file` to write; - is the standard output")
			f.StringVar(&o.since, "since", "", "only what has changed since this `snapshot`")
			f.StringVar(&o.format, "format", "", "the `format`: raw (the default) or stream (with --since)")
			f.BoolVar(&o.zstd, "zstd", false, "pack it with zstd")
		},
		examples: []string{
			"sanctl volume export golden@monday -o /mnt/usb/golden.raw",
			"sanctl volume export vm1@monday --format stream --zstd -o vm1-monday.zst",
			"sanctl volume export vm1@tuesday --since monday -o vm1-tuesday.stream",
			"sanctl volume export vm1 | ssh backup 'cat > vm1.raw'",
		},
		see: []string{"volume import", "volume verify"},
		run: func(ctx context.Context, c *call) error { return o.run(ctx, c, c.args[0]) },
	}
}

func (o exportOptions) run(ctx context.Context, c *call, name string) (err error) {
	switch {
	case o.format != "" && o.format != "raw" && o.format != "stream":
		return usage("--format is raw or stream, not %q", o.format)
	case o.since != "" && o.format == "raw":
		return usage("changes are written as a stream, not as raw")
	case o.out == "-" && isTerminal(c.stdout):
		return usage("the standard output is a terminal; give -o FILE")
	case o.out == "-" && c.json:
		return usage("--json needs the standard output; give -o FILE")
	}
	asStream := o.format == "stream" || o.since != ""
	out, err := createOutput(c, o.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.abandon()) }()
	var w io.Writer = out
	if out.file == nil || o.zstd {
		w = bufio.NewWriterSize(out, 1<<20)
	}
	dst := &unpacker{w: w}
	if out.file != nil && !o.zstd {
		dst.file = out.file // which can have holes
	}
	var packed *zstd.Encoder
	if o.zstd {
		if packed, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true)); err != nil {
			return err
		}
		dst.w = packed
	}
	a, err := receive(ctx, c, api.ExportRequest{Volume: name, Since: o.since}, dst, asStream)
	if err != nil {
		return err
	}
	if packed != nil {
		if err := packed.Close(); err != nil {
			return err
		}
	}
	if b, ok := w.(*bufio.Writer); ok {
		if err := b.Flush(); err != nil {
			return fmt.Errorf("cannot write %s: %w", o.out, err)
		}
	}
	if !asStream && dst.file != nil {
		if err := dst.file.Truncate(a.Size); err != nil {
			return fmt.Errorf("cannot write %s: %w", o.out, err)
		}
	}
	if err := out.commit(); err != nil {
		return err
	}
	c.endProgress()
	text := fmt.Sprintf("%s: %s written\n", name, status.FormatBytes(a.Size))
	if a.Live {
		text += "the volume is thick and may have changed meanwhile; this is no state of one moment\n"
	}
	if o.out == "-" {
		_, err = io.WriteString(c.stderr, text)
		return err
	}
	return c.print(a, text)
}

// receive gets an export and checks it to its end.
func receive(ctx context.Context, c *call, q api.ExportRequest, dst *unpacker, asStream bool) (a api.ExportAnswer, err error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := dst.take(c, r, asStream)
		r.CloseWithError(errors.Join(err, errStopped))
		done <- err
	}()
	a, err = api.Export.Call(ctx, c.client, q, w)
	w.CloseWithError(err)
	if taken := <-done; taken != nil && (err == nil || errors.Is(err, errStopped)) {
		err = taken // the cause of it
	}
	return a, err
}

// unpacker takes a stream and writes it on, as it is or as the disk it is of.
type unpacker struct {
	w    io.Writer
	file *os.File // instead of w: it may have holes
}

func (u *unpacker) take(c *call, r io.Reader, asStream bool) error {
	if asStream {
		if u.file != nil {
			u.w = u.file
		}
		r = io.TeeReader(r, u.w)
	}
	s, err := stream.NewReader(r)
	if err != nil {
		return err
	}
	buf, told := make([]byte, stream.MaxData), time.Time{}
	for {
		rec, err := s.Next()
		if errors.Is(err, io.EOF) {
			// Nothing may follow; the other side's end is read, too.
			if n, err := io.Copy(io.Discard, r); n > 0 || err != nil {
				return errors.Join(errors.New("there is something behind the stream's end"), err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if !asStream {
			if err := u.put(s, rec, buf); err != nil {
				return fmt.Errorf("cannot write the export: %w", err)
			}
		}
		if now := time.Now(); now.Sub(told) > time.Second {
			told = now
			c.showProgress(api.Progress{What: "exporting " + s.Volume, Done: rec.Off + rec.Len, Total: s.Size})
		}
	}
}

// put writes a record as the bytes it stands for.
func (u *unpacker) put(s *stream.Reader, rec stream.Record, buf []byte) error {
	if rec.Zero && u.file != nil {
		return nil
	}
	for at := int64(0); at < rec.Len; {
		p := buf[:min(int64(len(buf)), rec.Len-at)]
		if rec.Zero {
			clear(p)
		} else if _, err := io.ReadFull(s, p); err != nil {
			return err
		}
		var err error
		if u.file != nil {
			_, err = u.file.WriteAt(p, rec.Off+at)
		} else {
			_, err = u.w.Write(p)
		}
		if err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

// output is a file that appears when it is complete, or the standard output.
type output struct {
	io.Writer
	file *os.File // nil for a pipe
	name string
	done bool
}

func createOutput(c *call, name string) (*output, error) {
	if name == "-" {
		return &output{Writer: c.stdout, done: true}, nil
	}
	if st, err := os.Stat(name); err == nil {
		if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("cannot write %s: it is no file; write to it through a pipe, with -o -", name)
		}
		return nil, fmt.Errorf("cannot write %s: there is a file of that name", name)
	}
	f, err := os.OpenFile(name+".partial", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write the export: %w", err)
	}
	return &output{Writer: f, file: f, name: name}, nil
}

// commit gives the file its name once it is on stable storage.
func (o *output) commit() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Sync()
	if err == nil {
		err = os.Rename(o.file.Name(), o.name)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", o.name, err)
	}
	o.done = true
	return o.file.Close()
}

// abandon removes what isn't complete.
func (o *output) abandon() error {
	if o.done {
		return nil
	}
	o.file.Close()
	return os.Remove(o.file.Name())
}
