package config

import (
	"errors"
	"strings"
)

// normalDisk checks how a pool names a disk and brings it into the form in
// which disks are compared.
func normalDisk(s string) (string, error) {
	if s == AnyDisk {
		return s, nil
	}
	switch {
	case strings.HasPrefix(s, "/") || isDiskName(s):
		return "", errors.New("is a device name, which may be another disk after a restart; give the disk's serial number (sanctl status lists them)")
	case len(s) > 128:
		return "", errors.New("is too long for a serial number; copy it from sanctl status")
	case strings.TrimSpace(s) != s:
		return "", errors.New("has blanks around it; remove them")
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "", errors.New("has a character that a serial number can't have; copy it from sanctl status")
		}
	}
	// Any case is fine in a WWN, but a serial number is taken as it is.
	if wwn, ok := strings.CutPrefix(strings.ToLower(s), "wwn-"); ok {
		digits, ok := strings.CutPrefix(wwn, "0x")
		if !ok || len(digits) != 16 && len(digits) != 32 || !isHex(digits) {
			return "", errors.New("is not a WWN; it has 16 or 32 hexadecimal digits, as in wwn-0x5000c500a1b2c3d4")
		}
		return "wwn-" + wwn, nil
	}
	return s, nil
}
