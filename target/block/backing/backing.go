// Package backing opens a block.Device of the kind that a path names: a
// regular file, a block device, or RAM.
package backing

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"sanstick/target/block"
	"sanstick/target/block/blkdev"
	"sanstick/target/block/filedev"
	"sanstick/target/block/memdev"
)

// Options say how to present the device. Zero values mean: as the device is,
// or 512-byte logical and 4096-byte physical blocks where it has none.
type Options struct {
	LogicalBlock  int // bytes
	PhysicalBlock int // bytes
	ReadOnly      bool
	// Direct is for files, which then bypass the page cache; block devices
	// always do, and RAM can't.
	Direct bool
	// ReadsZero is for block devices only; see blkdev.Options.
	ReadsZero bool
}

// memPrefix marks a device in RAM, as in "mem:64MiB".
const memPrefix = "mem:"

// Open opens path: "mem:SIZE" (see ParseSize) is a new RAM disk, anything else
// a regular file or a block device.
func Open(path string, o Options) (block.Device, error) {
	if size, ok := strings.CutPrefix(path, memPrefix); ok {
		n, err := ParseSize(size)
		if err == nil && o.Direct {
			err = errors.New("direct I/O is for files")
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open %q: %w", path, err)
		}
		if o.PhysicalBlock == 0 {
			o.PhysicalBlock = max(4096, o.LogicalBlock)
		}
		return wrap(memdev.New(n, memdev.Options{
			LogicalBlock: o.LogicalBlock, PhysicalBlock: o.PhysicalBlock, ReadOnly: o.ReadOnly}))
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open a disk: %w", err)
	}
	switch mode := st.Mode(); {
	case mode.IsRegular():
		return wrap(filedev.Open(path, filedev.Options{
			LogicalBlock: o.LogicalBlock, PhysicalBlock: o.PhysicalBlock, ReadOnly: o.ReadOnly, Direct: o.Direct}))
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		return wrap(blkdev.Open(path, blkdev.Options{
			LogicalBlock: o.LogicalBlock, PhysicalBlock: o.PhysicalBlock, ReadOnly: o.ReadOnly, ReadsZero: o.ReadsZero}))
	}
	return nil, fmt.Errorf("cannot open %q as a disk: it is neither a regular file nor a block device", path)
}

// wrap keeps a nil pointer from becoming a Device that isn't nil.
func wrap[D block.Device](d D, err error) (block.Device, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// ParseSize reads a positive number of bytes, with an optional unit: K, M, G,
// T, or KiB, MiB, GiB, TiB, all powers of 1024.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("size %q is not a positive number with K, M, G or T", s)
	}
	shift, ok := map[string]int{
		"": 0, "K": 10, "M": 20, "G": 30, "T": 40,
		"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40,
	}[s[len(digits):]]
	if !ok {
		return 0, fmt.Errorf("size %q: unknown unit %q", s, s[len(digits):])
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return n << shift, nil
}
