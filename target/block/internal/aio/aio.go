// Package aio reads and writes a file for many goroutines at a time without a
// thread for each: requests go to the kernel as Linux AIO, those that come
// together go together, and their goroutines sleep until an event says that
// they are done. Linux only.
//
// It pays for files that are open with O_DIRECT. On others the kernel does the
// I/O while it takes the request.
package aio

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limit is how many requests the kernel has of one file at a time. Further
// ones wait.
const Limit = 128

// kernel is an AIO context.
type kernel interface {
	// submit starts the first n transfers of a batch. n is less than all if
	// the kernel refuses the next one; if it refuses the first, there is an
	// error. What is refused hasn't begun.
	submit(batch []*controlBlock) (n int, err error)
	// empty tells whether no event waits.
	empty() bool
	// next takes an event. One caller at a time.
	next() (e event, ok bool)
	// destroy ends the context. No transfer may be left.
	destroy()
}

// File does I/O on an open file. See os.File for what ReadAt and WriteAt
// return. All methods but Close may be called from many goroutines at once.
type File struct {
	f       *os.File
	kernel  kernel        // nil: blocking calls only
	arrived *os.File      // an eventfd, signalled when events have come
	ended   chan struct{} // closed when nobody waits for events any more

	requests []request
	free     chan *request // those not in use

	mu      sync.Mutex
	pending []*controlBlock // to be submitted by whoever put the first one in, or by Submit
	spare   []*controlBlock // memory for another such list, of Submit

	reaping sync.Mutex // held while events are taken
}

// request is one transfer at a time.
type request struct {
	block controlBlock
	p     []byte         // what to transfer, kept reachable
	pin   runtime.Pinner // of p
	done  chan struct{}  // gets one value when result is set
	// result is bytes, or an errno, negative. It is atomic because only the
	// kernel stands between who submits and who takes the event, and that is
	// no order for Go.
	result atomic.Int64
	batch  []*controlBlock // memory for a list of pending ones
	// call is who wants to know of a request that was started, in place of done.
	// It is atomic like result.
	call atomic.Pointer[func(error)]
}

// New returns a File that does I/O on f, for which f must stay open. Where the
// kernel has no AIO, or none left, it does without.
func New(f *os.File) *File { return newFile(f, setup) }

func newFile(f *os.File, setup func(n int) (kernel, error)) *File {
	file, err := open(f, setup)
	if err != nil {
		return &File{f: f}
	}
	return file
}

func open(f *os.File, setup func(n int) (kernel, error)) (*File, error) {
	k, err := setup(Limit)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		k.destroy()
		return nil, fmt.Errorf("cannot make an eventfd: %w", err)
	}
	file := &File{
		f:        f,
		kernel:   k,
		arrived:  os.NewFile(uintptr(fd), "eventfd"),
		ended:    make(chan struct{}),
		requests: make([]request, Limit),
		free:     make(chan *request, Limit),
	}
	for i := range file.requests {
		r := &file.requests[i]
		r.done = make(chan struct{}, 1)
		r.block = controlBlock{data: uint64(i), fd: uint32(f.Fd()), flags: flagResFD, resFD: uint32(fd)}
		file.free <- r
	}
	events, err := file.arrived.SyscallConn()
	if err == nil {
		err = file.arrived.SetReadDeadline(time.Time{}) // fails if the poller hasn't taken it
	}
	if err != nil {
		k.destroy()
		file.arrived.Close()
		return nil, fmt.Errorf("cannot wait for an eventfd: %w", err)
	}
	go func() {
		defer close(file.ended)
		// Each signal wakes the poller anew, also while the count of earlier
		// ones has not been read: so it never is. Read returns when arrived is
		// closed.
		events.Read(func(uintptr) bool {
			file.reap()
			return false
		})
	}()
	return file, nil
}

// Close releases what New took; it doesn't close the file below. No other call
// may be running or follow.
func (f *File) Close() error {
	if f.kernel == nil {
		return nil
	}
	if err := f.arrived.Close(); err != nil {
		return fmt.Errorf("cannot stop waiting for I/O: %w", err)
	}
	<-f.ended
	f.kernel.destroy()
	return nil
}

// ReadAt is ReadAt of the file below.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.do(opRead, p, off)
}

// WriteAt is WriteAt of the file below.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.do(opWrite, p, off)
}

func (f *File) do(op uint16, p []byte, off int64) (int, error) {
	if f.kernel == nil || len(p) == 0 {
		return f.call(op, p, off)
	}
	r := <-f.free
	defer func() { f.free <- r }()
	if len(f.free) == Limit-1 {
		// Alone, it is quicker without the queue.
		return f.call(op, p, off)
	}
	n, err := f.transfer(r, op, p, off)
	if err == nil && n < len(p) {
		var rest int
		rest, err = f.call(op, p[n:], off+int64(n))
		n += rest
	}
	return n, err
}

// call does the I/O by a blocking call.
func (f *File) call(op uint16, p []byte, off int64) (int, error) {
	if op == opWrite {
		return f.f.WriteAt(p, off)
	}
	return f.f.ReadAt(p, off)
}

// transfer does the I/O through the kernel's queue. If it moves less than
// there is without an error, the rest is for a blocking call, which finds out
// why.
func (f *File) transfer(r *request, op uint16, p []byte, off int64) (int, error) {
	r.set(op, p, off)
	if f.enqueue(r) {
		// Let others that are about to ask for I/O do so.
		runtime.Gosched()
		f.submit(r)
	}
	<-r.done
	r.pin.Unpin()
	r.p = nil
	return f.result(r)
}

// set makes r a request.
func (r *request) set(op uint16, p []byte, off int64) {
	r.p = p
	r.pin.Pin(&p[0])
	r.block.transfer(op, p, off)
}

// result returns what came of a request.
func (f *File) result(r *request) (int, error) {
	result := r.result.Load()
	if result >= 0 {
		return int(result), nil
	}
	e := unix.Errno(-result)
	if e == unix.EINTR || e == unix.EAGAIN {
		return 0, nil
	}
	name := "read"
	if r.block.op == opWrite {
		name = "write"
	}
	return 0, &os.PathError{Op: name, Path: f.f.Name(), Err: e}
}

// enqueue reports whether r is the first of those pending, and so has to be
// followed by submit.
func (f *File) enqueue(r *request) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = append(f.pending, &r.block)
	return len(f.pending) == 1
}

// submit starts what is pending; r is the first of it.
func (f *File) submit(r *request) {
	f.mu.Lock()
	batch := f.pending
	f.pending, r.batch = r.batch[:0], batch
	f.mu.Unlock()
	f.give(batch)
	f.reap()
}

// give gives requests to the kernel. Those that it refuses end with nothing done.
func (f *File) give(batch []*controlBlock) {
	for len(batch) > 0 {
		n, err := f.kernel.submit(batch)
		if err != nil || n == 0 {
			f.finish(event{data: batch[0].data})
			n = 1
		}
		batch = batch[n:]
	}
}

// reap ends the requests that are done.
func (f *File) reap() {
	var events [32]event
	for !f.kernel.empty() {
		n := 0
		f.reaping.Lock()
		for n < len(events) {
			e, ok := f.kernel.next()
			if !ok {
				break
			}
			events[n] = e
			n++
		}
		f.reaping.Unlock()
		for _, e := range events[:n] {
			f.finish(e)
		}
	}
}

// finish ends the request that e is about.
func (f *File) finish(e event) {
	r := &f.requests[e.data]
	r.result.Store(e.result)
	if r.call.Load() != nil {
		f.end(r)
		return
	}
	r.done <- struct{}{}
}
