package iscsi

import (
	"encoding/binary"

	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

// sliceBytes is how much of one result is sent before others have their turn.
const sliceBytes = 256 << 10

// result begins to send the outcome of a task.
func (w *writer) result(t *task) {
	t.send, t.residual = t.outcome()
	if t.send > 0 {
		w.slice(t)
		return
	}
	t.releaseIn()
	w.status(t)
}

// slice sends more of the data-in of a task: Data-In PDUs (section 11.7), the
// last of them with the status if that is GOOD, else followed by it.
func (w *writer) slice(t *task) {
	limit, burst := int(w.s.sendLimit.Load()), w.s.p.MaxBurst
	collapse := t.result.Status == scsi.Good
	var h pdu.BHS
	for until := t.inSent + sliceBytes; t.inSent < t.send; t.inSN++ {
		off := t.inSent
		if off >= until {
			w.parts = append(w.parts, t)
			return
		}
		n := min(limit, t.send-off, burst-off%burst)
		t.inSent += n
		last := t.inSent == t.send
		d := pdu.DataIn{
			Final: last || t.inSent%burst == 0, HasStatus: last && collapse, Residual: t.residual,
			LUN: t.cmd.LUN, ITT: t.cmd.ITT, TTT: pdu.Reserved, DataSN: t.inSN, Offset: uint32(off),
		}
		d.Encode(&h)
		if last {
			w.sent = append(w.sent, t) // from here on a flush gives the buffers back
		}
		w.pdu(&h, t.result.Data[off:t.inSent], d.HasStatus)
	}
	if !collapse {
		w.status(t)
	}
}

// status sends a SCSI Response (section 11.4).
func (w *writer) status(t *task) {
	var sense []byte
	if s := t.result.Sense; len(s) > 0 {
		sense = append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
	}
	var h pdu.BHS
	(&pdu.SCSIResponse{Residual: t.residual, Status: byte(t.result.Status), ITT: t.cmd.ITT, ExpDataSN: t.r2tSN + t.inSN}).Encode(&h)
	w.pdu(&h, sense, true)
}

// outcome returns how many bytes of data-in to send, and what to say of the
// difference between what the initiator expected and what the command moves
// (section 11.4.5.1).
func (t *task) outcome() (send int, r pdu.Residual) {
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
