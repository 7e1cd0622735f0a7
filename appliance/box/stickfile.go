package box

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files on the stick are replaced as follows, so that a power cut at any moment
// leaves the old one or the new one. The stick is FAT, of which Linux (fs/fat) writes
// out each of these by itself, in no order that could be relied on:
//
//   - what a file holds,
//   - which clusters are in use, of all files,
//   - that a name was added to a directory or removed from it,
//   - where the file of a name begins, and how long it is.
//
// A rename over a file changes the third, of the name that goes, and the fourth, of
// the name that stays; and as soon as nobody has the old file open, its clusters are
// free. If only that reached the stick, nothing of either file could be read. fsync of
// a file writes the first, the second and the fourth, and that of a directory the
// second and the third; both empty the device's own cache in the end.

// A folder is a directory whose files are replaced; *dir is a real one.
type folder interface {
	create() (newFile, error)            // a file under a name that nothing else has
	hold(name string) (io.Closer, error) // keeps what a file holds from being given up
	rename(from, to string) error
	remove(name string) error
	sync() error // of the names in it
}

// A newFile is a file that is being written.
type newFile interface {
	io.WriteCloser
	Name() string // below the folder
	Sync() error
}

// replace makes data what the file called name holds, whole or not at all. It
// returns when that is on stable storage.
func replace(d folder, name string, data []byte) (err error) {
	f, err := d.create()
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, f.Close(), d.remove(f.Name()))
		}
	}()
	// The directory first: it may have grown, by a cluster that must be empty before
	// it belongs to it.
	if err := d.sync(); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	old, err := d.hold(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.rename(f.Name(), name); err != nil {
		if old != nil {
			err = errors.Join(err, old.Close())
		}
		return err
	}
	renamed = true
	// First the new file's other name goes, so that never two names have the same
	// clusters; then it takes the old one's place; then that one's clusters are free.
	err = errors.Join(d.sync(), f.Sync(), f.Close())
	if old != nil {
		err = errors.Join(err, old.Close())
	}
	return err
}

// discard removes a file, if there is one. It returns when that is on stable storage.
func discard(d folder, name string) error {
	old, err := d.hold(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.remove(name)
	if err == nil {
		err = d.sync()
	}
	return errors.Join(err, old.Close())
}

// replaceFile replaces a file in a directory that need not be there, whole or not at
// all. The stick must be writable.
func replaceFile(path string, data []byte) error {
	parent := filepath.Dir(path)
	if _, err := os.Lstat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return err
		}
		if err := (dir{filepath.Dir(parent)}).sync(); err != nil {
			return err
		}
	}
	if err := replace(dir{parent}, filepath.Base(path), data); err != nil {
		return fmt.Errorf("cannot replace %s: %w", path, err)
	}
	return nil
}

// removeFile removes a file, if there is one. The stick must be writable.
func removeFile(path string) error {
	if err := discard(dir{filepath.Dir(path)}, filepath.Base(path)); err != nil {
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	return nil
}

// dir is a real directory.
type dir struct{ path string }

// create implements folder. Such a file stays after a power cut. It isn't removed
// later: nothing would be gained but its few bytes.
func (d dir) create() (newFile, error) {
	f, err := os.CreateTemp(d.path, ".new-*")
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

type realFile struct{ *os.File }

func (f realFile) Name() string { return filepath.Base(f.File.Name()) }

func (d dir) hold(name string) (io.Closer, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d dir) rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d dir) remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
