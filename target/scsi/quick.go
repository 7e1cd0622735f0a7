package scsi

// quickMax is the most that a command moves, in bytes, to be done at once. What
// is longer is better copied by one goroutine while another sends.
const quickMax = 64 << 10

// Quick says whether Try may be worth while.
func (t *Task) Quick() bool {
	return !t.ended && t.command.quick != nil && t.path.unit.nowReader != nil && t.blocks*uint64(t.info.LogicalBlock) <= quickMax
}

// Try does what Run does, if that needs no waiting: neither for a device, nor
// for other commands, nor for memory. It is for tasks that are Quick. False
// means that the task has to be Run, which uses the buffer that Try has got.
// alloc may return nil.
func (t *Task) Try(alloc Allocator) (Result, bool) {
	off, n := t.bytes()
	if n == 0 || t.fua() || !t.path.enter() {
		return Result{}, false
	}
	defer t.path.leave()
	if t.conflicts() {
		return Result{}, false
	}
	h, ok := t.path.unit.tryShare(off, n)
	if !ok {
		return Result{}, false
	}
	defer h.release()
	if t.in = alloc.Alloc(int(n)); t.in == nil {
		return Result{}, false
	}
	res, ok := t.command.quick(t)
	if ok {
		t.count(res)
	}
	return res, ok
}

// readNow is read of what the device has in memory.
func (t *Task) readNow() (Result, bool) {
	off, _ := t.bytes()
	return Result{Status: Good, Data: t.in}, t.path.unit.nowReader.ReadNow(t.in, off)
}
