package box

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/transfer"
	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

// taken has a volume's or snapshot's content read by do, and removes the
// temporary snapshot afterwards, whatever happens.
func (b *box) taken(ctx context.Context, name string, do func(pool.Taken, transfer.Device) error) (a api.ExportAnswer, err error) {
	t, err := b.pools.Take(ctx, name)
	if err != nil {
		return a, volumeError(err)
	}
	if t.Temporary {
		defer func() { err = errors.Join(err, b.pools.RemoveTemporary(context.WithoutCancel(ctx), t.Point.UUID)) }()
	}
	a = api.ExportAnswer{Volume: name, Size: t.Size, Live: t.Point == nil}
	dev, err := openTaken(t)
	if err != nil {
		return a, err
	}
	return a, errors.Join(do(t, dev), dev.Close())
}

// openTaken opens what was taken, and no more than that: a thick volume that grows
// ends in leftovers of others until they are cleared, and its device has them.
func openTaken(t pool.Taken) (transfer.Device, error) { return transfer.OpenFirst(t.Path, t.Size) }

// export writes the stream of a volume.
func (b *box) export(ctx context.Context, q api.ExportRequest, w io.Writer) (api.ExportAnswer, error) {
	out := bufio.NewWriterSize(w, 256<<10)
	return b.taken(ctx, q.Volume, func(t pool.Taken, dev transfer.Device) error {
		h := stream.Header{Volume: t.Volume, Size: t.Size}
		if t.Point != nil && !t.Temporary {
			h.To = &stream.Point{Name: t.Point.Name, UUID: t.Point.UUID}
		}
		var err error
		if q.Since != "" {
			err = b.exportSince(ctx, out, h, t, q.Since, dev)
		} else {
			var src image.Source
			if src, err = b.content(ctx, t, dev); err == nil {
				err = stream.Write(out, h, src, nil)
			}
		}
		return errors.Join(err, out.Flush())
	})
}

// content gives all that a volume or snapshot holds. What never was written to
// isn't read.
func (b *box) content(ctx context.Context, t pool.Taken, dev transfer.Device) (image.Source, error) {
	data := []transfer.Range{{Len: dev.Size()}}
	mapped, known, err := b.pools.Mapped(ctx, t)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil: // slower, and right as well
		b.log.Warn("The pool's metadata doesn't tell what was written; all is read", "volume", t.Name, "error", err)
	case known:
		data = data[:0]
		for _, r := range mapped {
			data = append(data, transfer.Range(r))
		}
	}
	return transfer.Content(ctx, dev, data)
}

// exportSince writes what differs from an earlier snapshot.
func (b *box) exportSince(ctx context.Context, w io.Writer, h stream.Header, t pool.Taken, since string, dev transfer.Device) error {
	if h.To == nil {
		return &api.Error{Message: "changes can be exported of a snapshot only, so that the next export can build on it",
			Do: fmt.Sprintf("make one: sanctl volume snapshot %s; then export that", t.Volume)}
	}
	from, point, err := b.pools.Point(t.Pool + "/" + t.Volume + "@" + since)
	if err != nil {
		return volumeError(err)
	}
	if point.UUID == h.To.UUID {
		return fmt.Errorf("%s can't be exported since itself", t.Name)
	}
	h.From = &stream.Point{Name: point.Name, UUID: point.UUID}
	var changed []transfer.Range
	ranges, err := b.pools.Changes(ctx, from, t.Name)
	for _, r := range ranges {
		changed = append(changed, transfer.Range(r))
	}
	if err != nil && ctx.Err() == nil {
		// Slower, and right as well.
		b.log.Warn("The pool's metadata doesn't tell what differs; contents are compared", "from", from, "to", t.Name, "error", err)
		changed, err = b.differences(ctx, from, dev)
	}
	if err != nil {
		return err
	}
	if _, now, err := b.pools.Point(from); err != nil || now.UUID != point.UUID {
		return fmt.Errorf("snapshot %s was removed meanwhile", from)
	}
	return transfer.WriteChanges(ctx, w, h, dev, changed)
}

func (b *box) differences(ctx context.Context, from string, to transfer.Device) ([]transfer.Range, error) {
	t, err := b.pools.Take(ctx, from)
	if err != nil {
		return nil, err
	}
	dev, err := openTaken(t)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	return transfer.Differences(ctx, dev, to)
}

// digests writes what a client compares its image with.
func (b *box) digests(ctx context.Context, q api.ExportRequest, w io.Writer) (api.ExportAnswer, error) {
	return b.taken(ctx, q.Volume, func(t pool.Taken, dev transfer.Device) error {
		src, err := b.content(ctx, t, dev)
		if err != nil {
			return err
		}
		return image.Digests(w, src, nil)
	})
}

// verifyURL compares a volume with an image on a web server.
func (b *box) verifyURL(ctx context.Context, q api.VerifyRequest, progress func(api.Progress)) (a api.VerifyAnswer, err error) {
	w, err := transfer.OpenWeb(ctx, q.URL, transfer.WebOptions{})
	if err != nil {
		return a, fmt.Errorf("cannot compare with what is there: %w", err)
	}
	defer w.Close()
	src, err := transfer.OpenWebImage(w, q.Format)
	if err != nil {
		return a, err
	}
	defer src.Close()
	if src.From != nil {
		return a, fmt.Errorf("%s holds only what has changed since snapshot %s, which can't be compared with a volume", w, src.From.Name)
	}
	theirs, err := src.Content(0)
	if err != nil {
		return a, err
	}
	a.Volume = q.Volume
	_, err = b.taken(ctx, q.Volume, func(t pool.Taken, dev transfer.Device) error {
		mine, err := b.content(ctx, t, dev)
		if err != nil {
			return err
		}
		found, err := compare(theirs, mine, func(done int64) {
			progress(api.Progress{What: "comparing " + q.Volume, Done: done, Total: max(src.Size, 0)})
		})
		if err != nil {
			return err
		}
		if a.Moved, err = src.Excuse(&found, dev.Size()); err != nil {
			return err
		}
		a.Bytes, a.Differing = found.Bytes, found.Differing
		for _, d := range found.First {
			a.Differences = append(a.Differences, api.Difference(d))
		}
		return nil
	})
	return a, err
}

// compare compares an image with a volume's content. tell is called about once a
// second.
func compare(theirs, mine image.Source, tell func(done int64)) (image.Compared, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := image.Digests(w, mine, nil)
		w.CloseWithError(err) // nil is io.EOF
		done <- err
	}()
	var told time.Time
	found, err := image.Compare(theirs, r, api.MostDifferences, func(n int64) {
		if now := time.Now(); now.Sub(told) > time.Second {
			told = now
			tell(n)
		}
	})
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if read := <-done; err == nil {
		err = read
	}
	return found, err
}
