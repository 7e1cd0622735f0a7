package aio

// StartRead begins a ReadAt and returns; done is called with its error by another
// goroutine, for which it must not wait. False means that too much is under way.
// Whoever has started something calls Submit before waiting for anything.
func (f *File) StartRead(p []byte, off int64, done func(error)) bool {
	return f.start(opRead, p, off, done)
}

// StartWrite is StartRead for a WriteAt.
func (f *File) StartWrite(p []byte, off int64, done func(error)) bool {
	return f.start(opWrite, p, off, done)
}

func (f *File) start(op uint16, p []byte, off int64, done func(error)) bool {
	if f.kernel == nil || len(p) == 0 {
		return false
	}
	select {
	case r := <-f.free:
		r.set(op, p, off)
		r.call.Store(&done)
		f.enqueue(r)
		return true
	default:
		return false
	}
}

// Submit has begin what was started. It may wait until the kernel takes it.
func (f *File) Submit() {
	if f.kernel == nil {
		return
	}
	f.mu.Lock()
	batch := f.pending
	f.pending, f.spare = f.spare[:0], nil
	f.mu.Unlock()
	f.give(batch)
	f.mu.Lock()
	f.spare = batch
	f.mu.Unlock()
	f.reap()
}

// end ends a request that was started. What the kernel hasn't moved is left to a
// blocking call.
func (f *File) end(r *request) {
	n, err := f.result(r)
	call, p, off, op := *r.call.Load(), r.p, r.block.off, r.block.op
	r.call.Store(nil)
	r.p = nil
	r.pin.Unpin()
	f.free <- r
	if err != nil || n == len(p) {
		call(err)
		return
	}
	go func() {
		_, err := f.call(op, p[n:], off+int64(n))
		call(err)
	}()
}
