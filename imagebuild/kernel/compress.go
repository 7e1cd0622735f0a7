package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/google/renameio/v2"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"

	"sanstick/imagebuild/rootfs"
)

// maxModule bounds an expanded module, against a broken file.
const maxModule = 64 << 20

// compress makes sure that every module lies compressed in the cache, and returns the files in the order of modules.
func compress(ctx context.Context, o Options, dir string, modules []string) ([]string, error) {
	files := make([]string, len(modules))
	var missing []int
	for i, m := range modules {
		files[i] = filepath.Join(o.CacheDir, moduleName(m)+shipped)
		if _, err := os.Stat(files[i]); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, i)
		} else if err != nil {
			return nil, fmt.Errorf("cannot look into the module cache: %w", err)
		}
	}
	if len(missing) == 0 {
		return files, nil
	}
	o.Log.Step("compressing %d modules", len(missing))
	if err := removeOthers(o.CacheDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the module cache: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, i := range missing {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return compressOne(ctx, o.Tree, filepath.Join(dir, modules[i]), files[i])
		})
	}
	return files, g.Wait()
}

// removeOthers deletes the caches of other sets of packages, which lie beside this one.
func removeOthers(dir string) error {
	all, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
	if err != nil {
		return fmt.Errorf("cannot list the module caches: %w", err)
	}
	for _, d := range all {
		if d == dir {
			continue
		}
		if err := os.RemoveAll(d); err != nil {
			return fmt.Errorf("cannot remove an outdated module cache: %w", err)
		}
	}
	return nil
}

// compressOne compresses with Debian's zstd at a level that the Go encoder doesn't have: it makes the modules an eighth
// smaller. It is told the size, as it doesn't see it on its standard input, so that init needs no second buffer.
func compressOne(ctx context.Context, t rootfs.Tree, from, to string) error {
	data, err := readModule(from)
	if err != nil {
		return err
	}
	cmd, err := t.Command(ctx, "usr/bin/zstd", "-19", "--single-thread", "-q", "-c", "--stream-size="+strconv.Itoa(len(data)))
	if err != nil {
		return err
	}
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot compress a kernel module: %w\n%s", err, said.Bytes())
	}
	if err := renameio.WriteFile(to, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the module cache: %w", err)
	}
	return nil
}

func unxz(data []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err == nil && len(out) > maxModule {
		err = fmt.Errorf("more than %d bytes", maxModule)
	}
	return out, err
}
