package box

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/transfer"
	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

// savePeriod is how often it is noted how far an import is: what is done again
// at most after a power cut.
const savePeriod = 10 * time.Second

func (b *box) transferActions() []api.Action {
	return []api.Action{
		api.BeginImport.Handle(b.beginImport), api.Import.Handle(b.importStream), api.ImportURL.Handle(b.importURL),
		api.Export.Handle(b.export), api.Digests.Handle(b.digests),
		api.VerifyURL.Handle(b.verifyURL),
	}
}

// begin has the pools mark a volume for an import while nobody uses it.
func (b *box) begin(ctx context.Context, q api.ImportRequest) (i pool.Import, err error) {
	r := pool.ImportRequest{Name: q.Volume, Pool: q.Pool, Size: q.Size, Source: q.Source, Overwrite: q.Overwrite, Restart: q.Restart, From: q.From}
	err = b.storage.work(ctx, func(ctx context.Context) error {
		if r.Pool, err = b.pools.ImportPool(r); err != nil {
			return volumeError(err)
		}
		id := volumeID{r.Pool, q.Volume[strings.IndexByte(q.Volume, '/')+1:]}
		if who := b.storage.usersOf(id); len(who) > 0 {
			return &api.Error{Message: fmt.Sprintf("volume %s is in use: %s", id, strings.Join(who, "; ")), Do: "log it out first; nothing was changed"}
		}
		back := b.storage.takeOffline(id)
		if i, err = b.pools.BeginImport(ctx, r); err != nil {
			return errors.Join(volumeError(err), back())
		}
		_ = back() // which says at its targets that it isn't served now
		return nil
	})
	return i, err
}

func (b *box) beginImport(ctx context.Context, q api.ImportRequest, _ func(api.Progress)) (api.BeginImportAnswer, error) {
	i, err := b.begin(ctx, q)
	return api.BeginImportAnswer{Size: i.Size, Start: i.Start}, err
}

// importStream is the second half of an import that beginImport began.
func (b *box) importStream(ctx context.Context, q api.ImportRequest, body io.Reader, progress func(api.Progress)) (a api.ImportAnswer, err error) {
	s, err := stream.NewReader(body)
	if err != nil {
		return a, fmt.Errorf("cannot receive the image: %w", err)
	}
	if (s.From == nil) != (q.From == "") || s.From != nil && s.From.UUID != q.From {
		return a, errors.New("the stream isn't the one that was announced")
	}
	q.Restart = false
	i, err := b.begin(ctx, q)
	if err != nil {
		return a, err
	}
	if s.From == nil && s.Start != i.Start {
		return a, fmt.Errorf("the stream begins at byte %d, and volume %s wants it from %d on", s.Start, i.Name, i.Start)
	}
	var to *pool.Point
	if s.To != nil {
		to = &pool.Point{Name: s.To.Name, UUID: s.To.UUID}
	}
	if s.From == nil {
		return b.fill(ctx, i, s.Source(), to, progress)
	}
	return b.change(ctx, i, s, to, progress)
}

