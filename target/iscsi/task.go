package iscsi

import (
	"slices"
	"time"

	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// The states of a task, in order.
type taskState byte

const (
	gathering taskState = iota // data-out is coming in
	queued                     // all there, waiting for a worker
	running                    // in the hands of package scsi
	ended                      // answered, or aborted with nothing to follow
)

// task is one SCSI command. Fields are guarded by the session's mutex, except
// that its buffers belong to the reader while receiving is set, to the worker
// while it runs, and to the writer afterwards.
type task struct {
	s     *session
	cmd   pdu.SCSICommand
	scsi  *scsi.Task
	seq   uint64        // order of arrival
	due   time.Duration // when it may run, of the target's limiter; 0 = at any time
	state taskState

	starts    bool // it need not be run by a worker, but can be started
	broken    bool // what has become of it is unknown
	aborted   bool
	receiving bool          // the reader is filling out
	gone      chan struct{} // made when somebody waits for a running task to come back
	hurry     func()        // ends its wait for space for data-in

	// Data-out.
	out         *buffer
	want        int  // bytes of it that the command can use
	got         int  // of these, how many have come
	reserved    int  // bytes of the session's writeSpace, and of memory.out, taken for it
	first       int  // bytes of memory.first taken for it
	waits       bool // in the session's waiting list
	excess      bool // the initiator has more than that
	unsolicited bool // more data is to come without R2T
	next        int  // offset of the next unsolicited byte
	dataSN      uint32
	asked       int // up to where R2Ts have been sent
	r2ts        []transfer
	r2tSN       uint32
	failure     *scsi.Result // why it must not run

	// Data-in.
	in      []*buffer
	inArray [1]*buffer // what in mostly is a slice of
	inSpace int64      // bytes of the session's readSpace and of memory.in taken for them
	last    int64      // bytes of memory.last, in place of that
	result  scsi.Result
	// Of the writer.
	send     int // bytes of the result to send
	inSent   int // of these, how many are
	inSN     uint32
	residual pdu.Residual
	pair     *taskPair
	again    bool // it may be used again once it is sent
}

// transfer is an R2T that has not been satisfied.
type transfer struct {
	ttt         uint32
	offset, end int
	next        int
	dataSN      uint32
}

// Sense keys that the transport says.
const (
	illegalRequest = 0x05
	abortedCommand = 0x0b
)

// fail has the task answered by CHECK CONDITION instead of run. The first
// reason counts.
func (t *task) fail(key, asc, ascq byte) {
	if t.failure == nil {
		res := t.scsi.Refuse(key, asc, ascq)
		t.failure = &res
	}
}

// What goes wrong with data-out, with the sense of section 11.4.7.2.
func (t *task) unexpectedData() { t.fail(abortedCommand, 0x0c, 0x0c) }
func (t *task) wrongAmount()    { t.fail(abortedCommand, 0x0c, 0x0d) }
func (t *task) badChecksum()    { t.fail(abortedCommand, 0x47, 0x05) }

// taskSlab is how many tasks are allocated together. Only those that nobody but
// the reader and the writer ever had are used again (try): a late look at
// another finds what it was.
const taskSlab = 16

// newTask returns a task without anything. Of the reader only.
func (s *session) newTask() *task {
	if len(s.spare) == 0 {
		s.spare = s.w.takeSpare(s.spare)
	}
	var p *taskPair
	if n := len(s.spare); n > 0 {
		p = s.spare[n-1]
		s.spare = s.spare[:n-1]
		*p = taskPair{}
	} else {
		if len(s.slab) == 0 {
			s.slab = make([]taskPair, taskSlab)
		}
		p = &s.slab[0]
		s.slab = s.slab[1:]
	}
	p.iscsi.s, p.iscsi.scsi, p.iscsi.pair = s, &p.scsi, p
	return &p.iscsi
}

// taskPair is a task and its other half.
type taskPair struct {
	iscsi task
	scsi  scsi.Task
}

// command starts a SCSI command (section 11.3).
func (s *session) command(h *pdu.BHS, ahs []byte, b *body) error {
	t := s.newTask()
	t.cmd.Decode(h)
	c := &t.cmd
	slot := !c.Immediate
	more, err := pdu.DecodeAHS(ahs)
	s.mu.Lock()
	taken := s.tasks[c.ITT] != nil
	tooMany := c.Immediate && s.immediate >= maxImmediate
	s.mu.Unlock()
	switch {
	case err != nil, c.ITT == pdu.Reserved, more.HasBidi && !(c.Read && c.Write),
		!c.Write && !c.Final,               // "an error", section 11.3.1
		!c.Read && !c.Write && c.EDTL != 0: // "MUST NOT", likewise
		return s.refuse(h, b, pdu.RejectInvalidField, slot)
	case taken:
		return s.refuse(h, b, pdu.RejectTaskActive, slot)
	case tooMany:
		return s.refuse(h, b, pdu.RejectTooManyImm, slot)
	case c.Read && c.Write:
		return s.refuse(h, b, pdu.RejectNotSupported, slot)
	}
	cdb := c.CDB[:]
	if more.ExtendedCDB != nil {
		cdb = append(slices.Clone(cdb), more.ExtendedCDB...)
	}
	s.nexus.Begin(t.scsi, c.LUN, cdb)
	if c.Write {
		t.want = int(min(c.EDTL, uint32(t.scsi.DataOutLength())))
		t.excess = c.EDTL > uint32(t.want)
		t.unsolicited = !c.Final
	}
	n := h.DataLen()
	switch {
	case n > 0 && (!c.Write || !s.p.ImmediateData || n > s.p.Unsolicited()),
		t.unsolicited && s.p.InitialR2T:
		t.unexpectedData()
	case n > 0 && uint32(n) > c.EDTL:
		t.wrongAmount()
	case c.Attr >= pdu.AttrACA: // there never is an auto contingent allegiance, and no more attributes
		t.fail(illegalRequest, 0x49, 0x00)
	}
	if t.want > 0 && t.failure == nil {
		s.reserve(t, n > 0 || t.unsolicited)
	}
	if t.want > 0 && t.failure == nil {
		t.got = min(n, t.want)
		err = b.read(t.out.bytes(t.got))
	}
	t.next = n
	good := true
	if err == nil {
		good, err = b.end()
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.releaseOut(t)
		return err
	}
	if !good {
		s.reject(h, pdu.RejectDataDigest, false)
		t.badChecksum()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.seq = s.seq
	s.seq++
	s.tasks[c.ITT] = t
	if t.unsolicited {
		s.moved = time.Now()
	}
	if c.Immediate {
		s.immediate++
	}
	if c.Attr == pdu.AttrOrdered {
		s.ordered++
	}
	t.receiving = false
	s.reading = true
	defer func() { s.reading = false }()
	if s.mayTry(t) {
		s.try(t)
		return nil
	}
	s.grant()
	s.advance(t)
	return nil
}

func (b *buffer) bytes(n int) []byte {
	if b == nil {
		return nil
	}
	return b.b[:n]
}

// advance takes a task whose data has moved on to its next step. s.mu is held.
func (s *session) advance(t *task) {
	if t.state != gathering || t.unsolicited {
		return
	}
	if t.failure != nil {
		// What was asked for still comes; the answer waits for the end of it
		// (section 7.7).
		if len(t.r2ts) == 0 {
			t.scsi.Discard() // it tells of no unit attention then
			s.answer(t, *t.failure, false)
			s.schedule()
		}
		return
	}
	if t.got < t.want {
		if t.reserved > 0 {
			s.ask(t)
		}
		return
	}
	s.toll(t)
	if s.endGathering(t); t.cmd.Attr == pdu.AttrHeadOfQueue {
		s.queue = slices.Insert(s.queue, 0, t)
	} else {
		s.queue = append(s.queue, t)
	}
	t.state = queued
	t.starts = s.mayStart(t)
	s.scheduleLater(t)
}

// endGathering is for a task that was in the waiting list for space that it
// turned out not to need.
func (s *session) endGathering(t *task) {
	if t.waits {
		t.waits = false
		s.waiting = slices.DeleteFunc(s.waiting, func(o *task) bool { return o == t })
	}
}

// answer ends a task with a result. s.mu is held. later is that of sendResult.
func (s *session) answer(t *task, res scsi.Result, later bool) {
	t.result = res
	s.end(t)
	s.w.sendResult(t, later)
}

// drop ends a task without an answer. s.mu is held.
func (s *session) drop(t *task) {
	s.end(t)
	if !t.cmd.Immediate {
		s.openWindow()
	}
	t.releaseIn()
}

// end takes a task out of the session and gives back its data-out buffer.
// s.mu is held.
func (s *session) end(t *task) {
	t.state = ended
	delete(s.tasks, t.cmd.ITT)
	if t.cmd.Immediate {
		s.immediate--
	}
	if t.cmd.Attr == pdu.AttrOrdered {
		s.ordered--
	}
	s.releaseOut(t)
}

// releaseOut gives back what was taken for the data-out of a task. s.mu is
// held.
func (s *session) releaseOut(t *task) {
	s.endGathering(t)
	s.srv.buffers.put(t.out)
	t.out = nil
	s.srv.memory.first.release(&s.firstAccount, int64(t.first))
	t.first = 0
	if t.reserved > 0 {
		s.writeSpace += t.reserved
		s.srv.memory.out.release(&s.outAccount, int64(t.reserved))
		t.reserved = 0
		s.grant()
	}
}

// releaseIn gives back the data-in buffers. Nothing may use them any more.
func (t *task) releaseIn() {
	for _, b := range t.in {
		t.s.srv.buffers.put(b)
	}
	t.in = nil
	if t.inSpace > 0 {
		t.s.readSpace.Release(t.inSpace)
		t.s.srv.memory.in.release(&t.s.inAccount, t.inSpace)
		t.inSpace = 0
	}
	if t.last > 0 {
		t.s.srv.memory.last.Release(t.last)
		t.last = 0
	}
}

// abort ends the tasks that match, so that nothing of them follows: no
// answer, and once the returned channels are closed no effect on a device.
func (s *session) abort(match func(*task) bool) []<-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wait []<-chan struct{}
	for _, t := range s.tasks {
		t.aborted = t.aborted || match(t)
	}
	for _, t := range s.tasks {
		if !t.aborted || !match(t) {
			continue
		}
		switch {
		case t.state == running:
			if t.gone == nil {
				t.gone = make(chan struct{})
			}
			if t.hurry != nil {
				t.hurry()
			}
			wait = append(wait, t.gone)
			t.scsi.Cancel()
		case t.receiving: // the reader drops it
		default:
			if t.state == queued {
				s.queue = slices.DeleteFunc(s.queue, func(o *task) bool { return o == t })
			}
			t.scsi.Discard()
			s.drop(t)
		}
	}
	s.schedule()
	return wait
}
