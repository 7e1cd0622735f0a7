package box

import (
	"context"

	"sanstick/appliance/api"
	"sanstick/appliance/disk/pool"
)

func (b *box) mendActions() []api.Action {
	return []api.Action{api.ReplaceDisk.Handle(b.replaceDisk), api.ScrubPool.Handle(b.scrubPool)}
}

func (b *box) replaceDisk(ctx context.Context, q api.ReplaceDiskRequest, progress func(api.Progress)) (a api.ReplaceDiskAnswer, err error) {
	progress(api.Progress{What: "adding disk " + q.New})
	// What has begun isn't stopped because somebody doesn't wait for it.
	a.Pool, err = b.pools.ReplaceDisk(context.WithoutCancel(ctx), pool.Replacement{Old: q.Old, New: q.New})
	return a, err
}

func (b *box) scrubPool(ctx context.Context, q api.ScrubPoolRequest, progress func(api.Progress)) (a api.ScrubPoolAnswer, err error) {
	progress(api.Progress{What: "starting to compare the copies of pool " + q.Pool})
	return a, b.pools.ScrubPool(context.WithoutCancel(ctx), q.Pool)
}
