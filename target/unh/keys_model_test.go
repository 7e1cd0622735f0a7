package unh_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// What RFC 7143 section 13 says of each key, written down a second time, and
// how a target has to answer. It knows nothing of package login.

// kind is a result function.
type kind byte

const (
	least       kind = iota // numbers: the lesser of the two
	most                    // numbers: the greater of the two
	either                  // booleans: OR
	both                    // booleans: AND
	firstKnown              // lists: the first that the target knows
	declared                // a number that is told
	told                    // a text that is told
	misplaced               // nothing that an initiator says here: Reject
	marker                  // section 13.25: No or Reject
	markerSpace             // section 13.25: Reject
	unknownKey              // NotUnderstood
	initiatorID             // InitiatorName
	targetID                // TargetName
	sessionType
)

// modelKey is a key and our target's side of it.
type modelKey struct {
	name        string
	kind        kind
	lo, hi      int // admissible numbers
	initial     int // the default; 0 and 1 for booleans
	ours        int // what the target wants
	list        []string
	normalOnly  bool // Irrelevant in discovery
	mayComeMore bool // repetition is no error that has to be found
}

var model = []modelKey{
	{name: "InitiatorName", kind: initiatorID, mayComeMore: true},
	{name: "TargetName", kind: targetID, mayComeMore: true},
	{name: "SessionType", kind: sessionType, mayComeMore: true},
	{name: "InitiatorAlias", kind: told, mayComeMore: true},
	{name: "X#NodeArchitecture", kind: told, mayComeMore: true},
	{name: "HeaderDigest", kind: firstKnown, list: []string{"None", "CRC32C"}},
	{name: "DataDigest", kind: firstKnown, list: []string{"None", "CRC32C"}},
	{name: "MaxConnections", kind: least, lo: 1, hi: 65535, initial: 1, ours: 1, normalOnly: true},
	{name: "InitialR2T", kind: either, initial: 1, ours: 0, normalOnly: true},
	{name: "ImmediateData", kind: both, initial: 1, ours: 1, normalOnly: true},
	{name: "MaxRecvDataSegmentLength", kind: declared, lo: 512, hi: 1<<24 - 1, initial: 8192},
	{name: "MaxBurstLength", kind: least, lo: 512, hi: 1<<24 - 1, initial: 262144, ours: 1 << 20, normalOnly: true},
	{name: "FirstBurstLength", kind: least, lo: 512, hi: 1<<24 - 1, initial: 65536, ours: 128 << 10, normalOnly: true},
	{name: "DefaultTime2Wait", kind: most, lo: 0, hi: 3600, initial: 2, ours: 2},
	{name: "DefaultTime2Retain", kind: least, lo: 0, hi: 3600, initial: 20, ours: 0},
	{name: "MaxOutstandingR2T", kind: least, lo: 1, hi: 65535, initial: 1, ours: 4, normalOnly: true},
	{name: "DataPDUInOrder", kind: either, initial: 1, ours: 1, normalOnly: true},
	{name: "DataSequenceInOrder", kind: either, initial: 1, ours: 1, normalOnly: true},
	{name: "ErrorRecoveryLevel", kind: least, lo: 0, hi: 2, initial: 0, ours: 0},
	{name: "TaskReporting", kind: firstKnown, list: []string{"RFC3720"}, normalOnly: true},
	{name: "iSCSIProtocolLevel", kind: least, lo: 0, hi: 31, initial: 1, ours: 1, normalOnly: true},
	{name: "IFMarker", kind: marker},
	{name: "OFMarker", kind: marker},
	{name: "IFMarkInt", kind: markerSpace},
	{name: "OFMarkInt", kind: markerSpace},
	{name: "TargetAlias", kind: misplaced, mayComeMore: true},
	{name: "TargetAddress", kind: misplaced, mayComeMore: true},
	{name: "TargetPortalGroupTag", kind: misplaced, mayComeMore: true},
	{name: "SendTargets", kind: misplaced, mayComeMore: true},
	{name: "AuthMethod", kind: misplaced, mayComeMore: true}, // belongs to the other stage
	{name: "X-com.example.key", kind: unknownKey, mayComeMore: true},
	{name: "Foo", kind: unknownKey, mayComeMore: true},
}

// offer is what an initiator says for a key: nothing, one value, or several.
type offer struct {
	label  string
	values []string
}

func a(n int) string { return strings.Repeat("a", n) }

