package box

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/appliance/api"
	"sanstick/appliance/config"
	"sanstick/appliance/status"
)

func (b *box) poolActions() []api.Action {
	return []api.Action{api.AdoptPool.Handle(b.adoptPool), api.RepairPool.Handle(b.repairPool), api.AcceptReservations.Handle(b.acceptReservations)}
}

// adoptPool writes a pool that is on offer into the configuration and goes over
// to that. Its volumes are usable then; who may use them the user says.
func (b *box) adoptPool(ctx context.Context, q api.AdoptPoolRequest, progress func(api.Progress)) (a api.AdoptPoolAnswer, err error) {
	if !b.applying.TryLock() {
		return a, &api.Error{Message: "another configuration is being applied", Do: "wait for that"}
	}
	defer b.applying.Unlock()
	o, err := b.pools.Offered(ctx, q.Pool)
	if err != nil {
		return a, err
	}
	if len(o.Missing) > 0 {
		return a, &api.Error{Message: fmt.Sprintf("pool %s lacks disk %s, and what the others hold may be out of date", o.Name, strings.Join(o.Missing, ", ")),
			Do: "connect it; or, if that disk is lost, write the pool into the configuration yourself"}
	}
	was := o.Name
	if q.As != "" {
		o.Name = q.As
	}
	old, err := readBounded(filepath.Join(b.o.StickDir, configName))
	if err != nil {
		return a, fmt.Errorf("cannot read the configuration: %w", err)
	}
	a.Added = adoption(o)
	file := slices.Concat(bytes.TrimRight(old, "\r\n \t"), []byte("\n\n"), []byte(a.Added))
	if _, err := config.Parse(configName, file); err != nil {
		return a, &api.Error{Message: fmt.Sprintf("the configuration would have errors with pool %s in it: %s", o.Name, strings.Join(messages(err), "; ")),
			Do: "a pool gets another name by --as; a volume of a name that is taken by sanctl volume rename"}
	}
	if !q.Check && o.Name != was {
		if err := b.pools.RenamePool(ctx, o, o.Name); err != nil {
			return a, err
		}
	}
	a.ApplyConfigAnswer, err = b.goOver(ctx, file, api.ApplyConfigRequest{Replace: true, Check: q.Check}, progress)
	return a, err
}

// adoption is what the configuration needs for a pool that is on offer.
func adoption(o status.Offer) string {
	p := config.Pool{Name: o.Name, Disks: o.Disks, Layout: o.Layout}
	var volumes []config.Volume
	for _, v := range o.Volumes {
		volumes = append(volumes, config.Volume{Name: v.Name, Pool: o.Name, Size: v.Size, Thick: v.Thick, Block: v.Block})
	}
	return config.Text(p, volumes)
}

func (b *box) repairPool(ctx context.Context, q api.RepairPoolRequest, progress func(api.Progress)) (api.RepairPoolAnswer, error) {
	r, err := b.pools.RepairMetadata(ctx, q.Pool, func(what string) { progress(api.Progress{What: what}) })
	return api.RepairPoolAnswer{Kept: r.Kept}, err
}
