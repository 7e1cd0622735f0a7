package login

// Where a key may be used.
const (
	inSecurity = 1 << iota
	inOperational
	inFullFeature
	inLogin = inSecurity | inOperational
)

// A key is one row of RFC 7143 section 13.
type key struct {
	name  string
	where byte
	rule  rule
	// ours gives our side of the negotiation; numbers, and 0 or 1 for booleans.
	ours func(o *Offer, p *Params) int
	// lo and hi bound what may be offered.
	lo, hi int
	// list is what we support of a list, the position being the value.
	list []string
	// set and setText take the outcome over. nil = it changes nothing for us.
	set     func(p *Params, v int)
	setText func(p *Params, v string) Status
	// notDiscovery: Irrelevant in a discovery session.
	notDiscovery bool
	// again: may come more than once in a login.
	again bool
}

const maxLen = 1<<24 - 1

// keys is every key there is, in the order in which they are worked on
// whatever the order in which they come: names and SessionType first, because
// the others depend on them, MaxBurstLength before FirstBurstLength.
var keys = []key{
	{name: "SessionType", where: inLogin, rule: text, setText: setSessionType, again: true},
	{name: "InitiatorName", where: inLogin, rule: text, setText: setInitiatorName, again: true},
	{name: "InitiatorAlias", where: inLogin | inFullFeature, rule: text, setText: setAlias, again: true},
	{name: "TargetName", where: inLogin, rule: text, setText: setTargetName, again: true},

	{name: "AuthMethod", where: inSecurity, rule: chap},
	{name: "CHAP_A", where: inSecurity, rule: chap},
	{name: "CHAP_N", where: inSecurity, rule: chap},
	{name: "CHAP_R", where: inSecurity, rule: chap},
	{name: "CHAP_I", where: inSecurity, rule: chap},
	{name: "CHAP_C", where: inSecurity, rule: chap},

	{name: "HeaderDigest", where: inOperational, rule: choose, list: []string{"None", "CRC32C"},
		set: func(p *Params, v int) { p.HeaderDigest = v == 1 }},
	{name: "DataDigest", where: inOperational, rule: choose, list: []string{"None", "CRC32C"},
		set: func(p *Params, v int) { p.DataDigest = v == 1 }},
	{name: "MaxConnections", where: inOperational, rule: minimum, ours: fixed(1), lo: 1, hi: 65535, notDiscovery: true},
	{name: "InitialR2T", where: inOperational, rule: or, ours: fixed(0), notDiscovery: true,
		set: func(p *Params, v int) { p.InitialR2T = v == 1 }},
	{name: "ImmediateData", where: inOperational, rule: and, ours: fixed(1), notDiscovery: true,
		set: func(p *Params, v int) { p.ImmediateData = v == 1 }},
	{name: "MaxRecvDataSegmentLength", where: inOperational | inFullFeature, rule: declareNumber, lo: 512, hi: maxLen,
		set: func(p *Params, v int) { p.SendLimit = v }},
	{name: "MaxBurstLength", where: inOperational, rule: minimum, lo: 512, hi: maxLen, notDiscovery: true,
		ours: func(o *Offer, _ *Params) int { return o.MaxBurst },
		set:  func(p *Params, v int) { p.MaxBurst = v }},
	{name: "FirstBurstLength", where: inOperational, rule: minimum, lo: 512, hi: maxLen, notDiscovery: true,
		ours: func(o *Offer, p *Params) int { return min(o.FirstBurst, p.MaxBurst) },
		set:  func(p *Params, v int) { p.FirstBurst = v }},
	{name: "DefaultTime2Wait", where: inOperational, rule: maximum, ours: fixed(2), lo: 0, hi: 3600},
	{name: "DefaultTime2Retain", where: inOperational, rule: minimum, ours: fixed(0), lo: 0, hi: 3600},
	{name: "MaxOutstandingR2T", where: inOperational, rule: minimum, lo: 1, hi: 65535, notDiscovery: true,
		ours: func(o *Offer, _ *Params) int { return o.MaxR2T },
		set:  func(p *Params, v int) { p.MaxR2T = v }},
	{name: "DataPDUInOrder", where: inOperational, rule: or, ours: fixed(1), notDiscovery: true},
	{name: "DataSequenceInOrder", where: inOperational, rule: or, ours: fixed(1), notDiscovery: true},
	{name: "ErrorRecoveryLevel", where: inOperational, rule: minimum, ours: fixed(0), lo: 0, hi: 2},
	{name: "TaskReporting", where: inOperational, rule: choose, list: []string{"RFC3720"}, notDiscovery: true},
	{name: "iSCSIProtocolLevel", where: inOperational, rule: minimum, ours: fixed(1), lo: 0, hi: 31, notDiscovery: true}, // RFC 7144

	// Section 13.25: obsolete, but never NotUnderstood. No is what the
	// initiators that still ask hope for.
	{name: "IFMarker", where: inOperational, rule: and, ours: fixed(0)},
	{name: "OFMarker", where: inOperational, rule: and, ours: fixed(0)},
	{name: "IFMarkInt", where: inOperational, rule: refuse},
	{name: "OFMarkInt", where: inOperational, rule: refuse},

	// Said by targets only; X#NodeArchitecture tells us nothing.
	{name: "TargetAlias", where: inLogin | inFullFeature, rule: refuse},
	{name: "TargetAddress", where: inLogin | inFullFeature, rule: refuse},
	{name: "TargetPortalGroupTag", where: inLogin, rule: refuse},
	{name: "X#NodeArchitecture", where: inLogin, rule: text, again: true},

	// Answered by the connection, which knows the portals.
	{name: "SendTargets", where: inFullFeature, rule: refuse},
}

func fixed(v int) func(*Offer, *Params) int { return func(*Offer, *Params) int { return v } }

// lookup returns a key's position in the table.
func lookup(name string) (int, bool) {
	for i := range keys {
		if keys[i].name == name {
			return i, true
		}
	}
	return 0, false
}

func setSessionType(p *Params, v string) Status {
	switch v {
	case "Normal":
		if p.Discovery {
			return InitiatorError
		}
	case "Discovery":
		p.Discovery = true
	default:
		return BadSessionType
	}
	return Success
}

func setInitiatorName(p *Params, v string) Status { return setName(&p.InitiatorName, v) }
func setTargetName(p *Params, v string) Status    { return setName(&p.TargetName, v) }

// setName takes a name over. Initiators repeat it in later stages; it must
// stay the same.
func setName(have *string, v string) Status {
	name, ok := foldName(v)
	if !ok || *have != "" && *have != name {
		return InitiatorError
	}
	*have = name
	return Success
}

func setAlias(p *Params, v string) Status {
	p.InitiatorAlias = v
	return Success
}