// offers are the values that a key is tried with.
func (k *modelKey) offers() []offer {
	all := []offer{{"absent", nil}}
	add := func(label string, values ...string) { all = append(all, offer{label, values}) }
	ordinary := "x"
	switch k.kind {
	case least, most, declared:
		ordinary = strconv.Itoa(k.initial)
		add("default", ordinary)
		add("min", strconv.Itoa(k.lo))
		add("max", strconv.Itoa(k.hi))
		add("min-1", strconv.Itoa(k.lo-1))
		add("max+1", strconv.Itoa(k.hi+1))
		add("middle", strconv.Itoa(k.lo+(k.hi-k.lo)/3))
		add("list", fmt.Sprintf("%d,%d", k.lo, k.hi))
		add("hex", fmt.Sprintf("%#x", k.hi))
		add("upper case hex", fmt.Sprintf("%#X", k.lo))
		add("leading zeroes", "00"+ordinary)
		add("hex of 255", fmt.Sprintf("0x%0253x", k.lo))
		add("255 digits", strings.Repeat("9", 255))
		add("32 bits and more", fmt.Sprint(uint64(math.MaxUint32)+1+uint64(k.lo)))
		add("sign", "+"+ordinary)
	case either, both, marker:
		ordinary = "Yes"
		add("yes", "Yes")
		add("no", "No")
		add("list", "Yes,No")
		add("lower case", "yes")
		add("hex", "0x1")
		add("255", "Yes"+a(252))
	case firstKnown:
		ordinary = k.list[0]
		for _, v := range k.list {
			add(v, v)
			add("unknown, "+v, "Foo,"+v)
			add("lower case", strings.ToLower(v))
		}
		add("list", strings.Join(k.list, ","))
		add("list turned round", "CRC32C,RFC3720,None")
		add("unknown", "Foo,Bar")
		add("hex", "0x01")
		add("255", a(255))
		add("long list", strings.Repeat("Foo,", 80)+ordinary)
	case initiatorID:
		ordinary = alice
		add("name", alice)
		add("another", alice+"2")
		add("upper case", strings.ToUpper(alice))
		add("list", alice+","+alice)
		add("255", "iqn.2026-01.test:"+a(238))
	case targetID:
		ordinary = *name
		add("name", *name)
		add("upper case", strings.ToUpper(*name))
		add("none of ours", *name+"x")
		add("list", *name+","+*secondName)
		add("255", "iqn.2026-01.test:"+a(238))
	case sessionType:
		ordinary = "Normal"
		add("normal", "Normal")
		add("discovery", "Discovery")
		add("list", "Normal,Discovery")
		add("lower case", "normal")
		add("255", a(255))
	default:
		add("text", "x")
		add("number", "512")
		add("list", "a,b")
		add("255", a(255))
	}
	add("empty", "")
	add("twice", ordinary, ordinary)
	add("Reject", "Reject")
	add("Irrelevant", "Irrelevant")
	add("256", a(256))
	return all
}

// parameters are what the model says is in force after a login.
type parameters struct {
	discovery                bool
	headerDigest, dataDigest bool
	initialR2T, immediate    bool
	sendLimit                int
	maxBurst, firstBurst     int
	maxR2T                   int
}

// expected is the model's answer to a login.
type expected struct {
	must, may []uint16            // statuses of which one must be given; that may be given
	answers   map[string][]string // for each key that is to be answered, the values that are right
	repeated  map[string]int      // how often, if not once
	optional  map[string]bool
	p         parameters
}

// allows says whether a login status is right.
func (e *expected) allows(status uint16) bool {
	if status == 0 {
		return len(e.must) == 0
	}
	return slices.Contains(e.must, status) || slices.Contains(e.may, status)
}

// number reads a numerical value of RFC 7143 section 6.1: a decimal constant
// begins with no zero, a hexadecimal one with 0x or 0X.
func (k *modelKey) number(s string) (int, bool) {
	digits, base := s, 10
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		digits, base = s[2:], 16
	} else if len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for _, r := range digits {
		if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(digits, base, 64)
	return int(n), err == nil && n >= uint64(k.lo) && n <= uint64(k.hi)
}

const (
	initiatorError  = 0x0200
	notFound        = 0x0203
	missing         = 0x0207
	badSessionType  = 0x0209
	rejectAnswer    = "Reject"
	targetRecvLimit = "262144"
)

