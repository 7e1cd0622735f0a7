package iscsi

import (
	"bytes"
	"errors"
	"fmt"

	"sanstick/target/iscsi/internal/pdu"
)

// maxHeld bounds the data of the requests that came before their turn. An
// initiator that keeps to section 4.2.2.1 has none on a single connection.
const maxHeld = 64 << 10

// heldPDU is a request that came before its turn.
type heldPDU struct {
	h    pdu.BHS
	ahs  []byte
	data []byte
	size int  // of data, when it came
	bad  bool // the data digest was wrong
	drop bool // aborted before its turn: only the CmdSN counts
}

// body is the data segment of the request in work: still on the wire, or held.
type body struct {
	r    *pdu.Reader
	held *heldPDU
}

// read fills p with the next bytes; there must be as many.
func (b *body) read(p []byte) error {
	if b.held == nil {
		return b.r.Body(p)
	}
	n := copy(p, b.held.data)
	b.held.data = b.held.data[n:]
	if n < len(p) {
		return fmt.Errorf("cannot read %d bytes of held data: %d there", len(p), n)
	}
	return nil
}

// end skips the rest and says if all that was read is right: false is a wrong
// digest.
func (b *body) end() (bool, error) {
	if b.held != nil {
		return !b.held.bad, nil
	}
	err := b.r.End()
	if errors.Is(err, pdu.ErrDataDigest) {
		return false, nil
	}
	return true, err
}

// receive works on one PDU of the initiator. An error ends the session.
func (s *session) receive(h *pdu.BHS, ahs []byte) error {
	s.w.wait()
	if h.Opcode() != pdu.OpSCSICommand {
		s.w.hurry() // this may take a while
	}
	b := &body{r: s.r}
	switch h.Opcode() {
	case pdu.OpDataOut:
		if s.target == nil || len(ahs) > 0 {
			return s.refuse(h, b, pdu.RejectProtocol, false)
		}
		return s.dataOut(h, b)
	case pdu.OpNOPOut, pdu.OpSCSICommand, pdu.OpTaskRequest, pdu.OpTextRequest, pdu.OpLogout:
		return s.sequenced(h, ahs, b)
	case pdu.OpSNACK:
		return s.refuse(h, b, pdu.RejectSNACK, false) // error recovery level 0
	case pdu.OpLoginRequest:
		return s.refuse(h, b, pdu.RejectProtocol, false)
	}
	return s.refuse(h, b, pdu.RejectNotSupported, false)
}

// sequenced delivers requests in the order of their CmdSN (section 4.2.2.1).
// Those outside the window, and those that came already, are dropped in
// silence.
func (s *session) sequenced(h *pdu.BHS, ahs []byte, b *body) error {
	if h.Immediate() {
		return s.deliver(h, ahs, b)
	}
	sn, exp := h.CmdSN(), s.expCmdSN.Load()
	early := int32(sn - exp)
	if early < 0 || int32(s.maxCmdSN.Load()-sn) < 0 || s.held[sn] != nil {
		_, err := b.end()
		return err
	}
	if early > 0 {
		return s.hold(sn, h, ahs, b)
	}
	s.expCmdSN.Store(exp + 1)
	if err := s.deliver(h, ahs, b); err != nil {
		return err
	}
	return s.deliverHeld()
}

