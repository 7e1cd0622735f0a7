// Package block defines what a SCSI logical unit stands on: a Device that
// reads, writes and flushes bytes. It is a leaf: it imports nothing of
// sanstick, and knows neither SCSI nor iSCSI.
//
// Implementations live in the packages beside it (filedev, blkdev, memdev,
// faultdev); every one of them passes the suite in blocktest.
package block

import (
	"errors"
	"fmt"
)

// Device is random-access storage.
//
// Concurrency: all methods may be called from many goroutines at once. Calls
// that overlap in time and in bytes have no order among themselves; a call
// that starts after another has returned sees its effect.
//
// Cancellation: none, on purpose. A write that the kernel has taken can't be
// recalled, so a caller that must know that no effect can follow (a SCSI task
// abort) waits for the call to return. Implementations must not go on working
// on p after they have returned.
//
// Durability: data whose WriteAt returned nil is on stable storage after a
// Flush that *started* later has returned nil. If Info().WriteCache is false
// it already is when WriteAt returns. Once a Flush has failed, what the device
// holds is unknown: every later Flush fails with the same error until the
// device is closed.
//
// Offsets and lengths are bytes and must be multiples of
// Info().LogicalBlock; other values, and ranges beyond Info().Size, return
// ErrRange and move nothing.
type Device interface {
	// Info returns what the device is now. It is cheap, and is asked for every
	// command: Size may grow while the device is open.
	Info() Info
	// ReadAt fills p from off. It returns len(p) and nil, or an error.
	// Bytes never written, or unmapped, read as zero where Info().ReadsZero.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes p at off. It returns len(p) and nil, or an error after
	// which any part of the range may hold old or new bytes.
	WriteAt(p []byte, off int64) (int, error)
	// Flush returns when all writes that returned before it was called are on
	// stable storage, or with the error that kept them from it.
	Flush() error
	// Unmap tells the device that a range holds nothing of worth any more.
	// Parts smaller than Info().UnmapGranularity may be ignored. Returns
	// ErrNotSupported if Info().CanUnmap is false.
	Unmap(off, length int64) error
	// WriteZeroes makes a range read as zero, by the cheapest way that is
	// certain to.
	WriteZeroes(off, length int64) error
	// Close releases the device. It doesn't flush. No other call may be
	// running or follow.
	Close() error
}

// Mapper is a Device that knows which of its bytes take space.
type Mapper interface {
	// Mapped reports whether the logical block at off takes space of its own,
	// and that the same is true of n bytes from there: a multiple of
	// Info().LogicalBlock that is positive and at most length. It may be less
	// than there are. A block of which a part takes space does. Blocks that
	// don't read as zero. The range is one of at least a block; others return
	// ErrRange.
	Mapped(off, length int64) (mapped bool, n int64, err error)
}

// NowReader is a Device that may have bytes at hand, in memory.
type NowReader interface {
	// ReadNow is ReadAt if that needs no waiting. It returns false if it would
	// need some, or fail; p may hold anything then.
	ReadNow(p []byte, off int64) bool
}

// ForceWriter is a Device for which a write that is durable when it returns
// costs less than a WriteAt and a Flush: those that come together share a flush.
type ForceWriter interface {
	// WriteForced is a WriteAt and, if that works, a Flush.
	WriteForced(p []byte, off int64) (int, error)
}

// Starter is a Device that one goroutine can have do many things at a time.
type Starter interface {
	// CanStart says whether Start may ever return true.
	CanStart() bool
	// Start begins x, and returns at once. Later x.Done is called, once, by
	// whoever finds that it is done: a goroutine of the device, or one that is in
	// Submit or another method. So it must not wait, nor take a lock that is held
	// during such a call. Start returns false, and
	// nothing follows, if it can't begin without waiting, or would fail: then
	// there are the methods of Device.
	//
	// Whoever has started something calls Submit before waiting for anything: it
	// may not have begun yet.
	Start(x *Transfer) bool
	// Submit has all begin that was started. It may wait for the device.
	Submit()
}

// Transfer is what a Starter starts. It stays as it is until Done is called.
type Transfer struct {
	Op   Op
	P    []byte // not of OpFlush
	Off  int64
	Done func(error) // told what the method returns that Op names
}

// Op is a method of a Device, or of a ForceWriter.
type Op byte

// What can be started.
const (
	OpReadAt Op = iota
	OpWriteAt
	OpWriteForced
	OpFlush
)

// Info describes a Device. Sizes are bytes.
type Info struct {
	Size             int64 // a multiple of LogicalBlock
	LogicalBlock     int   // 512 or 4096
	PhysicalBlock    int   // >= LogicalBlock, a power of two
	OptimalIO        int   // preferred transfer size, 0 if unknown
	ReadOnly         bool  // WriteAt, Unmap and WriteZeroes return ErrReadOnly
	WriteCache       bool  // false only if every WriteAt is durable when it returns
	CanUnmap         bool
	ReadsZero        bool  // unmapped ranges read as zero
	UnmapGranularity int64 // 0 if CanUnmap is false
	Rotational       bool
	// A WriteAt of at most AtomicWrite bytes that begins at a multiple of
	// AtomicAlign is on stable storage as a whole or not at all, whenever the
	// power goes. Both are multiples of LogicalBlock, or 0: no promise. (What
	// other calls see while it runs is not said here.)
	AtomicWrite, AtomicAlign int
}

// Errors that callers branch on. Implementations wrap them.
var (
	ErrRange        = errors.New("range is not inside the device or not aligned to its blocks")
	ErrReadOnly     = errors.New("device is read-only")
	ErrNotSupported = errors.New("not supported by this device")
	ErrNoSpace      = errors.New("no space left behind a thin device")
	ErrMedium       = errors.New("medium error")
)

// Check returns nil if [off, off+length) is inside the device and aligned to
// its logical blocks, else an error that wraps ErrRange.
func (i Info) Check(off, length int64) error {
	b := int64(i.LogicalBlock)
	if off < 0 || length < 0 || off > i.Size || length > i.Size-off || off%b != 0 || length%b != 0 {
		return fmt.Errorf("bytes %d+%d of %d, blocks of %d: %w", off, length, i.Size, b, ErrRange)
	}
	return nil
}

// CheckGeometry returns an error unless logical and physical are block sizes
// that an Info may have.
func CheckGeometry(logical, physical int) error {
	if logical != 512 && logical != 4096 {
		return fmt.Errorf("logical block size %d is neither 512 nor 4096", logical)
	}
	if physical < logical || physical > MaxPhysicalBlock || physical&(physical-1) != 0 {
		return fmt.Errorf("physical block size %d is not a power of two in %d..%d", physical, logical, MaxPhysicalBlock)
	}
	return nil
}

// MaxPhysicalBlock is the largest physical block size that makes sense to
// tell an initiator, in bytes.
const MaxPhysicalBlock = 1 << 20
