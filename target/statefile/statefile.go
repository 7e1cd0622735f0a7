// Package statefile keeps in files what logical units must know after a power
// cut: each is replaced whole or not at all. It implements scsi.Store.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// maxSize bounds a file that is read, in bytes.
const maxSize = 2 << 20

// Dir is a directory of state files, which one process uses at a time.
type Dir struct {
	path string
	lock *os.File
}

// leftover matches what a crash may leave of a file that was being written.
var leftover = regexp.MustCompile(`^\.[0-9a-f]{32}\.reservations[0-9]+$`)

// Open makes the directory if there is none (its parent must be there), and
// takes it for this process. Close it after the units that keep state in it.
func Open(path string) (*Dir, error) {
	path = filepath.Clean(path)
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("cannot use the state directory %s: another process does: %w", path, err)
	}
	d := &Dir{path, lock}
	if err := d.clean(); err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

// clean removes what was left half written.
func (d *Dir) clean() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("cannot read the state directory: %w", err)
	}
	for _, e := range entries {
		if leftover.MatchString(e.Name()) {
			if err := os.Remove(filepath.Join(d.path, e.Name())); err != nil {
				return fmt.Errorf("cannot clean the state directory: %w", err)
			}
		}
	}
	return nil
}

// Close lets others use the directory.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("cannot close the state directory: %w", err)
	}
	return nil
}

// File is the state of one unit. Its methods are for one goroutine at a time.
type File struct {
	dir, path string
	step      func() error // for tests: fails in place of the next step
}

// Reservations returns the file for the persistent reservations of the unit
// with a NAA designator. It need not be there.
func (d *Dir) Reservations(naa [16]byte) *File {
	return &File{dir: d.path, path: filepath.Join(d.path, fmt.Sprintf("%x.reservations", naa)), step: func() error { return nil }}
}

// Load returns what is in the file, nil if there is none. Errors name it.
func (f *File) Load() ([]byte, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open state: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read state: %w", err)
	}
	if len(b) > maxSize {
		return nil, fmt.Errorf("cannot read state: %s is longer than %d bytes", f.path, maxSize)
	}
	return append([]byte{}, b...), nil // not nil, even of an empty file
}

// String is the path of the file.
func (f *File) String() string { return f.path }

// Save replaces the file, with mode 0600, and returns when the new one is on
// stable storage. After an error, or a crash, the old or the new one is there.
func (f *File) Save(b []byte) error {
	if err := f.save(b); err != nil {
		return fmt.Errorf("cannot write state to %s: %w", f.path, err)
	}
	return nil
}

func (f *File) save(b []byte) error {
	if err := f.step(); err != nil {
		return err
	}
	p, err := renameio.NewPendingFile(f.path, renameio.WithTempDir(f.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	half := len(b) / 2
	for _, part := range [][]byte{b[:half], b[half:]} {
		if err = f.step(); err != nil {
			return err
		}
		if _, err = p.Write(part); err != nil {
			return errors.Join(err, p.Cleanup())
		}
	}
	if err := f.step(); err != nil {
		return err
	}
	if err := p.CloseAtomicallyReplace(); err != nil { // which syncs it first
		return errors.Join(err, p.Cleanup())
	}
	if err := f.step(); err != nil {
		return err
	}
	return syncDir(f.dir)
}

// syncDir puts the entries of a directory on stable storage.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync directory: %w", err)
	}
	return nil
}