// deliverHeld delivers the requests whose turn has come.
func (s *session) deliverHeld() error {
	for len(s.held) > 0 {
		next := s.expCmdSN.Load()
		held := s.held[next]
		if held == nil {
			return nil
		}
		delete(s.held, next)
		s.heldLen -= held.size
		s.expCmdSN.Store(next + 1)
		if held.drop {
			s.openWindow()
			continue
		}
		if err := s.deliver(&held.h, held.ahs, &body{held: held}); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps a request until those before it have come. The window bounds how
// many there can be.
func (s *session) hold(sn uint32, h *pdu.BHS, ahs []byte, b *body) error {
	if s.heldLen += h.DataLen(); s.heldLen > maxHeld {
		return fmt.Errorf("more than %d bytes of data came before their turn", maxHeld)
	}
	held := &heldPDU{h: *h, ahs: bytes.Clone(ahs), data: make([]byte, h.DataLen()), size: h.DataLen()}
	if err := b.read(held.data); err != nil {
		return err
	}
	good, err := b.end()
	if err != nil {
		return err
	}
	held.bad = !good
	s.held[sn] = held
	return nil
}

// deliver starts the work on a request whose turn it is.
func (s *session) deliver(h *pdu.BHS, ahs []byte, b *body) error {
	op := h.Opcode()
	if s.target == nil && op != pdu.OpTextRequest && op != pdu.OpLogout {
		return s.refuse(h, b, pdu.RejectProtocol, !h.Immediate()) // section 4.3: a discovery session
	}
	if op != pdu.OpSCSICommand {
		s.scheduleNow() // this may take a while
	}
	if len(ahs) > 0 && op != pdu.OpSCSICommand {
		return s.refuse(h, b, pdu.RejectInvalidField, !h.Immediate())
	}
	switch op {
	case pdu.OpSCSICommand:
		return s.command(h, ahs, b)
	case pdu.OpNOPOut:
		return s.nop(h, b)
	case pdu.OpTextRequest:
		return s.textRequest(h, b)
	}
	if good, err := b.end(); err != nil || !good {
		return s.refused(h, good, err)
	}
	if op == pdu.OpTaskRequest {
		return s.taskRequest(h)
	}
	return s.logout(h)
}

// refused is for requests whose data could not be read (err) or has a wrong
// digest.
func (s *session) refused(h *pdu.BHS, good bool, err error) error {
	if err == nil && !good {
		s.srv.counters.digestErrors.Add(1)
		s.reject(h, pdu.RejectDataDigest, !h.Immediate())
	}
	return err
}

// refuse skips the data and rejects.
func (s *session) refuse(h *pdu.BHS, b *body, reason byte, slot bool) error {
	if _, err := b.end(); err != nil {
		return err
	}
	s.reject(h, reason, slot)
	return nil
}

// reject sends a Reject with the header it is about. slot: the request had
// used up a CmdSN.
func (s *session) reject(h *pdu.BHS, reason byte, slot bool) {
	s.srv.counters.rejects.Add(1)
	s.log.Debug("rejected", "pdu", h.Opcode().String(), "reason", reason)
	it := item{data: bytes.Clone(h[:]), stat: true, slot: slot}
	(&pdu.Reject{Reason: reason}).Encode(&it.h)
	s.w.send(it)
}

// smallEcho is the most ping data, in bytes, that the server's memory isn't
// asked for.
const smallEcho = 512

// nop answers a NOP-Out that asks for it (section 11.18).
func (s *session) nop(h *pdu.BHS, b *body) error {
	var p pdu.NOPOut
	p.Decode(h)
	s.knowsNOP.Store(true)
	n := h.DataLen()
	if p.ITT == pdu.Reserved {
		n = 0 // wants no answer
	}
	n = min(n, int(s.sendLimit.Load()))
	var space int64
	if n > smallEcho {
		space = int64(n)
		if err := s.srv.memory.in.acquire(s.ctx, &s.inAccount, space); err != nil {
			return err
		}
	}
	sent := false
	defer func() {
		if !sent {
			s.srv.memory.in.release(&s.inAccount, space)
		}
	}()
	data := make([]byte, n)
	if err := b.read(data); err != nil {
		return err
	}
	if good, err := b.end(); err != nil || !good {
		return s.refused(h, good, err)
	}
	if p.ITT == pdu.Reserved {
		if !p.Immediate {
			s.openWindow()
		}
		return nil
	}
	sent = true
	it := item{data: data, space: space, stat: true, slot: !p.Immediate}
	(&pdu.NOPIn{LUN: p.LUN, ITT: p.ITT, TTT: pdu.Reserved}).Encode(&it.h)
	s.w.send(it)
	return nil
}

// logout ends the session (section 11.14). The commands that are still in work
// are aborted first. Nothing is kept, and nobody has to wait before coming
// back: Time2Wait and Time2Retain are 0.
func (s *session) logout(h *pdu.BHS) error {
	var p pdu.LogoutRequest
	p.Decode(h)
	resp := pdu.LogoutResponse{ITT: p.ITT}
	switch {
	case p.Reason > pdu.LogoutRecovery, p.ITT == pdu.Reserved, s.target == nil && p.Reason != pdu.LogoutSession:
		s.reject(h, pdu.RejectInvalidField, !p.Immediate)
		return nil
	case p.Reason == pdu.LogoutConnection && p.CID != s.p.CID:
		resp.Response = pdu.LogoutNoCID
	case p.Reason == pdu.LogoutRecovery:
		resp.Response = pdu.LogoutNoRecovery
	}
	it := item{stat: true, slot: !p.Immediate}
	resp.Encode(&it.h)
	if resp.Response != pdu.LogoutDone {
		s.w.send(it)
		return nil
	}
	for _, done := range s.abort(func(*task) bool { return true }) {
		<-done
	}
	s.w.send(it)
	return errLogout
}
