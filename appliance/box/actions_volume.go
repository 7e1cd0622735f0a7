package box

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sanstick/appliance/api"
	"sanstick/appliance/config"
	"sanstick/appliance/sys"
)

func (b *box) volumeActions() []api.Action {
	return []api.Action{
		api.SnapshotVolume.Handle(b.snapshotVolume),
		api.CloneVolume.Handle(b.cloneVolume),
		api.RevertVolume.Handle(b.revertVolume),
		api.PromoteVolume.Handle(b.promoteVolume),
		api.RenameVolume.Handle(b.renameVolume),
		api.DeleteVolume.Handle(b.deleteVolume),
		api.RestoreVolume.Handle(b.restoreVolume),
		api.PurgeVolume.Handle(b.purgeVolume),
	}
}

// volumeError leaves out the advice to try again where that is of no use: what
// package pool refuses says itself what to do.
func volumeError(err error) error {
	var exit *sys.ExitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &api.Error{Message: err.Error()}
}

func (b *box) snapshotVolume(ctx context.Context, q api.SnapshotVolumeRequest, _ func(api.Progress)) (a api.NameAnswer, err error) {
	if q.Name != "" {
		if err := config.CheckSnapshotName(q.Name); err != nil {
			return a, badName(q.Name, err)
		}
	}
	a.Name, err = b.pools.Snapshot(ctx, q.Volume, q.Name)
	b.storage.poolsChanged() // a target may have waited for it
	return a, volumeError(err)
}

func badName(name string, err error) error {
	return &api.Error{Message: fmt.Sprintf("the name %q %v", name, err)}
}

func (b *box) cloneVolume(ctx context.Context, q api.CloneVolumeRequest, _ func(api.Progress)) (api.NameAnswer, error) {
	if err := config.CheckVolumeName(q.Name); err != nil {
		return api.NameAnswer{}, badName(q.Name, err)
	}
	err := b.pools.Clone(ctx, q.From, q.Name)
	b.storage.poolsChanged() // a target may have waited for it
	return api.NameAnswer{Name: q.Name}, volumeError(err)
}

func (b *box) revertVolume(ctx context.Context, q api.RevertVolumeRequest, progress func(api.Progress)) (a api.KeptAnswer, err error) {
	if !strings.Contains(q.Snapshot, "@") {
		return a, &api.Error{Message: fmt.Sprintf("%q is no snapshot; name one, as in golden@monday", q.Snapshot)}
	}
	snap, err := b.volumeID(q.Snapshot)
	if err != nil {
		return a, volumeError(err)
	}
	err = b.storage.replace(ctx, snap.volume(), q.Force, progress, func(ctx context.Context) error {
		a.Kept, err = b.pools.Revert(ctx, snap.String())
		return err
	})
	return a, volumeError(err)
}

func (b *box) promoteVolume(ctx context.Context, q api.PromoteVolumeRequest, progress func(api.Progress)) (a api.KeptAnswer, err error) {
	clone, err := b.volumeID(q.Clone)
	if err != nil {
		return a, volumeError(err)
	}
	id := volumeID{clone.pool, q.Volume}
	if in, name, qualified := strings.Cut(q.Volume, "/"); qualified {
		if id = (volumeID{in, name}); in != clone.pool {
			return a, volumeError(fmt.Errorf("%s and %s are in different pools", clone, id))
		}
	}
	err = b.storage.replace(ctx, id, q.Force, progress, func(ctx context.Context) error {
		a.Kept, err = b.pools.Promote(ctx, clone.String(), id.String())
		return err
	})
	return a, volumeError(err)
}

func (b *box) renameVolume(ctx context.Context, q api.RenameVolumeRequest, _ func(api.Progress)) (api.NameAnswer, error) {
	a := api.NameAnswer{Name: q.New}
	if err := config.CheckVolumeName(q.New); err != nil {
		return a, badName(q.New, err)
	}
	err := b.storage.work(ctx, func(ctx context.Context) error {
		old, err := b.volumeID(q.Old)
		if err != nil {
			return err
		}
		if err := b.pools.Rename(ctx, old.String(), q.New); err != nil {
			return err
		}
		b.storage.renamed(old, q.New)
		return nil
	})
	return a, volumeError(err)
}

func (b *box) deleteVolume(ctx context.Context, q api.DeleteVolumeRequest, _ func(api.Progress)) (api.NameAnswer, error) {
	a := api.NameAnswer{Name: q.Name}
	// On the goroutine that owns the targets, so that nobody begins to serve it.
	err := b.storage.work(ctx, func(ctx context.Context) error {
		id, err := b.volumeID(q.Name)
		if err != nil {
			return err
		}
		for _, t := range b.settings().config.Targets {
			for _, v := range t.Volumes {
				if at := b.storage.where(v); at == id || q.Snapshots && at.volume() == id {
					return fmt.Errorf("%s is in the configuration of target %s; take it out and do sanctl config apply", q.Name, t.Name)
				}
			}
		}
		return b.pools.Delete(ctx, id.String(), q.Snapshots)
	})
	return a, volumeError(err)
}

func (b *box) restoreVolume(ctx context.Context, q api.RestoreVolumeRequest, _ func(api.Progress)) (a api.NameAnswer, err error) {
	if q.As != "" {
		volume, snapshot, isSnapshot := strings.Cut(q.As, "@")
		err := config.CheckVolumeName(volume)
		if isSnapshot && err == nil {
			err = config.CheckSnapshotName(snapshot)
		}
		if err != nil {
			return a, badName(q.As, err)
		}
	}
	a.Name, err = b.pools.Restore(ctx, q.Name, q.As)
	b.storage.poolsChanged() // a target may have waited for it
	return a, volumeError(err)
}

func (b *box) purgeVolume(ctx context.Context, q api.PurgeVolumeRequest, _ func(api.Progress)) (api.NameAnswer, error) {
	return api.NameAnswer(q), volumeError(b.pools.Purge(ctx, q.Name))
}
