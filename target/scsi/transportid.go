package scsi

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// portSeparator is between the name of an iSCSI initiator and the ISID in the
// name of its port.
const portSeparator = ",i,0x"

// Lengths in bytes of what iSCSI names consist of (RFC 7143 section 4.2.7).
const (
	maxName   = 223
	isidChars = 12 // in hexadecimal
)

// canonicalPort returns the one form of an iSCSI initiator port's name in which
// names are compared: lower case, and the ISID with all its digits.
func canonicalPort(port string) (string, bool) {
	name, isid, ok := strings.Cut(port, portSeparator)
	if !ok || len(isid) == 0 || len(isid) > isidChars || strings.Trim(isid, "0123456789abcdefABCDEF") != "" {
		return "", false
	}
	if name, ok = canonicalName(name); !ok {
		return "", false
	}
	return name + portSeparator + strings.Repeat("0", isidChars-len(isid)) + strings.ToLower(isid), true
}

// canonicalName does the same to the name of an iSCSI node.
func canonicalName(name string) (string, bool) {
	if len(name) == 0 || len(name) > maxName {
		return "", false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == ',' || c == 0x7f {
			return "", false
		}
	}
	return strings.ToLower(name), true
}

// A TransportID is at least 24 bytes long, and a multiple of 4 (SPC-4 section
// 7.6.4).
const (
	minTransportID = 24
	maxTransportID = 256
)

// Formats of TransportIDs, in the topmost two bits.
const (
	nodeFormat = 0 // all ports of an iSCSI initiator
	portFormat = 1 // one of them
)

// transportID names an initiator port, or an initiator with all its ports.
type transportID struct {
	format byte
	name   string // canonical
}

// decodeTransportID reads the TransportID that b begins with, and returns how
// long it is (SPC-4 section 7.6.4.6).
func decodeTransportID(b []byte) (id transportID, size int, ok bool) {
	if len(b) < minTransportID || b[0]&0x3f != iSCSI || b[1] != 0 {
		return id, 0, false
	}
	size = 4 + int(binary.BigEndian.Uint16(b[2:]))
	if size < minTransportID || size > maxTransportID || size%4 != 0 || size > len(b) {
		return id, 0, false
	}
	text, _, ok := bytes.Cut(b[4:size], []byte{0})
	if !ok {
		return id, 0, false
	}
	switch id.format = b[0] >> 6; id.format {
	case nodeFormat:
		id.name, ok = canonicalName(string(text))
	case portFormat:
		id.name, ok = canonicalPort(string(text))
	default:
		ok = false
	}
	return id, size, ok
}

// appendTransportID appends the TransportID of an initiator port.
func appendTransportID(b []byte, port string) []byte {
	size := max(minTransportID, (4+len(port)+1+3)&^3)
	id := make([]byte, size)
	id[0] = portFormat<<6 | iSCSI
	binary.BigEndian.PutUint16(id[2:], uint16(size-4))
	copy(id[4:], port)
	return append(b, id...)
}
