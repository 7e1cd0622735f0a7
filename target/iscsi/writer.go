package iscsi

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"sanstick/target/iscsi/internal/pdu"
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
//
// One at a time has the turn to write. Whoever has nothing better to do takes
// it if it is free, but never waits for the initiator (sendAll); what can't be
// written without that is left to the writer's own goroutine (run).
type writer struct {
	s   *session
	raw syscall.RawConn // of the connection; nil if it can't be written to without waiting

	// Of whoever has the turn.
	batch  pdu.Batch
	statSN uint32
	items  []item  // taken out of queue
	next   int     // of items, the first that isn't in batch
	parts  []*task // their data is in batch in part; in turns
	sent   []*task // their data is in batch
	space  int64   // of items whose data is in batch
	last   bool    // an item marked so is in batch

	mu     sync.Mutex
	work   sync.Cond // run waits for due, closed, or the turn
	room   sync.Cond // the reader waits for room in queue
	queue  []item
	bytes  int
	turn   bool  // somebody has it
	due    bool  // run has to see to something
	err    error // of one who had the turn; nothing is sent any more
	closed bool  // nothing is added any more
	failed bool  // what is added goes nowhere
	spare  []*taskPair
}

func newWriter(s *session, statSN uint32) *writer {
	w := &writer{s: s, statSN: statSN}
	w.batch.HeaderDigest, w.batch.DataDigest = s.p.HeaderDigest, s.p.DataDigest
	w.work.L, w.room.L = &w.mu, &w.mu
	if c, ok := s.conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
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
	for first := true; !w.failed && (len(w.queue) >= maxQueued || w.bytes >= maxQueuedBytes); first = false {
		w.wake()
		if first {
			w.mu.Unlock()
			w.s.scheduleNow()
			w.mu.Lock()
			continue
		}
		w.room.Wait()
	}
}

// sendNow adds a PDU without waiting. It is for what the command window
// bounds.
func (w *writer) sendNow(it item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(it)
	w.wake()
}

// sendResult adds the result of a task, and takes over the task's data-in
// buffers. later: the caller promises to call sendAll, or hurry, soon.
func (w *writer) sendResult(t *task, later bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(item{t: t, stat: true, slot: !t.cmd.Immediate})
	if !later {
		w.wake()
	}
}

func (w *writer) add(it item) {
	w.queue = append(w.queue, it)
	w.bytes += len(it.data)
}

// wake has run do its work. w.mu is held.
func (w *writer) wake() {
	w.due = true
	w.work.Signal()
}

// hurry has what was added with later sent.
func (w *writer) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		w.wake()
	}
}

// sendAll sends what there is, as far as the initiator takes it at once. The
// rest is left to run.
func (w *writer) sendAll() {
	w.mu.Lock()
	if len(w.queue) == 0 || w.turn || w.raw == nil || w.err != nil {
		if len(w.queue) > 0 {
			w.wake()
		}
		w.mu.Unlock()
		return
	}
	w.turn = true
	w.mu.Unlock()
	w.pump(false)
}

// close has run return once everything queued is sent.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
}

// take moves what was queued to items, which are all in batch. It returns false
// if nothing was.
func (w *writer) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.items)
	w.items, w.queue = w.queue, w.items[:0]
	w.next, w.bytes = 0, 0
	w.room.Signal()
	return len(w.items) > 0
}

// await waits until there is something to do for run, and takes the turn. It
// returns false when there will be nothing any more.
func (w *writer) await() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.turn || !w.due && !w.closed {
			w.work.Wait()
		}
		w.due = false
		switch {
		case w.err != nil:
			return false
		case len(w.queue) > 0 || w.unfinished():
			w.turn = true
			return true
		case w.closed:
			return false
		}
	}
}

// unfinished says whether some of what was taken isn't sent. The caller has
// the turn, or nobody.
func (w *writer) unfinished() bool {
	return w.next < len(w.items) || len(w.parts) > 0 || w.batch.Size() > 0
}

// run writes until close. After an error it closes the connection, and then
// only gives back the buffers of what it is told to send.
func (w *writer) run() {
	for w.await() {
		w.pump(true)
	}
	if w.err == nil {
		return
	}
	w.s.conn.Close()
	w.release()
	for _, t := range w.parts {
		t.releaseIn()
	}
	w.drop(w.items[w.next:])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = true
	for {
		w.drop(w.queue)
		clear(w.queue)
		w.queue, w.bytes = w.queue[:0], 0
		w.room.Signal()
		if w.closed {
			return
		}
		w.work.Wait()
	}
}

