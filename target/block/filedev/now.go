package filedev

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How ReadNow finds out what is in memory.
const (
	nowNever  = iota // the file system can't tell
	nowAsk           // preadv2 with RWF_NOWAIT reads nothing else
	nowAlways        // the file system is one in memory
)

// nowOf returns the way for a file that has just been opened. File systems that
// can't tell show when they are asked.
func nowOf(f *os.File, direct bool) int32 {
	var st unix.Statfs_t
	switch err := unix.Fstatfs(int(f.Fd()), &st); {
	case direct:
		return nowNever
	case err == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC):
		return nowAlways // and doesn't know RWF_NOWAIT
	}
	return nowAsk
}

// ReadNow implements block.NowReader for what is in the page cache.
func (d *Device) ReadNow(p []byte, off int64) bool {
	now := d.now.Load()
	if now == nowNever || len(p) == 0 || d.Info().Check(off, int64(len(p))) != nil {
		return false
	}
	flags := 0
	if now == nowAsk {
		flags = unix.RWF_NOWAIT
	}
	n, err := preadv2(d.fd, p, off, flags)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		d.now.Store(nowNever)
	}
	return err == nil && n == len(p)
}

// preadv2 is that of golang.org/x/sys/unix without an allocation.
func preadv2(fd int, p []byte, off int64, flags int) (int, error) {
	v := unix.Iovec{Base: unsafe.SliceData(p)}
	v.SetLen(len(p))
	// The offset comes in two halves, as on machines of 32 bits; those of 64
	// take it from the first.
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&v)), 1, uintptr(off), uintptr(off>>32), uintptr(flags))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
