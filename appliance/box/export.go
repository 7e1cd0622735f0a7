package box

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

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
		defer func() { err = errors.Join(err, b.pools.RemoveTemporary(context.WithoutCancel(ctx), t.Name)) }()
	}
	a = api.ExportAnswer{Volume: name, Size: t.Size, Live: t.Point == nil}
	dev, err := transfer.Open(t.Path, false)
	if err != nil {
		return a, err
	}
	return a, errors.Join(do(t, dev), dev.Close())
}

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
			if src, err = transfer.Content(ctx, dev); err == nil {
				err = stream.Write(out, h, src, nil)
			}
		}
		return errors.Join(err, out.Flush())
	})
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
	return transfer.WriteChanges(ctx, w, h, dev, changed)
}

func (b *box) differences(ctx context.Context, from string, to transfer.Device) ([]transfer.Range, error) {
	t, err := b.pools.Take(ctx, from)
	if err != nil {
		return nil, err
	}
	dev, err := transfer.Open(t.Path, false)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	return transfer.Differences(ctx, dev, to)
}

// digests writes what a client compares its image with.
func (b *box) digests(ctx context.Context, q api.ExportRequest, w io.Writer) (api.ExportAnswer, error) {
	return b.taken(ctx, q.Volume, func(t pool.Taken, dev transfer.Device) error {
		src, err := transfer.Content(ctx, dev)
		if err != nil {
			return err
		}
		return image.Digests(w, src, nil)
	})
}