// predict is the model. offers is by the position in model.
func predict(offers []offer) expected {
	e := expected{answers: map[string][]string{}, repeated: map[string]int{}, optional: map[string]bool{}}
	e.p = parameters{initialR2T: true, immediate: true, sendLimit: 8192, maxBurst: 262144, firstBurst: 65536, maxR2T: 1}
	for i := range model {
		if k := &model[i]; k.kind == sessionType && len(offers[i].values) > 0 {
			e.p.discovery = offers[i].values[0] == "Discovery"
		}
	}
	for i := range model { // MaxBurstLength comes before FirstBurstLength there
		model[i].judge(offers[i], &e)
	}
	if e.p.discovery {
		return e
	}
	e.answers["TargetPortalGroupTag"] = append(e.answers["TargetPortalGroupTag"], "1")
	return e
}

// judge adds what one key means.
func (k *modelKey) judge(o offer, e *expected) {
	switch {
	case len(o.values) == 0 && (k.kind == initiatorID || k.kind == targetID && !e.p.discovery):
		e.must = append(e.must, missing)
		return
	case len(o.values) == 0:
		return
	case len(o.values) > 1 && k.mayComeMore:
		e.may = append(e.may, initiatorError)
		e.repeated[k.name] = len(o.values)
	case len(o.values) > 1: // section 6.2: negotiated once
		e.must = append(e.must, initiatorError)
		return
	}
	v := o.values[0]
	if k.kind == unknownKey { // whatever its value
		e.answers[k.name] = []string{"NotUnderstood"}
		return
	}
	longest := 0
	for part := range strings.SplitSeq(v, ",") {
		longest = max(longest, len(part))
	}
	if k.kind != firstKnown {
		longest = len(v)
	}
	if longest > 255 || v == "Reject" || v == "Irrelevant" || v == "NotUnderstood" {
		e.must = append(e.must, initiatorError)
		return
	}
	switch k.kind {
	case told:
		return
	case misplaced, markerSpace:
		e.answers[k.name] = []string{rejectAnswer}
		return
	case marker:
		e.answers[k.name] = []string{"No", rejectAnswer}
		return
	case initiatorID, targetID, sessionType:
		k.identify(v, e)
		return
	}
	answer, ok := k.result(v, e)
	switch {
	case e.p.discovery && k.normalOnly:
		e.answers[k.name] = []string{"Irrelevant"}
	case !ok:
		e.answers[k.name] = []string{rejectAnswer}
	case k.kind != declared:
		e.answers[k.name] = []string{answer}
		if k.name == "FirstBurstLength" { // irrelevant without unsolicited data
			e.answers[k.name] = append(e.answers[k.name], "Irrelevant")
		}
	}
}

// identify is for names and the type of the session.
func (k *modelKey) identify(v string, e *expected) {
	valid := v != "" && len(v) <= 223 && !strings.Contains(v, ",")
	switch {
	case k.kind == sessionType:
		if v != "Normal" && v != "Discovery" {
			e.must = append(e.must, badSessionType, initiatorError)
		}
	case !valid:
		e.must = append(e.must, initiatorError)
		e.may = append(e.may, missing, notFound)
	case k.kind == targetID && !e.p.discovery && !strings.EqualFold(v, *name):
		e.must = append(e.must, notFound)
	}
}

// result is the result function: what is answered, and what is in force.
func (k *modelKey) result(v string, e *expected) (answer string, ok bool) {
	if k.kind == firstKnown {
		for part := range strings.SplitSeq(v, ",") {
			if slices.Contains(k.list, part) {
				switch k.name {
				case "HeaderDigest":
					e.p.headerDigest = part == "CRC32C"
				case "DataDigest":
					e.p.dataDigest = part == "CRC32C"
				}
				return part, true
			}
		}
		return "", false
	}
	if k.kind == either || k.kind == both {
		if v != "Yes" && v != "No" {
			return "", false
		}
		yes := v == "Yes"
		if k.kind == either {
			yes = yes || k.ours == 1
		} else {
			yes = yes && k.ours == 1
		}
		switch k.name {
		case "InitialR2T":
			e.p.initialR2T = yes
		case "ImmediateData":
			e.p.immediate = yes
		}
		return map[bool]string{true: "Yes", false: "No"}[yes], true
	}
	n, ok := k.number(v)
	if !ok {
		return "", false
	}
	switch k.kind {
	case least:
		n = min(n, k.ours)
	case most:
		n = max(n, k.ours)
	}
	switch k.name {
	case "FirstBurstLength":
		n = min(n, e.p.maxBurst) // section 13.14
		e.p.firstBurst = n
	case "MaxBurstLength":
		e.p.maxBurst = n
	case "MaxRecvDataSegmentLength":
		e.p.sendLimit = n
	case "MaxOutstandingR2T":
		e.p.maxR2T = n
	}
	return strconv.Itoa(n), true
}
