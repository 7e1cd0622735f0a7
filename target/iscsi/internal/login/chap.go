package login

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"
	"sync"

	"sanstick/target/iscsi/internal/pdu"
)

// Credentials are a CHAP name and secret.
type Credentials struct{ User, Secret string }

// maxChallenge is the longest CHAP_C to take (section 12.1.3).
const maxChallenge = 1024

// algorithms are the CHAP digests by their CHAP_A number: RFC 7143 section
// 12.1.3 and the IANA registry of PPP authentication algorithms.
var algorithms = map[int]func() hash.Hash{
	5: md5.New,
	6: sha1.New,
	7: sha256.New,
	8: func() hash.Hash { return sha3.New256() },
}

// Challenges is every challenge that a login of this server is waiting to see
// answered. An initiator that sends one of them back is trying to have the
// target answer for it. Safe for concurrent use; the zero value is ready.
type Challenges struct {
	mu   sync.Mutex
	open map[string]bool
}

func (c *Challenges) issue(challenge []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[string]bool)
	}
	c.open[string(challenge)] = true
}

func (c *Challenges) retire(challenge []byte) {
	if challenge == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, string(challenge))
}

func (c *Challenges) isOurs(challenge []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[string(challenge)]
}

// The steps of authentication, in order.
type authStep byte

const (
	authStart      authStep = iota // nothing was said
	authChosen                     // AuthMethod=CHAP, waiting for CHAP_A
	authChallenged                 // waiting for CHAP_N and CHAP_R
	authDone
)

// auth is the security negotiation of one login.
type auth struct {
	step     authStep
	required bool
	accepted []Target // those whose CHAP credentials are good for this login

	newHash   func() hash.Hash
	id        byte
	challenge []byte
}

func (a *auth) normal(t Target) {
	if t.CHAP != nil {
		a.required, a.accepted = true, []Target{t}
	}
}

// discovery: authentication is not asked for, because the answer holds only
// names that the ACLs give; but an initiator that insists may prove itself to
// any of its targets.
func (a *auth) discovery(ts []Target) {
	for _, t := range ts {
		if t.CHAP != nil {
			a.accepted = append(a.accepted, t)
		}
	}
}

// satisfied says whether the login may go on without more authentication.
func (a *auth) satisfied() bool {
	return a.step == authDone || a.step == authStart && !a.required
}

// security works on the authentication keys of one request. done says that
// the stage may be left.
func (l *Login) security(pairs []pdu.Pair, transit bool, out *answer) (done bool, st Status) {
	a := &l.auth
	get := func(name string) (string, bool) {
		for _, p := range pairs {
			if p.Key == name {
				return p.Value, true
			}
		}
		return "", false
	}
	method, hasMethod := get("AuthMethod")
	algs, hasAlgs := get("CHAP_A")
	user, hasUser := get("CHAP_N")
	response, hasResponse := get("CHAP_R")
	id, hasID := get("CHAP_I")
	challenge, hasChallenge := get("CHAP_C")

	// Keys out of their step, and half pairs, are errors.
	switch {
	case hasMethod && a.step != authStart,
		hasAlgs && a.step != authChosen,
		(hasUser || hasResponse || hasID || hasChallenge) && a.step != authChallenged,
		hasUser != hasResponse, hasID != hasChallenge, hasID && !hasUser:
		return false, InitiatorError
	}
	switch {
	case hasMethod:
		return a.chooseMethod(method, out)
	case hasAlgs:
		return false, l.challengeFor(algs, out)
	case hasUser:
		t, st := a.verify(user, response)
		if st != Success {
			return false, st
		}
		if hasID {
			if st := l.proveOurselves(t, id, challenge, out); st != Success {
				return false, st
			}
		}
		a.step = authDone
		l.params.Authenticated = true
		return true, Success
	}
	if transit && !a.satisfied() {
		return false, AuthFailed
	}
	return a.satisfied(), Success
}

func (a *auth) chooseMethod(offer string, out *answer) (done bool, st Status) {
	for m := range strings.SplitSeq(offer, ",") {
		switch {
		case m == "CHAP" && len(a.accepted) > 0:
			a.step = authChosen
			out.add("AuthMethod", m)
			return false, Success
		case m == "None" && !a.required:
			a.step = authDone
			out.add("AuthMethod", m)
			return true, Success
		}
	}
	return false, AuthFailed
}

// challengeFor answers CHAP_A: the first digest in the initiator's order that
// we have, and a fresh challenge.
func (l *Login) challengeFor(offer string, out *answer) Status {
	a := &l.auth
	for s := range strings.SplitSeq(offer, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || algorithms[n] == nil {
			continue
		}
		a.newHash = algorithms[n]
		fresh := make([]byte, 1+a.newHash().Size())
		if _, err := io.ReadFull(l.cfg.Rand, fresh); err != nil {
			return TargetError
		}
		a.id, a.challenge = fresh[0], fresh[1:]
		l.cfg.Challenges.issue(a.challenge)
		a.step = authChallenged
		out.add("CHAP_A", itoa(n))
		out.add("CHAP_I", itoa(int(a.id)))
		out.add("CHAP_C", "0x"+hex.EncodeToString(a.challenge))
		return Success
	}
	return AuthFailed
}

// verify checks the initiator's response. CHAP_N is text, whatever it looks
// like. All accepted credentials are compared, in constant time.
func (a *auth) verify(user, response string) (Target, Status) {
	got, ok := decodeBinary(response, a.newHash().Size())
	if !ok {
		return Target{}, AuthFailed
	}
	found := -1
	for i, t := range a.accepted {
		want := respond(a.newHash, a.id, t.CHAP.Secret, a.challenge)
		right := subtle.ConstantTimeCompare(want, got) & subtle.ConstantTimeCompare([]byte(t.CHAP.User), []byte(user))
		found = subtle.ConstantTimeSelect(right, i, found)
	}
	if found < 0 {
		return Target{}, AuthFailed
	}
	return a.accepted[found], Success
}

// proveOurselves answers the initiator's own challenge (mutual CHAP).
func (l *Login) proveOurselves(t Target, id, challenge string, out *answer) Status {
	a := &l.auth
	n, ok := number(&key{hi: 255}, id)
	if !ok || t.Mutual == nil {
		return AuthFailed
	}
	c, ok := decodeBinary(challenge, maxChallenge)
	if !ok || len(c) == 0 || l.cfg.Challenges.isOurs(c) {
		return AuthFailed
	}
	out.add("CHAP_N", t.Mutual.User)
	out.add("CHAP_R", "0x"+hex.EncodeToString(respond(a.newHash, byte(n), t.Mutual.Secret, c)))
	return Success
}

// respond is RFC 1994 section 4.1.
func respond(newHash func() hash.Hash, id byte, secret string, challenge []byte) []byte {
	h := newHash()
	h.Write([]byte{id})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}

// decodeBinary reads a binary value of at most limit bytes: 0x and hexadecimal,
// or 0b and base64 (section 6.1). The length is checked before decoding.
func decodeBinary(s string, limit int) ([]byte, bool) {
	if len(s) < 2 || s[0] != '0' {
		return nil, false
	}
	body := s[2:]
	var b []byte
	var err error
	switch s[1] {
	case 'x', 'X':
		if len(body) > 2*limit {
			return nil, false
		}
		b, err = hex.DecodeString(body)
	case 'b', 'B':
		if len(body) > base64.StdEncoding.EncodedLen(limit) {
			return nil, false
		}
		b, err = base64.StdEncoding.Strict().DecodeString(body)
	default:
		return nil, false
	}
	if err != nil || len(b) > limit {
		return nil, false
	}
	return b, true
}
