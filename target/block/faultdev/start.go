package faultdev

import "sanstick/target/block"

// Starter is a Device that is a block.Starter, whether the wrapped one is or not.
type Starter struct{ *Device }

var _ block.Starter = Starter{}

// CanStart implements block.Starter.
func (d Starter) CanStart() bool { return true }

// Start implements block.Starter. What is started begins with Submit, each on a
// goroutine of its own, as a call of the method.
func (d Starter) Start(x *block.Transfer) bool {
	var call func() error
	switch x.Op {
	case block.OpReadAt:
		call = func() error { _, err := d.ReadAt(x.P, x.Off); return err }
	case block.OpWriteAt:
		call = func() error { _, err := d.WriteAt(x.P, x.Off); return err }
	case block.OpWriteForced:
		call = func() error { _, err := d.WriteForced(x.P, x.Off); return err }
	case block.OpFlush:
		call = d.Flush
	}
	i := d.inner.Info()
	if x.Op != block.OpFlush && i.Check(x.Off, int64(len(x.P))) != nil || i.ReadOnly && (x.Op == block.OpWriteAt || x.Op == block.OpWriteForced) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started = append(d.started, func() { x.Done(call()) })
	return true
}

// Submit implements block.Starter.
func (d Starter) Submit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, run := range d.started {
		go run()
	}
	d.started = nil
}
