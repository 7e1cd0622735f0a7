package box

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk"
)

// port is where sticks are plugged and pulled. Each is a directory.
type port struct {
	t     *testing.T
	sysfs string
	dir   string // where it is mounted, a link to what is on it

	mu        sync.Mutex
	sticks    map[string]string // by partition: what is on it
	mounted   string            // the partition
	writable  bool
	protected bool // what is plugged can't be written
}

func newPort(t *testing.T) *port {
	return &port{t: t, sysfs: t.TempDir(), dir: filepath.Join(t.TempDir(), "stick"), sticks: map[string]string{}}
}

// plug connects a stick under a kernel's name, such as "sda", as one that has never
// been there.
func (p *port) plug(name, seq, content string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sticks["/dev/"+name+"3"] = content
	for file, text := range map[string]string{"size": "262144", "diskseq": seq, "ro": "0", name + "3/size": "65536", name + "3/partition": "3", name + "3/dev": "8:" + seq} {
		path := filepath.Join(p.sysfs, "block", name, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text+"\n"), 0o600)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *port) pull(name string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sticks, "/dev/"+name+"3")
	if err := os.RemoveAll(filepath.Join(p.sysfs, "block", name)); err != nil {
		p.t.Fatal(err)
	}
}

// open is a disk.Opener.
func (p *port) open(path string) (interface {
	io.ReaderAt
	io.Closer
}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	volume := make([]byte, 4096)
	if _, ok := p.sticks[path]; ok {
		binary.LittleEndian.PutUint16(volume[11:], 512)
		volume[13], volume[14], volume[16], volume[17], volume[22] = 1, 1, 2, 16, 1
		copy(volume[43:], stickLabel+"   FAT16")
		volume[510], volume[511] = 0x55, 0xaa
	}
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(volume), io.NopCloser(nil)}, nil
}

func (p *port) Mount(source, target, _ string, flags uintptr, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	content, ok := p.sticks[source]
	switch {
	case !ok:
		return fs.ErrNotExist
	case flags&unix.MS_RDONLY == 0 && p.protected:
		return unix.EROFS
	case flags&unix.MS_REMOUNT != 0 && source != p.mounted:
		return unix.EINVAL
	case flags&unix.MS_REMOUNT == 0:
		if p.mounted != "" {
			return unix.EBUSY
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) { // the empty directory
			return err
		}
		if err := os.Symlink(content, target); err != nil {
			return err
		}
		p.mounted = source
	}
	p.writable = flags&unix.MS_RDONLY == 0
	return nil
}

func (p *port) Unmount(target string, _ int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mounted == "" {
		return unix.EINVAL
	}
	p.mounted = ""
	return os.Remove(target)
}

// stick mounts what is plugged.
func (p *port) stick() *stick {
	p.t.Helper()
	s := &stick{mounter: p, sysfs: p.sysfs, dir: p.dir, seq: "none"}
	s.finder.Open = disk.Opener(p.open)
	if err := s.check(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return s
}
