package iscsi

import (
	"time"

	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// reserve gives a task its data-out buffer: all of it if the session has
// space; else just what comes unsolicited, and the rest when there is space.
// If there is no space for that either, the initiator has to try again.
func (s *session) reserve(t *task, unsolicited bool) {
	s.mu.Lock()
	if len(s.waiting) == 0 && s.take(t) {
		s.mu.Unlock()
		t.out = s.srv.buffers.get(t.want)
		return
	}
	t.waits, t.receiving = true, true
	s.waiting = append(s.waiting, t)
	s.mu.Unlock()
	if !unsolicited {
		return
	}
	n := bufferSize(min(t.want, s.p.Unsolicited()))
	if !s.takeFirst(n) {
		t.failure = &scsi.Result{Status: scsi.TaskSetFull}
		s.mu.Lock()
		s.endGathering(t)
		s.mu.Unlock()
		return
	}
	t.first = n
	t.out = s.srv.buffers.get(n)
}

// take takes space for all data of a task. s.mu is held.
func (s *session) take(t *task) bool {
	n := min(bufferSize(t.want), s.srv.o.WriteBudget)
	switch {
	case n > s.writeSpace:
		return false
	case n <= s.credit:
		s.credit -= n
	case !s.srv.memory.out.tryAcquire(&s.outAccount, int64(n)):
		if t.waits && !t.receiving {
			s.awaitOut(n)
		}
		return false
	}
	s.writeSpace -= n
	t.reserved = n
	return true
}

// grant hands space to the tasks that wait for it, in order. s.mu is held.
func (s *session) grant() {
	for len(s.waiting) > 0 {
		t := s.waiting[0]
		if t.aborted {
			s.endGathering(t)
			continue
		}
		if t.receiving || !s.take(t) {
			return // a receiving task is granted when the reader is done with it
		}
		s.waiting = s.waiting[1:]
		t.waits = false
		whole := s.srv.buffers.get(t.want)
		copy(whole.b, t.out.bytes(t.got))
		s.srv.buffers.put(t.out)
		t.out = whole
		s.srv.memory.first.release(&s.firstAccount, int64(t.first))
		t.first = 0
		s.advance(t)
	}
}

// ask sends as many R2Ts as may be outstanding (section 11.8). s.mu is held.
func (s *session) ask(t *task) {
	if t.asked < t.got {
		t.asked = t.got
	}
	for len(t.r2ts) < s.p.MaxR2T && t.asked < t.want {
		n := min(s.p.MaxBurst, t.want-t.asked)
		ttt := s.nextTTT()
		var it item
		(&pdu.R2T{LUN: t.cmd.LUN, ITT: t.cmd.ITT, TTT: ttt, R2TSN: t.r2tSN, Offset: uint32(t.asked), Length: uint32(n)}).Encode(&it.h)
		t.r2tSN++
		t.r2ts = append(t.r2ts, transfer{ttt: ttt, offset: t.asked, next: t.asked, end: t.asked + n})
		t.asked += n
		s.moved = time.Now()
		s.w.sendNow(it)
	}
}

// dataOut takes a Data-Out PDU (section 11.7). Data of tasks that are not
// there (any more) is skipped: after an abort or an error it still comes.
func (s *session) dataOut(h *pdu.BHS, b *body) error {
	var p pdu.DataOut
	p.Decode(h)
	t, room := s.expect(&p, h.DataLen())
	if t == nil {
		_, err := b.end()
		return err
	}
	err := b.read(room)
	good := true
	if err == nil {
		good, err = b.end()
	}
	if !good {
		s.srv.counters.digestErrors.Add(1)
	}
	if s.took(t, &p, h.DataLen(), len(room), good, err); err == nil && !good {
		s.reject(h, pdu.RejectDataDigest, false)
	}
	return err
}

// expect returns the task that a Data-Out PDU is for, and where its bytes go.
// The task belongs to the reader until it is given to took.
func (s *session) expect(p *pdu.DataOut, n int) (*task, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[p.ITT]
	if t == nil || t.state != gathering {
		return nil, nil
	}
	t.receiving = true
	return t, t.accept(p, n, s.p.Unsolicited())
}

// took goes on with a task after a Data-Out PDU of n bytes, of which it has
// used some. err: the session ends, and the task must not go on.
func (s *session) took(t *task, p *pdu.DataOut, n, used int, good bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.receiving = false
	switch {
	case t.aborted:
		t.scsi.Discard()
		s.drop(t)
		s.schedule()
		return
	case err != nil:
		return
	}
	if t.got += used; n > 0 {
		s.moved = time.Now()
	}
	if !good {
		t.badChecksum()
	}
	t.arrived(p)
	s.grant()
	s.advance(t)
}

// accept checks a Data-Out PDU against what is due, and returns where its
// bytes go. A PDU that is wrong fails the task and goes nowhere, and so does
// what the command has no use for.
func (t *task) accept(p *pdu.DataOut, n, firstBurst int) []byte {
	if t.failure != nil {
		return nil
	}
	off, limit, dataSN := t.next, min(int(t.cmd.EDTL), firstBurst), t.dataSN
	if p.TTT != pdu.Reserved {
		if len(t.r2ts) == 0 || t.r2ts[0].ttt != p.TTT || p.LUN != t.cmd.LUN {
			t.unexpectedData()
			return nil
		}
		r := &t.r2ts[0]
		off, limit, dataSN = r.next, r.end, r.dataSN
	} else if !t.unsolicited {
		t.unexpectedData()
		return nil
	}
	switch {
	case int64(p.Offset) != int64(off), p.DataSN != dataSN:
		t.unexpectedData()
		return nil
	case n > limit-off, p.TTT != pdu.Reserved && p.Final != (off+n == limit):
		t.wrongAmount()
		return nil
	}
	if p.TTT != pdu.Reserved {
		t.r2ts[0].next += n
		t.r2ts[0].dataSN++
	} else {
		t.next += n
		t.dataSN++
	}
	if t.out == nil {
		return nil
	}
	// Data comes in order, so what the command can use ends up without holes.
	return t.out.b[min(off, t.want):min(off+n, t.want)]
}

// arrived notes the end of a sequence.
func (t *task) arrived(p *pdu.DataOut) {
	switch {
	case !p.Final:
	case p.TTT == pdu.Reserved:
		t.unsolicited = false
	default:
		for i := range t.r2ts {
			if t.r2ts[i].ttt == p.TTT {
				t.r2ts = append(t.r2ts[:i], t.r2ts[i+1:]...)
				return
			}
		}
	}
}
