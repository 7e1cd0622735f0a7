package iscsi

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// Limits of the writer.
const (
	maxQueued      = 1024     // PDUs waiting; the reader waits beyond that
	maxQueuedBytes = 64 << 10 // of their data, that of commands apart
	flushBytes     = 1 << 20  // written at once
	flushCopied    = 64 << 10 // of these, headers and small data
	flushParts     = 512      // pieces of memory at once; writev takes 1024
	writeTimeout   = 60 * time.Second
)

// An item is something to send: one PDU, or the result of a task, which
// becomes as many as it takes.
type item struct {
	h     pdu.BHS
	data  []byte
	space int64 // bytes of the server's memory.in taken for data
	t     *task // if set, h and data are not
	stat  bool  // takes a StatSN
	slot  bool  // ends a request that used up a CmdSN
	last  bool  // the connection is closed after it
}

// writer sends what a session has to say. Sequence numbers are put in at the
// last moment, so that they are in order and up to date. It collects until
// nothing is left to send, and then writes everything at once.
type writer struct {
	s *session

	// Of the writing goroutine only.
	batch  pdu.Batch
	statSN uint32
	sent   []*task // their data is in batch
	space  int64   // of items whose data is in batch

	mu     sync.Mutex
	change sync.Cond // of anything below
	queue  []item
	bytes  int
	closed bool // nothing is added any more
	failed bool // nothing is sent any more
}

func newWriter(s *session, statSN uint32) *writer {
	w := &writer{s: s, statSN: statSN}
	w.batch.HeaderDigest, w.batch.DataDigest = s.p.HeaderDigest, s.p.DataDigest
	w.change.L = &w.mu
	return w
}

// send adds a PDU, and waits while too much is queued. Only the reader may
// call it: nothing may depend on the one who waits here.
func (w *writer) send(it item) {
	w.wait()
	w.sendNow(it)
}

// wait returns when there is room for more. It is for the reader: an initiator
// that doesn't take its answers is not listened to.
func (w *writer) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.failed && (len(w.queue) >= maxQueued || w.bytes >= maxQueuedBytes) {
		w.change.Wait()
	}
}

// sendNow adds a PDU without waiting. It is for what the command window
// bounds.
func (w *writer) sendNow(it item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(it)
}

// sendResult adds the result of a task, and takes over the task's data-in
// buffers.
func (w *writer) sendResult(t *task) {
	w.sendNow(item{t: t, stat: true, slot: !t.cmd.Immediate})
}

func (w *writer) add(it item) {
	w.queue = append(w.queue, it)
	w.bytes += len(it.data)
	w.change.Broadcast()
}

// close has run return once everything queued is sent.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.change.Broadcast()
}

// take returns all items there are, and uses space for the next ones. If there
// are none it waits, if told to, until there are some or close was called.
func (w *writer) take(space []item, wait bool) []item {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wait && len(w.queue) == 0 && !w.closed {
		w.change.Wait()
	}
	if len(w.queue) == 0 {
		return space[:0]
	}
	items := w.queue
	w.queue, w.bytes = space[:0], 0
	w.change.Broadcast() // there is room again
	return items
}

// run writes until close. After an error it closes the connection, and then
// only gives back the buffers of what it is told to send.
func (w *writer) run() {
	if w.writeAll() == nil {
		return
	}
	w.s.conn.Close()
	w.release()
	w.mu.Lock()
	w.failed = true
	w.change.Broadcast()
	w.mu.Unlock()
	for items := w.take(nil, true); len(items) > 0; items = w.take(items, true) {
		w.drop(items)
		clear(items)
	}
}

// errDropped is why the writer stops after an item marked last.
var errDropped = errors.New("connection dropped on purpose")

