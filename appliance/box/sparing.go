package box

import (
	"context"
	"errors"
	"fmt"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/transfer"
)

// sparing is a volume that is written to past its unit, and like that refuses
// to be when its pool is nearly full.
type sparing struct {
	transfer.Device
	pool, volume string
	refuses      func(pool, volume string) bool
}

// openSparing opens the volume of an import for writing, alone. Since it was found it
// may have been reverted.
func (b *box) openSparing(ctx context.Context, i pool.Import) (transfer.Device, error) {
	dev, err := transfer.Open(i.Path, true)
	if err != nil {
		return nil, fmt.Errorf("volume %s is in use: %w", i.Name, err)
	}
	if err := b.pools.CheckImport(ctx, i); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return sparing{dev, i.Pool, i.Name, b.pools.Refuses}, nil
}

// WriteAt implements io.WriterAt.
func (s sparing) WriteAt(p []byte, off int64) (int, error) {
	if s.refuses(s.pool, s.volume) {
		return 0, fmt.Errorf("pool %s is nearly full, so nothing more is written to volume %s: make room (sanctl pools) and go on with the same command", s.pool, s.volume)
	}
	return s.Device.WriteAt(p, off)
}
