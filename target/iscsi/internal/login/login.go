// Package login is the login phase of RFC 7143 section 6 and the key=value
// negotiation of section 13, as a pure state machine: login requests in,
// login responses out. It knows no sockets, no clocks and no sessions.
package login

import (
	"io"

	"sanstick/target/iscsi/internal/pdu"
)

// Limits of one negotiation, so that nobody who has not proven who they are
// can make us hold or send much (section 6.2 leaves them to us).
const (
	maxText    = 64 << 10 // bytes of keys that one request may have, over its continuations
	maxParts   = 16       // PDUs of one continued request
	maxRounds  = 32       // requests in one login
	maxUnknown = 16       // keys answered by NotUnderstood in one login
	// MaxData is the longest data segment of a login PDU in either direction.
	MaxData = 8192
)

// Stages (section 6.3).
const (
	stageSecurity    = 0
	stageOperational = 1
	stageFullFeature = 3
)

// Target is what a login needs to know of a target.
type Target struct {
	Name        string
	Alias       string
	PortalGroup uint16
	CHAP        *Credentials // what initiators must prove; nil = nothing
	Mutual      *Credentials // how the target proves itself to those who ask; may be nil
	Credentials uint64       // which CHAP and Mutual these are; ends up in Params
	Groups      []uint16     // all portal groups it is in; for the caller
	Redirect    string       // where it is instead, "address:port"; "" = here
	Permanent   bool         // it has gone there for good
}

// A Directory knows the targets and who may use them. Names are in lower case.
type Directory interface {
	// Find returns the target of a normal session, or the reason why this
	// initiator can't have it: NotFound, NotAllowed.
	Find(initiator, target string) (Target, Status)
	// Allowed returns the targets that this initiator may use.
	Allowed(initiator string) []Target
}

// Config is what all logins of a server have in common.
type Config struct {
	Directory  Directory
	Challenges *Challenges
	Rand       io.Reader // crypto/rand's outside tests
	Offer      Offer
}

// A Login is one connection's way through the login phase. Not safe for
// concurrent use.
type Login struct {
	cfg    Config
	params Params
	auth   auth
	target Target

	first      pdu.LoginRequest // the fields that may not change
	started    bool
	identified bool // names known, target looked up
	stage      byte
	ended      bool
	rounds     int
	unknown    int
	parts      int
	text       []byte       // of a continued request
	seen       map[int]bool // keys of the table negotiated already
	declared   bool         // our own declarations have been sent
}

// New returns a Login that waits for the first request. Close it.
func New(c Config) *Login {
	return &Login{cfg: c, params: defaults(), seen: make(map[int]bool)}
}

// Close forgets the challenge that was sent, if any.
func (l *Login) Close() { l.cfg.Challenges.retire(l.auth.challenge) }

// Params returns what was agreed on. It is of use once Step has returned a
// response that goes to the full-feature phase.
func (l *Login) Params() Params { return l.params }

// Step answers one login request. A response whose Status is not Success ends
// the login, and so does one with Transit to stage 3: then the caller gives it
// the session's TSIH. StatSN and the command window are for the caller too.
func (l *Login) Step(req *pdu.LoginRequest, data []byte) (resp pdu.LoginResponse, text []byte) {
	resp = pdu.LoginResponse{CSG: req.CSG, ISID: req.ISID, TSIH: req.TSIH, ITT: req.ITT}
	out, transit, st := l.step(req, data)
	if st == Success && len(out) > MaxData {
		out, st = nil, TargetError
	}
	if st != Success {
		l.ended = true
		resp.Status = uint16(st)
		return resp, out // nothing, or where else to go
	}
	if transit {
		resp.Transit, resp.NSG = true, req.NSG
		l.stage = req.NSG
		l.ended = l.stage == stageFullFeature
	}
	return resp, out
}

