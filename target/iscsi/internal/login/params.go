package login

import "strings"

// Offer is what this side would like. Bytes, except MaxR2T.
type Offer struct {
	RecvLimit  int // MaxRecvDataSegmentLength that we declare, 512..2^24-1
	MaxBurst   int
	FirstBurst int
	MaxR2T     int
}

// Params is the outcome of a login. Sizes are bytes.
type Params struct {
	InitiatorName, InitiatorAlias, TargetName string // names in lower case
	Discovery                                 bool
	Authenticated                             bool   // the initiator has proven its secret by CHAP
	Credentials                               uint64 // Target.Credentials, of a normal session

	ISID  [6]byte
	TSIH  uint16 // as in the requests: not 0 means an existing session
	CID   uint16
	CmdSN uint32 // of the login; the first command's too

	HeaderDigest, DataDigest  bool // CRC32C, from the full-feature phase on
	InitialR2T, ImmediateData bool
	SendLimit                 int // longest data segment that the initiator takes
	RecvLimit                 int // longest data segment that we take
	MaxBurst, FirstBurst      int
	MaxR2T                    int
}

// defaults are what holds for keys that never come up (section 13). Some
// initiators rely on every one of them.
func defaults() Params {
	return Params{
		InitialR2T: true, ImmediateData: true,
		SendLimit: 8192, RecvLimit: 8192,
		MaxBurst: 262144, FirstBurst: 65536, MaxR2T: 1,
	}
}

// Unsolicited returns how many bytes may come without an R2T. An initiator
// that has made MaxBurstLength smaller than the default FirstBurstLength, and
// not spoken of the latter, may believe in either: both are taken.
func (p *Params) Unsolicited() int { return p.FirstBurst }

// foldName brings an iSCSI name into the form that names are compared in, or
// says that it can't be one (RFC 7143 section 4.2.7; RFC 3722 for ASCII).
func foldName(s string) (string, bool) {
	if len(s) == 0 || len(s) > 223 {
		return "", false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '-', r == '.', r == ':', r > 0xa0 && r != '\ufffd':
		default:
			return "", false
		}
	}
	return strings.ToLower(s), true
}

// FoldName is foldName for configurations: ok is false if s can't be an iSCSI
// name.
func FoldName(s string) (folded string, ok bool) { return foldName(s) }
