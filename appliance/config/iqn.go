package config

import (
	"errors"
	"slices"
	"strings"
)

// maxIQN is the longest iSCSI name in bytes (RFC 7143 section 4.2.7.1).
const maxIQN = 223

// defaultIQN makes a target's name out of the host name: its labels reversed,
// as in iqn.2006-12.com.example.attic:vm1. A host name without a domain counts
// as one in the domain "local".
func defaultIQN(hostname, target string) string {
	labels := strings.Split(strings.ToLower(hostname), ".")
	if len(labels) == 1 {
		labels = append(labels, "local")
	}
	slices.Reverse(labels)
	return "iqn.2006-12." + strings.Join(labels, ".") + ":" + target
}

// checkISCSIName tells what is wrong with the name of an iSCSI node (RFC 7143
// section 4.2.7, RFC 3980). Upper case is refused if strict is set: names are
// lower case on the wire (RFC 3722), but not every initiator keeps to it, and
// what an initiator sends is what an access list must hold.
func checkISCSIName(s string, strict bool) error {
	if len(s) > maxIQN {
		return errors.New("is too long; an iSCSI name has at most 223 bytes")
	}
	for i := range len(s) {
		switch c := s[i]; {
		case isLower(c) || c == '-' || c == '.' || c == ':':
		case c >= 'A' && c <= 'Z':
			if strict {
				return errors.New("has upper-case letters; an iSCSI name is all lower case")
			}
		case c == '_' && !strict:
		default:
			return errors.New("has a character that an iSCSI name can't have; use letters, digits, hyphens, dots and colons")
		}
	}
	kind, rest, _ := strings.Cut(s, ".")
	switch strings.ToLower(kind) {
	case "iqn":
		return checkIQN(rest)
	case "eui":
		if len(rest) != 16 || !isHex(rest) {
			return errors.New("must have 16 hexadecimal digits after the eui. prefix")
		}
		return nil
	case "naa":
		if len(rest) != 16 && len(rest) != 32 || !isHex(rest) {
			return errors.New("must have 16 or 32 hexadecimal digits after the naa. prefix")
		}
		return nil
	}
	return errors.New(`is not an iSCSI name; it looks like "iqn.1998-01.com.vmware:esx1"`)
}

// checkIQN checks what follows "iqn.": a year and month, and a reversed domain
// name, then perhaps a colon and anything.
func checkIQN(rest string) error {
	date, name, ok := strings.Cut(rest, ".")
	if !ok || len(date) != 7 || date[4] != '-' || strings.Trim(date[:4]+date[5:], "0123456789") != "" ||
		date[5:] < "01" || date[5:] > "12" {
		return errors.New(`must have a year and month after iqn., as in "iqn.2006-12.com.example:disk"`)
	}
	domain, _, _ := strings.Cut(name, ":")
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New(`must have a reversed domain name after the date, as in "iqn.2006-12.com.example:disk"`)
		}
	}
	return nil
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == "" }
