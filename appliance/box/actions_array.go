package box

import (
	"context"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

func (b *box) arrayActions() []api.Action {
	return []api.Action{api.OpenArray.Handle(b.openArray), api.CloseArray.Handle(b.closeArray)}
}

func (b *box) openArray(ctx context.Context, q api.OpenArrayRequest, _ func(api.Progress)) (status.Array, error) {
	a, err := b.pools.OpenArray(ctx, q.UUID, q.Degraded)
	return a, volumeError(err)
}

func (b *box) closeArray(ctx context.Context, q api.CloseArrayRequest, _ func(api.Progress)) (api.CloseArrayRequest, error) {
	return q, volumeError(b.pools.CloseArray(ctx, q.UUID))
}