func (l *Login) step(req *pdu.LoginRequest, data []byte) (out []byte, transit bool, st Status) {
	if st := l.checkHeader(req); st != Success {
		return nil, false, st
	}
	l.parts++
	if l.parts > maxParts || len(l.text)+len(data) > maxText {
		return nil, false, InitiatorError
	}
	l.text = append(l.text, data...)
	if req.Continue {
		return nil, false, Success
	}
	pairs, err := pdu.ParseText(l.text)
	l.text, l.parts = nil, 0
	if err != nil {
		return nil, false, InitiatorError
	}

	var a answer
	if st := l.negotiate(pairs, &a); st != Success {
		return nil, false, st
	}
	if st := l.identify(&a); st != Success {
		return nil, false, st
	}
	// Where the target has gone is for those who may use it. Who wants to see
	// the target's own proof gets that first, if there is another request.
	moved := l.target.Redirect != "" && l.auth.satisfied()
	done := true
	if l.stage == stageSecurity {
		if done, st = l.security(pairs, req.Transit, &a); st != Success {
			return nil, false, st
		}
	} else {
		if !l.auth.satisfied() {
			return nil, false, AuthFailed // went around the security stage
		}
		l.declare(&a)
	}
	if l.target.Redirect != "" && (moved || done && req.Transit && req.NSG == stageFullFeature) {
		a.add("TargetAddress", l.target.Redirect)
		if l.target.Permanent {
			return a.text, false, MovedPermanently
		}
		return a.text, false, MovedTemporarily
	}
	return a.text, req.Transit && done, Success
}

// checkHeader applies section 11.12: what may be said when, and what must stay
// the same from one request to the next.
func (l *Login) checkHeader(req *pdu.LoginRequest) Status {
	l.rounds++
	switch {
	case l.ended:
		return InvalidDuringLogin
	case l.rounds > maxRounds:
		return InitiatorError
	case req.VersionMin > 0:
		return BadVersion
	case req.CSG > stageOperational:
		return InitiatorError
	case req.Transit && req.Continue:
		return InitiatorError
	case req.Transit && (req.NSG <= req.CSG || req.NSG == 2):
		return InitiatorError
	}
	if !l.started {
		l.started, l.first, l.stage = true, *req, req.CSG
		l.params.ISID, l.params.TSIH, l.params.CID = req.ISID, req.TSIH, req.CID
		l.params.CmdSN = req.CmdSN
		return Success
	}
	f := &l.first
	if req.CSG != l.stage || req.ISID != f.ISID || req.TSIH != f.TSIH || req.ITT != f.ITT || req.CID != f.CID {
		return InitiatorError
	}
	return Success
}

// identify looks the target up, once, after the first complete request
// (section 6.3.1: it must name the initiator and the target).
func (l *Login) identify(a *answer) Status {
	p := &l.params
	if l.identified {
		return Success
	}
	l.identified = true
	if p.InitiatorName == "" {
		return MissingParameter
	}
	if p.Discovery {
		l.auth.discovery(l.cfg.Directory.Allowed(p.InitiatorName))
		return Success
	}
	if p.TargetName == "" {
		return MissingParameter
	}
	t, st := l.cfg.Directory.Find(p.InitiatorName, p.TargetName)
	if st != Success {
		return st
	}
	l.target = t
	l.auth.normal(t)
	p.Credentials = t.Credentials
	a.add("TargetPortalGroupTag", itoa(int(t.PortalGroup)))
	if t.Alias != "" {
		a.add("TargetAlias", t.Alias)
	}
	return Success
}

// declare adds what we say unasked, in the first answer of the operational
// stage. Before it was said, the default holds.
func (l *Login) declare(a *answer) {
	if l.declared {
		return
	}
	l.declared = true
	l.params.RecvLimit = l.cfg.Offer.RecvLimit
	a.add("MaxRecvDataSegmentLength", itoa(l.params.RecvLimit))
}

// An answer collects the keys of a response.
type answer struct{ text []byte }

func (a *answer) add(key, value string) { a.text = pdu.AppendPair(a.text, key, value) }