// errDropped is why the writer stops after an item marked last.
var errDropped = errors.New("connection dropped on purpose")

// pump sends until nothing is left, and gives the turn back. With wait false
// it does so too when it would have to wait, or fails.
func (w *writer) pump(wait bool) {
	all, err := w.writeAll(wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.err == nil {
		w.err = err
	}
	w.turn = false
	if w.due || err != nil || !all || len(w.queue) > 0 {
		w.wake()
	}
}

func (w *writer) writeAll(wait bool) (all bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			w.s.srv.panicked(w.s.log, r)
			err = errors.New("internal error")
		}
	}()
	for {
		for !w.last && (w.next < len(w.items) || len(w.parts) > 0) {
			if w.full() {
				if all, err := w.flush(wait); err != nil || !all {
					return false, err
				}
			}
			w.step()
			if w.next == len(w.items) && len(w.parts) > 0 {
				w.take() // small results pass by large ones
			}
		}
		if !w.last && w.take() {
			continue
		}
		if w.batch.Size() == 0 {
			return true, nil
		}
		if all, err := w.flush(wait); err != nil || !all {
			return false, err
		}
		if w.last {
			return false, errDropped
		}
	}
}

func (w *writer) full() bool {
	return w.batch.Size() >= flushBytes || w.batch.Copied() >= flushCopied || w.batch.Parts() >= flushParts
}

// step adds to the batch: the next item, or, if there is none, more of a
// result. An answer to anything but a command waits for the end of results that
// have begun: a task management function, for one, is not answered before what
// it follows.
func (w *writer) step() {
	if w.next < len(w.items) && (len(w.parts) == 0 || w.items[w.next].t != nil || !w.items[w.next].stat) {
		w.next++
		w.put(&w.items[w.next-1])
		return
	}
	t := w.parts[0]
	w.parts = append(w.parts[:0], w.parts[1:]...)
	w.slice(t)
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

// put adds an item to the batch.
func (w *writer) put(it *item) {
	if it.slot {
		w.s.openWindow()
	}
	if it.t != nil {
		w.result(it.t)
		return
	}
	w.space += it.space
	it.space = 0
	w.pdu(&it.h, it.data, it.stat)
	w.last = it.last
}

// pdu adds one PDU. Those with a status use up a StatSN; R2T tells the next
// one, and Data-In without status none (section 4.2.2.2).
func (w *writer) pdu(h *pdu.BHS, data []byte, stat bool) {
	win := w.s.window(w.statSN)
	switch {
	case stat:
		w.statSN++
	case h.Opcode() == pdu.OpDataIn:
		win.StatSN = 0
	}
	h.SetWindow(win)
	w.batch.Add(h, nil, data)
}

// flush writes the batch and gives back the buffers that were in it. It
// returns false if not everything was written, as wait was false.
func (w *writer) flush(wait bool) (all bool, err error) {
	if w.raw != nil {
		all, err = w.batch.FlushNow(w.raw)
	}
	if err == nil && !all && wait {
		err = w.flushSlowly()
		all = err == nil
	}
	if all {
		w.release()
	}
	return all, err
}

// flushSlowly waits for the initiator, but not forever.
func (w *writer) flushSlowly() error {
	if err := w.s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := w.batch.Flush(w.s.conn); err != nil {
		return err
	}
	return w.s.conn.SetWriteDeadline(time.Time{})
}

// takeSpare returns tasks that may be used again, and uses space for the next.
func (w *writer) takeSpare(space []*taskPair) []*taskPair {
	w.mu.Lock()
	defer w.mu.Unlock()
	spare := w.spare
	w.spare = space[:0]
	return spare
}

func (w *writer) release() {
	if len(w.sent) > 0 {
		w.mu.Lock()
		for _, t := range w.sent {
			t.releaseIn()
			if t.again && len(w.spare) < maxQueued {
				w.spare = append(w.spare, t.pair)
			}
		}
		w.mu.Unlock()
		clear(w.sent)
		w.sent = w.sent[:0]
	}
	w.s.srv.memory.in.release(&w.s.inAccount, w.space)
	w.space = 0
}
