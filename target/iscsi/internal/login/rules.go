package login

import (
	"sort"
	"strconv"
	"strings"

	"sanstick/target/iscsi/internal/pdu"
)

// Answers that are no values (section 6.2).
const (
	reject        = "Reject"
	irrelevant    = "Irrelevant"
	notUnderstood = "NotUnderstood"
)

// maxSimple is the longest value of any key but those of CHAP.
const maxSimple = 255

// A rule is a key's result function: from our side and what is offered it
// makes the outcome and the answer. ok is false if the offer is inadmissible.
// An empty answer means that none is due.
type rule func(k *key, ours int, offer string) (v int, answer string, ok bool)

// minimum and maximum are the functions of numbers.
func minimum(k *key, ours int, offer string) (int, string, bool) {
	n, ok := number(k, offer)
	n = min(n, ours)
	return n, itoa(n), ok
}

func maximum(k *key, ours int, offer string) (int, string, bool) {
	n, ok := number(k, offer)
	n = max(n, ours)
	return n, itoa(n), ok
}

// or and and are those of booleans.
func or(_ *key, ours int, offer string) (int, string, bool) {
	b, ok := boolean(offer)
	return ours | b, yesNo(ours | b), ok
}

func and(_ *key, ours int, offer string) (int, string, bool) {
	b, ok := boolean(offer)
	return ours & b, yesNo(ours & b), ok
}

// choose takes the first entry of the offered list that we support.
func choose(k *key, _ int, offer string) (int, string, bool) {
	for have := range strings.SplitSeq(offer, ",") {
		for i, s := range k.list {
			if have == s {
				return i, s, true
			}
		}
	}
	return 0, "", false
}

// declareNumber is for numbers that are told, not negotiated.
func declareNumber(k *key, _ int, offer string) (int, string, bool) {
	n, ok := number(k, offer)
	return n, "", ok
}

// text is for declared strings.
func text(*key, int, string) (int, string, bool) { return 0, "", true }

// refuse is for keys that initiators have no business to send, and obsolete ones.
func refuse(*key, int, string) (int, string, bool) { return 0, "", false }

// chap marks the keys that the authentication works on (chap.go).
func chap(*key, int, string) (int, string, bool) { return 0, "", true }

// negotiate works on all keys of one request but those of authentication.
func (l *Login) negotiate(pairs []pdu.Pair, a *answer) Status {
	where := byte(inOperational)
	if l.stage == stageSecurity {
		where = inSecurity
	}
	for _, o := range inTableOrder(pairs) {
		if o.key < 0 {
			if l.unknown++; l.unknown > maxUnknown {
				return InitiatorError
			}
			a.add(o.Key, notUnderstood)
			continue
		}
		if k := &keys[o.key]; !k.again && k.where&where != 0 {
			if l.seen[o.key] {
				return InitiatorError // section 6.2: negotiated once
			}
			l.seen[o.key] = true
		}
		if st := l.params.apply(&l.cfg.Offer, where, o, a); st != Success {
			return st
		}
	}
	return Success
}

// Renegotiate works on the keys of a text request in the full-feature phase
// and returns the answer. Few keys have a place there. SendTargets is the
// caller's.
func (p *Params) Renegotiate(pairs []pdu.Pair) []byte {
	var a answer
	offers := inTableOrder(pairs)
	twice := func(i int) bool {
		return i > 0 && offers[i-1].key == offers[i].key || i+1 < len(offers) && offers[i+1].key == offers[i].key
	}
	for i, o := range offers {
		switch {
		case o.key < 0:
			a.add(o.Key, notUnderstood)
		case twice(i): // section 6.2: negotiated once; which of them is meant?
			a.add(o.Key, reject)
		default:
			if st := p.apply(&Offer{}, inFullFeature, o, &a); st != Success {
				a.add(o.Key, reject)
			}
		}
	}
	return a.text
}

type offered struct {
	pdu.Pair
	key int // position in the table, -1 = unknown
}

func inTableOrder(pairs []pdu.Pair) []offered {
	os := make([]offered, len(pairs))
	for i, p := range pairs {
		os[i] = offered{p, -1}
		if k, ok := lookup(p.Key); ok {
			os[i].key = k
		}
	}
	sort.SliceStable(os, func(i, j int) bool { return os[i].key < os[j].key })
	return os
}

func (p *Params) apply(ours *Offer, where byte, o offered, a *answer) Status {
	k := &keys[o.key]
	isCHAP := strings.HasPrefix(k.name, "CHAP_")
	if longest(k, o.Value) > maxSimple && !isCHAP {
		return InitiatorError
	}
	if o.Value == reject || o.Value == irrelevant || o.Value == notUnderstood {
		if !isCHAP {
			return InitiatorError // these are answers, and we have asked nothing
		}
	}
	if k.where&where == 0 {
		a.add(k.name, reject)
		return Success
	}
	if p.Discovery && k.notDiscovery {
		a.add(k.name, irrelevant)
		return Success
	}
	mine := 0
	if k.ours != nil {
		mine = k.ours(ours, p)
	}
	v, ans, ok := k.rule(k, mine, o.Value)
	if !ok {
		a.add(k.name, reject)
		return Success
	}
	if k.set != nil {
		k.set(p, v)
	}
	if k.setText != nil {
		if st := k.setText(p, o.Value); st != Success {
			return st
		}
	}
	if ans != "" {
		a.add(k.name, ans)
	}
	return Success
}

// longest returns the length of the longest simple value in v, which may be a
// list.
func longest(k *key, v string) int {
	if k.list == nil {
		return len(v)
	}
	n := 0
	for part := range strings.SplitSeq(v, ",") {
		n = max(n, len(part))
	}
	return n
}

// number reads a decimal or hexadecimal constant (section 6.1) within the
// key's bounds. A decimal constant begins with no zero.
func number(k *key, s string) (int, bool) {
	base := 10
	switch {
	case len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'):
		s, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 32)
	if err != nil || int(n) < k.lo || int(n) > k.hi {
		return 0, false
	}
	return int(n), true
}

func boolean(s string) (int, bool) {
	switch s {
	case "Yes":
		return 1, true
	case "No":
		return 0, true
	}
	return 0, false
}

func yesNo(v int) string {
	if v == 1 {
		return "Yes"
	}
	return "No"
}

func itoa(n int) string { return strconv.Itoa(n) }