func (w *writer) writeAll() (err error) {
	defer func() {
		if r := recover(); r != nil {
			w.s.srv.panicked(w.s.log, r)
			err = errors.New("internal error")
		}
	}()
	var items []item
	for {
		items = w.take(items, true)
		if len(items) == 0 {
			return nil
		}
		for len(items) > 0 {
			for i := range items {
				if err := w.put(&items[i]); err != nil {
					w.drop(items[i:])
					return err
				}
			}
			clear(items)
			items = w.take(items, false)
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// drop gives back the buffers of items that will not be sent.
func (w *writer) drop(items []item) {
	for i := range items {
		if t := items[i].t; t != nil {
			t.releaseIn()
		}
		w.s.srv.memory.in.release(&w.s.inAccount, items[i].space)
		items[i].space = 0
	}
}

// put adds an item to the batch, and flushes when that is large.
func (w *writer) put(it *item) error {
	if it.slot {
		w.s.openWindow()
	}
	if it.t != nil {
		return w.result(it.t)
	}
	w.space += it.space
	it.space = 0
	if err := w.pdu(&it.h, it.data, it.stat); err != nil {
		return err
	}
	if it.last {
		if err := w.flush(); err != nil {
			return err
		}
		return errDropped
	}
	return nil
}

// pdu adds one PDU. Those with a status use up a StatSN; R2T tells the next
// one, and Data-In without status none (section 4.2.2.2).
func (w *writer) pdu(h *pdu.BHS, data []byte, stat bool) error {
	win := w.s.window(w.statSN)
	switch {
	case stat:
		w.statSN++
	case h.Opcode() == pdu.OpDataIn:
		win.StatSN = 0
	}
	h.SetWindow(win)
	w.batch.Add(h, nil, data)
	if w.batch.Size() >= flushBytes || w.batch.Copied() >= flushCopied || w.batch.Parts() >= flushParts {
		return w.flush()
	}
	return nil
}

// flush writes the batch and gives back the buffers that were in it.
func (w *writer) flush() error {
	err := w.s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		err = w.batch.Flush(w.s.conn)
	}
	if err == nil {
		w.release()
	}
	return err
}

func (w *writer) release() {
	for _, t := range w.sent {
		t.releaseIn()
	}
	clear(w.sent)
	w.sent = w.sent[:0]
	w.s.srv.memory.in.release(&w.s.inAccount, w.space)
	w.space = 0
}

// result sends the outcome of a task: Data-In PDUs (section 11.7), the last of
// them with the status if that is GOOD, else a SCSI Response (section 11.4).
func (w *writer) result(t *task) error {
	res := &t.result
	send, residual := t.residual()
	data := res.Data[:send]
	limit, burst := int(w.s.sendLimit.Load()), w.s.p.MaxBurst
	collapse := res.Status == scsi.Good && send > 0
	dataSN := uint32(0)
	var h pdu.BHS
	for off := 0; off < send; dataSN++ {
		n := min(limit, send-off, burst-off%burst)
		last := off+n == send
		d := pdu.DataIn{
			Final: last || (off+n)%burst == 0, HasStatus: last && collapse, Residual: residual,
			LUN: t.cmd.LUN, ITT: t.cmd.ITT, TTT: pdu.Reserved, DataSN: dataSN, Offset: uint32(off),
		}
		d.Encode(&h)
		if last {
			w.sent = append(w.sent, t) // from here on a flush gives the buffers back
		}
		if err := w.pdu(&h, data[off:off+n], d.HasStatus); err != nil {
			return err
		}
		off += n
	}
	if collapse {
		return nil
	}
	if send == 0 {
		t.releaseIn()
	}
	var sense []byte
	if len(res.Sense) > 0 {
		sense = append(binary.BigEndian.AppendUint16(nil, uint16(len(res.Sense))), res.Sense...)
	}
	(&pdu.SCSIResponse{Residual: residual, Status: byte(res.Status), ITT: t.cmd.ITT, ExpDataSN: t.r2tSN + dataSN}).Encode(&h)
	return w.pdu(&h, sense, true)
}

// residual returns how many bytes of data-in to send, and what to say of the
// difference between what the initiator expected and what the command moves
// (section 11.4.5.1).
func (t *task) residual() (send int, r pdu.Residual) {
	edtl := int(t.cmd.EDTL)
	moves := t.scsi.DataOutLength()
	if n := len(t.result.Data); n > 0 {
		moves = n
	}
	expected := 0
	switch {
	case t.cmd.Read:
		expected = edtl
		send = min(len(t.result.Data), edtl)
	case t.cmd.Write:
		expected = edtl
	}
	if t.cmd.Read && t.scsi.DataOutLength() > 0 || t.cmd.Write && len(t.result.Data) > 0 {
		// The data goes the other way: nothing of it was expected.
		return send, pdu.Residual{Overflow: true, Count: uint32(moves)}
	}
	switch {
	case moves > expected:
		r = pdu.Residual{Overflow: true, Count: uint32(moves - expected)}
	case moves < expected:
		r = pdu.Residual{Underflow: true, Count: uint32(expected - moves)}
	}
	return send, r
}
