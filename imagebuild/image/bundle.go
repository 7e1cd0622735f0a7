package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"sanstick/appliance/update"
)

// Bundle makes the file o.Out with which sanctl update brings this version to
// an appliance. It isn't signed. Configuration is none of it.
func Bundle(ctx context.Context, o Options) (update.Manifest, error) {
	added, err := o.Custom.read()
	if err != nil {
		return update.Manifest{}, err
	}
	cache := filepath.Join(o.BuildDir, "cache")
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), o.Log)
	if err != nil {
		return update.Manifest{}, err
	}
	defer unlock()
	s, err := makeSystem(ctx, o, added, cache)
	if err != nil {
		return update.Manifest{}, err
	}
	o.Log.Step("writing %s", o.Out)
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return s.slot, fmt.Errorf("cannot write %s: %w", o.Out, err)
	}
	f, err := renameio.NewPendingFile(o.Out, renameio.WithPermissions(0o644))
	if err != nil {
		return s.slot, fmt.Errorf("cannot write %s: %w", o.Out, err)
	}
	defer f.Cleanup() // nothing, once it is in its place
	if err := update.Create(f, s.slot, s.kernel.Image, s.initrd); err != nil {
		return s.slot, err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return s.slot, fmt.Errorf("cannot write %s: %w", o.Out, err)
	}
	return s.slot, nil
}
