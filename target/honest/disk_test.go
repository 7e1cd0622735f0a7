package honest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/target/honest/internal/writelog"
)

// disk is a block device of which every write and flush is logged.
type disk struct {
	path   string // of the block device
	log    string // path of the log
	before []byte // what was on it at the beginning
	end    func() // takes the device away, so that the log is complete
}

// newDisk makes a disk that holds these bytes, with logical blocks of a size.
func newDisk(t *testing.T, dir string, before []byte, block int) *disk {
	t.Helper()
	d := &disk{log: filepath.Join(dir, "log"), before: before}
	base, export := filepath.Join(dir, "base"), filepath.Join(dir, "export")
	for path, data := range map[string][]byte{base: before, d.log: nil, export: nil} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := tool(t, "qemu-storage-daemon", "qemu-system-common")
	// What is below the log has nothing to flush: so a flush is done, and
	// logged, in the very place where it is asked for, and nothing that was
	// written beside it comes before it.
	cmd := exec.Command(program,
		"--blockdev", "driver=file,node-name=base,discard=unmap,cache.no-flush=on,filename=base",
		"--blockdev", "driver=file,node-name=log,filename=log",
		"--blockdev", "driver=blklogwrites,node-name=disk,discard=unmap,file=base,log=log",
		"--export", "type=fuse,id=export,node-name=disk,writable=on,mountpoint=export")
	cmd.Dir = dir // QEMU takes a comma in a path for more
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	// It has a mount namespace of its own: the last process to leave one
	// unmounts what is mounted there, and must not have to serve that itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start qemu-storage-daemon: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("qemu-storage-daemon: %v\n%s", err, &said)
			}
		case <-time.After(time.Minute): // it may have much to write yet, beside others
			t.Error("qemu-storage-daemon doesn't end")
			cmd.Process.Kill()
			<-ended
		}
	}
	export = fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, export)
	var fs unix.Statfs_t
	for began := time.Now(); fs.Type != unix.FUSE_SUPER_MAGIC; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("qemu-storage-daemon has ended: %v\n%s", err, &said)
		default:
		}
		if err := unix.Statfs(export, &fs); err != nil || time.Since(began) > 20*time.Second {
			stop()
			t.Fatalf("qemu-storage-daemon exports nothing: %v", err)
		}
	}
	loop, err := attach(export, block)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	d.path = loop.Name()
	d.end = func() {
		loop.Close()
		stop()
		d.end = func() {}
	}
	t.Cleanup(func() { d.end() })
	return d
}

// now returns how large the log is. What is in it then is what the disk has
// done, and that is so before anyone is told.
func (d *disk) now(t *testing.T) int64 {
	t.Helper()
	st, err := os.Stat(d.log)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// replay begins at the beginning of the log. The disk has ended.
func (d *disk) replay(t *testing.T) *writelog.Disk {
	t.Helper()
	f, err := os.Open(d.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	log, err := writelog.Read(f, d.now(t), int64(len(d.before)))
	if err != nil {
		t.Fatal(err)
	}
	return writelog.NewDisk(log, append([]byte(nil), d.before...))
}

// attach makes a loop device of a file, which is gone when the result is closed
// and nobody else uses it. It is not one with direct I/O: then it has many
// requests under way, and QEMU 7.2 confuses the data of writes to a FUSE
// export that are under way together. Without, FUSE has writes and flushes of a
// file one at a time, and sends each write on at once.
func attach(path string, block int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a loop device: %w", err)
	}
	defer control.Close()
	c := unix.LoopConfig{Fd: uint32(f.Fd()), Size: uint32(block), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	for range 100 { // others take loop devices, too
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("cannot find a free loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) { // nobody makes nodes here
			if err = unix.Mknod(name, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err == nil {
				dev, err = os.OpenFile(name, os.O_RDWR, 0)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open a loop device: %w", err)
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &c)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("cannot set up a loop device: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, errors.New("cannot get a loop device: all are taken")
}

// scratch returns a directory in RAM.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv(inside), "disk")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512m,mode=700"); err != nil {
		t.Fatalf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { mustUnmount(t, dir) })
	return dir
}

// unmount unmounts what is on a directory, or at least takes it from there.
func unmount(dir string) (err error) {
	for range 200 { // a process that is being started has our files open for a moment
		if err = unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		unix.Unmount(dir, unix.MNT_DETACH)
		return fmt.Errorf("cannot unmount %s: %w", dir, err)
	}
	return nil
}

func mustUnmount(t *testing.T, dir string) {
	t.Helper()
	if err := unmount(dir); err != nil {
		t.Error(err)
	}
}

// tool returns the path of a program, which is in a Debian package.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, name := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("no %s: install the package %s", name, pkg)
	return ""
}
