package login

import "fmt"

// Status is a login status, class in the high byte and detail in the low
// (section 11.13.5).
type Status uint16

// Login statuses.
const (
	Success            Status = 0x0000
	MovedTemporarily   Status = 0x0101
	MovedPermanently   Status = 0x0102
	InitiatorError     Status = 0x0200
	AuthFailed         Status = 0x0201
	NotAllowed         Status = 0x0202
	NotFound           Status = 0x0203
	Removed            Status = 0x0204
	BadVersion         Status = 0x0205
	TooManyConnections Status = 0x0206
	MissingParameter   Status = 0x0207
	CannotInclude      Status = 0x0208
	BadSessionType     Status = 0x0209
	NoSession          Status = 0x020a
	InvalidDuringLogin Status = 0x020b
	TargetError        Status = 0x0300
	Unavailable        Status = 0x0301
	OutOfResources     Status = 0x0302
)

func (s Status) String() string {
	switch s {
	case Success:
		return "success"
	case MovedTemporarily:
		return "sent to another address for now"
	case MovedPermanently:
		return "sent to another address for good"
	case InitiatorError:
		return "the initiator broke the rules of login"
	case AuthFailed:
		return "authentication failed"
	case NotAllowed:
		return "this initiator may not use the target"
	case NotFound:
		return "no such target"
	case Removed:
		return "the target is gone"
	case BadVersion:
		return "protocol version not supported"
	case TooManyConnections:
		return "too many connections in the session"
	case MissingParameter:
		return "InitiatorName or TargetName is missing"
	case CannotInclude:
		return "connection can't join the session"
	case BadSessionType:
		return "session type not supported"
	case NoSession:
		return "no such session"
	case InvalidDuringLogin:
		return "request not valid during login"
	case TargetError:
		return "target error"
	case Unavailable:
		return "target not available now"
	case OutOfResources:
		return "out of resources"
	}
	return fmt.Sprintf("login status %#04x", uint16(s))
}
