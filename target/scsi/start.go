package scsi

import "sanstick/target/block"

// underway is what a task has while its device works for it.
type underway struct {
	transfer block.Transfer
	blocks   held
}

// Starts says whether Start may be worth while.
func (t *Task) Starts() bool {
	return !t.ended && t.command.op != nil && t.path != nil && t.path.unit.starter != nil
}

// A Batch is tasks of one unit that are started one after the other, and begin
// together. It belongs to one goroutine. The zero value is empty.
type Batch struct {
	unit  *Unit // in use because of it; nil if nothing waits for Submit
	begun int   // tasks
}

// mostBegun is how many tasks wait for Submit at most: others wait for them.
const mostBegun = 64

// Start begins what Run does, without waiting for anybody. done is called, once,
// by another goroutine, for which it must not wait, and then End has to be called.
// False means that the task has to be Run, as one of another unit than those before
// it has to be, too. out is like that of Run, and has to
// stay until End; alloc may return nil.
//
// Submit has to follow before the caller waits for anything.
func (b *Batch) Start(t *Task, out []byte, alloc Allocator, done func(error)) (ok bool) {
	if b.begun >= mostBegun || !b.use(t.path.unit) || !t.path.enter() {
		return false
	}
	defer func() {
		if !ok {
			t.path.leave()
		}
	}()
	t.out = out
	if ok = t.start(alloc, done); ok {
		b.begun++
	}
	return ok
}

// use keeps a unit's device open until Submit.
func (b *Batch) use(u *Unit) bool {
	if b.unit == nil && u.enter() {
		b.unit = u
	}
	return b.unit == u
}

// Submit has begin what was started. It may wait for a device.
func (b *Batch) Submit() {
	if b.unit != nil {
		b.unit.starter.Submit()
		b.unit.leave()
	}
	*b = Batch{}
}

func (t *Task) start(alloc Allocator, done func(error)) (ok bool) {
	if t.conflicts() {
		return false
	}
	u, x := t.path.unit, &t.begun.transfer
	*x = block.Transfer{Done: done}
	if !t.command.op(t, x, alloc) {
		return false
	}
	if x.Op == block.OpWriteAt && t.info.WriteCache {
		x.Done = t.settled(done)
	}
	if t.command.flags&writes != 0 && !t.tryWrite() {
		return false
	}
	defer func() {
		if !ok {
			t.letGo()
		}
	}()
	if t.command.flags&transfers != 0 {
		blocks, shared := u.tryShare(t.bytes())
		if !shared {
			return false
		}
		t.begun.blocks = blocks
	}
	return u.starter.Start(x)
}

// settled is done for a write that has to be durable if an initiator wants no write
// cache by the time when it has come back.
func (t *Task) settled(done func(error)) func(error) {
	u := t.path.unit
	return func(err error) {
		if err == nil && u.modes()&writeThrough != 0 {
			go func() { done(u.flush(t.info)) }()
			return
		}
		done(err)
	}
}

// End returns the result of a task that was started, given what done was told. It
// doesn't wait.
func (t *Task) End(err error) Result {
	defer t.path.leave()
	defer t.letGo()
	a := writing
	if t.begun.transfer.Op == block.OpReadAt {
		a = reading
	}
	r := t.done(err, a)
	if err == nil && a == reading {
		r.Data = t.in
	}
	t.count(r)
	return r
}

// letGo gives back what start took, but for the path.
func (t *Task) letGo() {
	t.begun.blocks.release()
	t.begun.blocks = held{}
	if t.command.flags&writes != 0 {
		t.path.unit.endWrite()
	}
}

// tryWrite is mayWrite without waiting.
func (t *Task) tryWrite() bool {
	u := t.path.unit
	if !u.writing.TryRLock() {
		return false
	}
	if u.protection(t.info) != noAdditionalSense || t.wantsSpace() {
		u.endWrite()
		return false
	}
	return true
}

// opRead is READ as something to start.
func (t *Task) opRead(x *block.Transfer, alloc Allocator) bool {
	off, n := t.bytes()
	if n == 0 || t.fua() {
		return false
	}
	if t.in == nil {
		t.in = alloc.Alloc(int(n))
	}
	x.Op, x.P, x.Off = block.OpReadAt, t.in, off
	return t.in != nil
}

// opWrite is WRITE as something to start.
func (t *Task) opWrite(x *block.Transfer, _ Allocator) bool {
	data, bad := t.blocksSent()
	if bad.failed() || len(data) == 0 {
		return false
	}
	x.Op, x.P = block.OpWriteAt, data
	x.Off, _ = t.bytes()
	if t.info.WriteCache && (t.fua() || t.path.unit.modes()&writeThrough != 0) {
		x.Op = block.OpWriteForced
	}
	return true
}

// opFlush is SYNCHRONIZE CACHE as something to start.
func (t *Task) opFlush(x *block.Transfer, _ Allocator) bool {
	x.Op = block.OpFlush
	return t.info.WriteCache
}
