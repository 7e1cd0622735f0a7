package update

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"crypto/sha256"

	"golang.org/x/sys/unix"
)

// Names on SANBOOT. GRUB boots a slot that has both a kernel and an initramfs
// under their own names.
const (
	EnvName      = "grub/grubenv"
	ManifestName = "slot.json" // in a slot: what it holds

	// A kernel that GRUB doesn't see: one that isn't complete yet, and one that
	// isn't to be booted any more. Giving a file another name of that length
	// changes one sector of its directory, so it happens or doesn't.
	kernelNew = "vmlinuz.new"
	kernelOld = "vmlinuz.old"
)

// syncEvery is after how many bytes what was written goes to the medium.
const syncEvery = 4 << 20

// slotDir is a slot's directory on the mounted boot volume.
type slotDir string

func dirOf(volume string, s Slot) slotDir { return slotDir(filepath.Join(volume, string(s))) }

func (d slotDir) path(name string) string { return filepath.Join(string(d), name) }

// hide makes the slot one that GRUB doesn't boot, on the medium before it
// returns. What is in it isn't touched.
func (d slotDir) hide() error {
	err := os.Rename(d.path(KernelName), d.path(kernelOld))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncFS(string(d))
	}
	if err != nil {
		return fmt.Errorf("cannot make the slot's old content unbootable: %w", err)
	}
	return nil
}

// clear removes the files of a slot that is hidden.
func (d slotDir) clear() error {
	for _, name := range []string{kernelOld, kernelNew, InitramfsName, ManifestName} {
		if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot empty the slot: %w", err)
		}
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("cannot make the slot: %w", err)
	}
	return syncFS(string(d))
}

// write fills an empty slot, still hidden from GRUB. progress gets the bytes
// that are on the medium.
func (d slotDir) write(ctx context.Context, b *Bundle, progress func(int64)) error {
	done := int64(0)
	for _, f := range b.Files {
		err := d.create(hidden(f.Name), func(w *os.File) error {
			return b.Copy(&steady{ctx: ctx, f: w, told: func(n int64) { progress(done + n) }}, f)
		})
		if err != nil {
			return err
		}
		done += f.Size
	}
	if err := b.End(); err != nil {
		return err
	}
	return d.create(ManifestName, func(w *os.File) error { _, err := w.Write(b.raw); return err })
}

// hidden is the name of a file until the slot is complete.
func hidden(name string) string {
	if name == KernelName {
		return kernelNew
	}
	return name
}

func (d slotDir) create(name string, fill func(*os.File) error) error {
	f, err := os.OpenFile(d.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the slot: %w", err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write the slot: %w", err)
	}
	return nil
}

// steady writes a file and sends what it has to the medium again and again: so
// a stick that is slow doesn't fill the memory.
type steady struct {
	ctx             context.Context
	f               *os.File
	written, synced int64
	told            func(int64)
}

func (s *steady) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.f.Write(p)
	s.written += int64(n)
	if err == nil && s.written-s.synced >= syncEvery {
		if err = unix.Fdatasync(int(s.f.Fd())); err != nil {
			return n, fmt.Errorf("cannot write to the stick: %w", err)
		}
		s.synced = s.written
		s.told(s.synced)
	}
	return n, err
}

// verify reads a slot and compares it with a manifest. name says under which
// names its files lie.
func (d slotDir) verify(ctx context.Context, m Manifest, name func(string) string, progress func(int64)) error {
	done := int64(0)
	for _, f := range m.Files {
		sum := sha256.New()
		n, err := d.read(ctx, name(f.Name), sum, func(n int64) { progress(done + n) })
		if err != nil {
			return fmt.Errorf("cannot read the slot: %w", err)
		}
		if n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			return fmt.Errorf("%s in the slot isn't what belongs there: the stick doesn't keep what is written to it", f.Name)
		}
		done += f.Size
	}
	return nil
}

func (d slotDir) read(ctx context.Context, name string, w io.Writer, progress func(int64)) (int64, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	total := int64(0)
	for {
		if ctx.Err() != nil {
			return total, context.Cause(ctx)
		}
		n, err := io.CopyN(w, f, syncEvery)
		total += n
		progress(total)
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// show lets GRUB see the slot, whose files are complete and compared.
func (d slotDir) show() error {
	err := os.Rename(d.path(kernelNew), d.path(KernelName))
	if err == nil {
		err = syncFS(string(d))
	}
	if err != nil {
		return fmt.Errorf("cannot make the slot bootable: %w", err)
	}
	return nil
}

// ErrNoSystem says that a slot holds nothing that can be booted.
var ErrNoSystem = errors.New("it holds no system")

// describe tells what a slot holds. It doesn't read the files.
func (d slotDir) describe() (Manifest, error) {
	raw, err := readSmall(d.path(ManifestName), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, ErrNoSystem
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("cannot read the slot: %w", err)
	}
	m, err := DecodeManifest(raw)
	if err != nil {
		return m, fmt.Errorf("cannot use what describes the slot: %w", err)
	}
	for _, f := range m.Files {
		st, err := os.Stat(d.path(f.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return m, ErrNoSystem
		case err != nil:
			return m, fmt.Errorf("cannot read the slot: %w", err)
		case st.Size() != f.Size:
			return m, fmt.Errorf("%s has %d bytes, not %d: %w", f.Name, st.Size(), f.Size, ErrNoSystem)
		}
	}
	return m, nil
}

// taken is how many bytes the files of a slot have, in whole units.
func (d slotDir) taken(unit int64) (int64, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the slot: %w", err)
	}
	total := int64(0)
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			return 0, fmt.Errorf("cannot read the slot: %w", err)
		}
		total += roundUp(st.Size(), unit)
	}
	return total, nil
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// Space is what a volume has room for.
type Space struct{ Free, Unit int64 } // bytes

func statSpace(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("cannot see how much room the boot volume has: %w", err)
	}
	return Space{Free: int64(st.Bavail) * st.Bsize, Unit: st.Bsize}, nil
}

// syncFS writes back all that was changed in the filesystem that dir is in.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot write back the boot volume: %w", err)
	}
	return nil
}

// Unfinished tells whether a file of a slot is a kernel that GRUB doesn't see:
// of an update that was cut off.
func Unfinished(name string) bool { return name == kernelNew || name == kernelOld }
