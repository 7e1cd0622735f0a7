package iscsi

import (
	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// taskRequest starts a task management function (section 11.5). Its answer
// goes out when nothing of the tasks it ended can have an effect any more; the
// reader goes on in the meantime.
func (s *session) taskRequest(h *pdu.BHS) error {
	var p pdu.TaskRequest
	p.Decode(h)
	if p.ITT == pdu.Reserved {
		s.reject(h, pdu.RejectInvalidField, !p.Immediate)
		return nil
	}
	s.mu.Lock()
	tooMany := p.Immediate && s.immediate >= maxImmediate
	if p.Immediate && !tooMany {
		s.immediate++
	}
	s.mu.Unlock()
	if tooMany {
		s.reject(h, pdu.RejectTooManyImm, false)
		return nil
	}
	code, wait := s.manage(&p)
	s.start(func() {
		for _, gone := range wait {
			<-gone
		}
		if p.Immediate {
			s.mu.Lock()
			s.immediate--
			s.mu.Unlock()
		}
		it := item{stat: true, slot: !p.Immediate, last: p.Function == pdu.TMFColdReset && code == pdu.TMFComplete}
		(&pdu.TaskResponse{Response: code, ITT: p.ITT}).Encode(&it.h)
		s.w.sendNow(it)
		if it.last { // a cold reset ends every session (section 11.5.1)
			for _, o := range s.srv.sessionsOf(s.target) {
				if o != s {
					o.kill("target cold reset")
				}
			}
		}
	})
	return s.deliverHeld() // a gap may have been filled by ABORT TASK
}

// manage does a function, and returns the response and what has to be waited
// for before it may be sent.
func (s *session) manage(p *pdu.TaskRequest) (code byte, wait []<-chan struct{}) {
	onLUN := func(t *task) bool { return t.cmd.LUN == p.LUN }
	everything := func(*task) bool { return true }
	device := s.target.Device
	// After a reset every nexus is told, the one it came on too.
	switch p.Function {
	case pdu.TMFAbortTask:
		return s.abortTask(p)
	case pdu.TMFAbortTaskSet:
		if !device.HasUnit(p.LUN) {
			return pdu.TMFNoLUN, nil
		}
		s.dropHeld(p, true)
		return pdu.TMFComplete, s.abort(onLUN)
	case pdu.TMFClearTaskSet:
		s.dropHeld(p, true)
		return everywhere(device.ClearTaskSet(p.LUN, s.nexus))
	case pdu.TMFLUNReset:
		s.dropHeld(p, true)
		return everywhere(device.ResetUnit(p.LUN, nil))
	case pdu.TMFWarmReset, pdu.TMFColdReset:
		s.dropHeld(p, false)
		wait = device.Reset(nil)
		for _, o := range s.srv.sessionsOf(s.target) { // those without a unit, too
			wait = append(wait, o.abort(everything)...)
		}
		return pdu.TMFComplete, wait
	case pdu.TMFReassign:
		return pdu.TMFNoReassignment, nil // error recovery level 0
	}
	return pdu.TMFNotSupported, nil
}

// everywhere is for functions that package scsi does on a unit, for all who
// reach it.
func everywhere(wait []<-chan struct{}, exists bool) (byte, []<-chan struct{}) {
	if !exists {
		return pdu.TMFNoLUN, nil
	}
	return pdu.TMFComplete, wait
}

// AbortTasks implements scsi.Aborter.
func (s *session) AbortTasks(match func(*scsi.Task) bool) []<-chan struct{} {
	return s.abort(func(t *task) bool { return match(t.scsi) })
}

// abortTask is ABORT TASK with its rules for a task that hasn't come yet
// (section 11.5.1).
func (s *session) abortTask(p *pdu.TaskRequest) (code byte, wait []<-chan struct{}) {
	found := false
	wait = s.abort(func(t *task) bool {
		match := t.cmd.ITT == p.RefTag && t.cmd.LUN == p.LUN
		found = found || match
		return match
	})
	if found {
		return pdu.TMFComplete, wait
	}
	exp := s.expCmdSN.Load()
	if int32(p.RefCmdSN-exp) < 0 || int32(s.maxCmdSN.Load()-p.RefCmdSN) < 0 || int32(p.CmdSN-p.RefCmdSN) <= 0 {
		return pdu.TMFNoTask, nil
	}
	// Not come yet: its CmdSN counts as received.
	if held := s.held[p.RefCmdSN]; held == nil {
		s.held[p.RefCmdSN] = &heldPDU{drop: true}
	} else if held.h.Opcode() == pdu.OpSCSICommand && held.h.ITT() == p.RefTag {
		held.drop, held.data = true, nil
	} else {
		return pdu.TMFNoTask, nil
	}
	return pdu.TMFComplete, nil
}

// dropHeld aborts the commands that were sent before the function but wait for
// their turn.
func (s *session) dropHeld(p *pdu.TaskRequest, oneLUN bool) {
	for sn, held := range s.held {
		var c pdu.SCSICommand
		c.Decode(&held.h)
		if held.h.Opcode() == pdu.OpSCSICommand && int32(sn-p.CmdSN) < 0 && (!oneLUN || c.LUN == p.LUN) {
			held.drop, held.data = true, nil
		}
	}
}
