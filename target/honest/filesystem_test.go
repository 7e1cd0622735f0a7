package honest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	fileSystemSize = 10 << 20
	fileName       = "unit"
)

// newFileSystem returns an empty ext4.
func newFileSystem(t *testing.T, dir string) []byte {
	t.Helper()
	path := filepath.Join(dir, "ext4")
	defer os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fileSystemSize); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-F", "-b", "4096", "-J", "size=4", "-m", "0",
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot make an ext4: %v\n%s", err, out)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// mountLive mounts the ext4 on a disk and makes a file in it, full of data or,
// without, sparse. Both are on stable storage when it returns.
func mountLive(t *testing.T, dir string, d *disk, size int64, data []byte) (file string, unmounted func()) {
	t.Helper()
	mnt := filepath.Join(dir, "live")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	// Without a command the journal should be left alone: what it flushes
	// helps a target that doesn't.
	if err := unix.Mount(d.path, mnt, "ext4", unix.MS_NOATIME, "commit=300"); err != nil {
		t.Fatalf("cannot mount: %v", err)
	}
	unmounted = sync.OnceFunc(func() { mustUnmount(t, mnt) })
	t.Cleanup(unmounted)
	file = filepath.Join(mnt, fileName)
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Truncate(size), f.Sync(), unix.Syncfs(int(f.Fd()))); err != nil {
		t.Fatalf("cannot make the file: %v", err)
	}
	return file, unmounted
}

// recovered returns what the file holds once the file system of an image has
// been mounted, which replays its journal. It is in buf, as much as fits.
func recovered(image []byte, mnt string, buf []byte) ([]byte, error) {
	fd, err := unix.MemfdCreate("crash", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "crash")
	defer f.Close()
	if err := writeSparse(f, image); err != nil {
		return nil, err
	}
	loop, err := attach(fmt.Sprintf("/proc/self/fd/%d", fd), 512)
	if err != nil {
		return nil, err
	}
	defer loop.Close()
	if err := unix.Mount(loop.Name(), mnt, "ext4", unix.MS_NOATIME, ""); err != nil {
		return nil, fmt.Errorf("cannot mount after the crash: %w", err)
	}
	n, err := readFile(filepath.Join(mnt, fileName), buf)
	return buf[:n], errors.Join(err, unmount(mnt))
}

func readFile(path string, buf []byte) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // too short, as the ledger will say
		err = nil
	}
	return n, err
}

// writeSparse writes an image without the parts that are zero.
func writeSparse(f *os.File, image []byte) error {
	const piece = 64 << 10
	zero := make([]byte, piece)
	for at := 0; at < len(image); at += piece {
		p := image[at:min(at+piece, len(image))]
		if bytes.Equal(p, zero[:len(p)]) {
			continue
		}
		if _, err := f.WriteAt(p, int64(at)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(image)))
}