// fill brings a whole disk into a volume.
func (b *box) fill(ctx context.Context, i pool.Import, src image.Source, to *pool.Point, progress func(api.Progress)) (a api.ImportAnswer, err error) {
	a = api.ImportAnswer{Volume: i.Name, Pool: i.Pool, Size: i.Size, Resumed: i.Start}
	dev, err := b.openSparing(ctx, i)
	if err != nil {
		return a, err
	}
	defer dev.Close() // finish does it before, and looks at the error
	if i.Start == 0 && !i.Blank {
		progress(api.Progress{What: "emptying volume " + i.Name})
		if err := transfer.Empty(ctx, dev); err != nil {
			b.log.Info("A volume can't be discarded; it is zeroed where it must be", "volume", i.Name, "error", err)
		}
		if err := b.pools.Emptied(ctx, &i); err != nil {
			return a, err
		}
	}
	c := transfer.Copy{
		To: dev, From: src, Start: i.Start, Blank: i.Blank, Period: savePeriod,
		Save: func(ctx context.Context, done int64) error { return b.pools.SaveImport(ctx, i, done) },
		Tell: func(done int64) {
			progress(api.Progress{What: "importing into " + i.Name, Done: done, Total: max(src.Size(), 0)})
		},
	}
	if a.Disk, err = c.Run(ctx); err != nil {
		return a, err
	}
	progress(api.Progress{What: "flushing volume " + i.Name, Done: a.Disk, Total: a.Disk})
	if err := c.Finish(ctx, a.Disk); err != nil {
		return a, err
	}
	said, err := transfer.FixGPT(dev)
	if err != nil {
		return a, err
	}
	if said != "" {
		a.Notes = append(a.Notes, said)
	}
	a.Kept, err = b.finish(ctx, i, dev, to)
	return a, err
}

// change applies an incremental stream.
func (b *box) change(ctx context.Context, i pool.Import, s *stream.Reader, to *pool.Point, progress func(api.Progress)) (a api.ImportAnswer, err error) {
	a = api.ImportAnswer{Volume: i.Name, Pool: i.Pool, Size: i.Size, Disk: s.Size}
	if to == nil {
		return a, errors.New("the stream doesn't tell what it brings about")
	}
	dev, err := b.openSparing(ctx, i)
	if err != nil {
		return a, err
	}
	defer dev.Close() // finish does it before, and looks at the error
	err = transfer.Apply(ctx, dev, s, func(at int64) {
		progress(api.Progress{What: "changing volume " + i.Name, Done: at, Total: max(s.Size, 0)})
	})
	if err != nil {
		return a, err
	}
	a.Kept, err = b.finish(ctx, i, dev, to)
	return a, err
}

// finish has the volume served again. The device is closed before, so that the
// target can open it.
func (b *box) finish(ctx context.Context, i pool.Import, dev transfer.Device, to *pool.Point) (kept string, err error) {
	if err := dev.Sync(); err != nil {
		return "", fmt.Errorf("cannot flush volume %s: %w", i.Name, err)
	}
	if err := dev.Close(); err != nil {
		return "", fmt.Errorf("cannot close volume %s: %w", i.Name, err)
	}
	kept, err = b.pools.FinishImport(context.WithoutCancel(ctx), i, to)
	b.storage.poolsChanged()
	return kept, err
}

// importURL reads an image from a web server.
func (b *box) importURL(ctx context.Context, q api.ImportRequest, progress func(api.Progress)) (a api.ImportAnswer, err error) {
	w, err := transfer.OpenWeb(ctx, q.URL, transfer.WebOptions{})
	if err != nil {
		return a, fmt.Errorf("cannot import from there: %w", err)
	}
	defer w.Close()
	progress(api.Progress{What: "reading " + w.String()})
	src, err := transfer.OpenWebImage(w, q.Format)
	if err != nil {
		return a, err
	}
	defer src.Close()
	if q.Size <= 0 {
		q.Size = src.Size
	}
	sum := sha256.Sum256([]byte(src.Identity()))
	q.Source = hex.EncodeToString(sum[:8])
	if !src.Known() { // who knows whether it is the same
		q.Restart = true
	}
	if src.From != nil {
		return a, &api.Error{Message: "the file holds only what differs from a snapshot", Do: "fetch it, and give it to sanctl volume import --incremental"}
	}
	i, err := b.begin(ctx, q)
	if err != nil {
		return a, err
	}
	from, err := src.Content(i.Start)
	if err != nil {
		return a, err
	}
	var to *pool.Point
	if src.To != nil {
		to = &pool.Point{Name: src.To.Name, UUID: src.To.UUID}
	}
	a, err = b.fill(ctx, i, from, to, progress)
	a.Format = src.Format
	return a, err
}
