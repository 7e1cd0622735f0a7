package box

import (
	"context"

	"sanstick/appliance/api"
	"sanstick/appliance/disk/pool"
)

func (b *box) diskActions() []api.Action {
	return []api.Action{api.WipeDisk.Handle(b.wipeDisk)}
}

func (b *box) wipeDisk(ctx context.Context, q api.WipeDiskRequest, progress func(api.Progress)) (api.WipeDiskAnswer, error) {
	w := pool.Wipe{Disk: q.Disk, Zero: q.Zero, Progress: func(done, total int64) {
		progress(api.Progress{What: "wiping disk " + q.Disk, Done: done, Total: total})
	}}
	if q.Wipe {
		w.Confirmed = append([]string{}, q.Confirmed...)
	}
	r, err := b.pools.Wipe(ctx, w)
	if err != nil {
		return api.WipeDiskAnswer{}, err
	}
	return api.WipeDiskAnswer{Disk: r.Disk.ID(), Name: r.Disk.Name, Model: r.Disk.Model, Size: r.Disk.Size, Holds: r.Holds, Wiped: r.Done}, nil
}
