package blkdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
)

// geometry is what the kernel knows about a block device. Sizes are bytes.
type geometry struct {
	size       int64
	logical    int
	physical   int
	optimal    int // 0 if unknown
	atomic     int
	discard    int64 // granularity, 0 if it can't discard
	rotational bool
	readOnly   bool
}

// blkRotational is BLKROTATIONAL of linux/fs.h, _IO(0x12, 126).
const blkRotational = 0x127e

// blkAlignOffset is BLKALIGNOFF of linux/fs.h, _IO(0x12, 122).
const blkAlignOffset = 0x127a

// sector is what every disk writes as a whole, in bytes.
const sector = 512

func readGeometry(f *os.File) (g geometry, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return g, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return g, errors.New("not a block device")
	}
	if g.size, err = deviceSize(f); err != nil {
		return g, err
	}
	if g.logical, err = unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET); err != nil {
		return g, fmt.Errorf("cannot get its block size: %w", err)
	}
	// These three are 32 bits wide, and nothing fails without them.
	if v, err := unix.IoctlGetUint32(int(f.Fd()), unix.BLKPBSZGET); err == nil {
		g.physical = int(v)
	}
	if v, err := unix.IoctlGetUint32(int(f.Fd()), unix.BLKIOOPT); err == nil {
		g.optimal = int(v)
	}
	if v, err := unix.IoctlGetUint32(int(f.Fd()), unix.BLKROGET); err == nil {
		g.readOnly = v != 0
	}
	var rotational uint16
	if err := ioctl(f, blkRotational, unsafe.Pointer(&rotational)); err == nil {
		g.rotational = rotational != 0
	}
	g.atomic = atomicWrite("/sys", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	if v, err := unix.IoctlGetUint32(int(f.Fd()), blkAlignOffset); err != nil || v != 0 {
		g.atomic = sector // its physical blocks don't begin where it does
	}
	g.discard = discardGranularity("/sys", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	return g, nil
}

// deviceSize returns the size of a block device in bytes.
func deviceSize(f *os.File) (int64, error) {
	var n uint64
	if err := ioctl(f, unix.BLKGETSIZE64, unsafe.Pointer(&n)); err != nil {
		return 0, fmt.Errorf("cannot get its size: %w", err)
	}
	return int64(n), nil
}

// discardGranularity returns the unit in which a device discards, in bytes, 0
// if it doesn't. A partition has the queue of its disk.
func discardGranularity(sys string, major, minor uint32) int64 {
	dir := filepath.Join(sys, "dev", "block", fmt.Sprintf("%d:%d", major, minor))
	for _, queue := range []string{"queue", "../queue"} {
		// filepath.Join would resolve ".." by name, but dir is a link.
		limit, err := readNumber(dir + "/" + queue + "/discard_max_bytes")
		if err != nil {
			continue
		}
		granularity, err := readNumber(dir + "/" + queue + "/discard_granularity")
		if err != nil || limit == 0 {
			return 0
		}
		return granularity
	}
	return 0
}

// atomicWrite returns what a device writes as a whole or not at all when the
// power goes, in bytes. The kernel says that of the physical block; but where
// devices are stacked it tells the largest one of those below, and only the
// smallest is what all of them keep to.
func atomicWrite(sys string, major, minor uint32) int {
	return smallestBlock(filepath.Join(sys, "dev", "block", fmt.Sprintf("%d:%d", major, minor)), 8)
}

// smallestBlock looks at most so many levels of devices down.
func smallestBlock(dir string, levels int) int {
	smallest := int64(0)
	for _, queue := range []string{"queue", "../queue"} {
		if n, err := readNumber(dir + "/" + queue + "/physical_block_size"); err == nil {
			smallest = n
			break
		}
	}
	below, err := os.ReadDir(dir + "/slaves")
	if levels == 0 || smallest < sector || (err != nil && !errors.Is(err, os.ErrNotExist)) { // not known
		return sector
	}
	for _, d := range below {
		smallest = min(smallest, int64(smallestBlock(dir+"/slaves/"+d.Name(), levels-1)))
	}
	return int(min(smallest, block.MaxPhysicalBlock))
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// ioctlRange does an ioctl that takes a start and a length, nothing for an
// empty range.
func (d *Device) ioctlRange(request uint, off, length int64) error {
	if length == 0 {
		return nil
	}
	r := [2]uint64{uint64(off), uint64(length)}
	for {
		err := ioctl(d.f, request, unsafe.Pointer(&r))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}
