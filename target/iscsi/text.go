package iscsi

import (
	"sanstick/target/iscsi/internal/login"
	"sanstick/target/iscsi/internal/pdu"
)

// Limits of a text request, over all its PDUs.
const (
	maxTextBytes = 64 << 10
	maxTextParts = 16
)

// textExchange is a text negotiation that takes more than one PDU, either way
// (section 11.10).
type textExchange struct {
	ttt   uint32 // what the next request of it must carry; 0 = none is under way
	itt   uint32 // likewise
	in    []byte
	parts int
	out   []byte          // still to be sent
	seen  map[string]bool // keys that have come
	next  *login.Params   // what holds when it is over; nil = what holds now
}

// textRequest answers a Text Request.
func (s *session) textRequest(h *pdu.BHS, b *body) error {
	var p pdu.TextRequest
	p.Decode(h)
	x := &s.text
	n := h.DataLen()
	if p.TTT == pdu.Reserved {
		*x = textExchange{itt: p.ITT} // a new one; what was under way is forgotten
	} else if x.ttt == 0 || p.TTT != x.ttt || p.ITT != x.itt {
		return s.refuse(h, b, pdu.RejectInvalidField, !p.Immediate)
	}
	if x.parts++; x.parts > maxTextParts && len(x.out) == 0 || len(x.in)+n > maxTextBytes || p.Final && p.Continue || p.ITT == pdu.Reserved {
		*x = textExchange{}
		return s.refuse(h, b, pdu.RejectProtocol, !p.Immediate)
	}
	data := make([]byte, n)
	if err := b.read(data); err != nil {
		return err
	}
	if good, err := b.end(); err != nil || !good {
		return s.refused(h, good, err)
	}
	x.in = append(x.in, data...)
	if p.Continue {
		s.sendText(&p, nil, false)
		return nil
	}
	if len(x.out) == 0 {
		pairs, err := pdu.ParseText(x.in)
		x.in = nil
		if err != nil || !x.once(pairs) {
			*x = textExchange{}
			s.reject(h, pdu.RejectProtocol, !p.Immediate)
			return nil
		}
		x.out = s.answerText(pairs)
	}
	part := x.out[:min(len(x.out), int(s.sendLimit.Load()))]
	x.out = x.out[len(part):]
	s.sendText(&p, part, p.Final && len(x.out) == 0)
	return nil
}

// sendText sends a part of the answer. If it isn't the end, the initiator
// comes back with the transfer tag.
func (s *session) sendText(p *pdu.TextRequest, part []byte, final bool) {
	x := &s.text
	resp := pdu.TextResponse{Final: final, Continue: len(x.out) > 0, ITT: p.ITT, TTT: pdu.Reserved}
	if final {
		if x.next != nil {
			s.p.SendLimit, s.p.InitiatorAlias = x.next.SendLimit, x.next.InitiatorAlias
		}
		*x = textExchange{}
	} else {
		if x.ttt == 0 {
			x.ttt = 1
		}
		resp.TTT, resp.LUN = x.ttt, p.LUN
	}
	it := item{data: part, stat: true, slot: !p.Immediate}
	resp.Encode(&it.h)
	s.w.send(it)
	s.sendLimit.Store(int32(s.p.SendLimit))
}

// once notes the keys of a request, and reports whether all are new: in one
// negotiation a key comes once (section 6.2).
func (x *textExchange) once(pairs []pdu.Pair) bool {
	if x.seen == nil {
		x.seen = make(map[string]bool)
	}
	for _, p := range pairs {
		if x.seen[p.Key] {
			return false
		}
		x.seen[p.Key] = true
	}
	return true
}

// answerText makes the whole answer to a complete request.
func (s *session) answerText(pairs []pdu.Pair) []byte {
	var out []byte
	var rest []pdu.Pair
	for _, p := range pairs {
		if p.Key == "SendTargets" {
			out = s.sendTargets(p.Value)
		} else {
			rest = append(rest, p)
		}
	}
	if s.text.next == nil {
		next := s.p
		s.text.next = &next
	}
	return append(out, s.text.next.Renegotiate(rest)...)
}

// sendTargets answers SendTargets (appendix C): All in a discovery session,
// nothing for the session's own target, or one by name. It tells of targets
// that this initiator may use, and of no others.
func (s *session) sendTargets(which string) []byte {
	discovery := s.target == nil
	name, isName := login.FoldName(which)
	switch {
	case which == "All" && !discovery, which == "" && discovery, which != "" && !isName:
		return pdu.AppendPair(nil, "SendTargets", "Reject")
	}
	out := []byte{}
	for _, t := range (directory{s.srv, s.portal.Group}).Allowed(s.p.InitiatorName) {
		if discovery && which != "All" && t.Name != name || !discovery && (t.Name != s.target.Name || which != "" && t.Name != name) {
			continue
		}
		out = pdu.AppendPair(out, "TargetName", t.Name)
		for _, a := range s.srv.addresses(t.Groups, s.portal, s.conn.LocalAddr()) {
			out = pdu.AppendPair(out, "TargetAddress", a)
		}
	}
	return out
}
