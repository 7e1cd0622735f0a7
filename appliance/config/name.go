package config

import (
	"errors"
	"fmt"
	"strings"
)

// maxName bounds the names of pools, volumes and targets. The kernel's device
// name of a volume holds pool and volume, with every hyphen doubled, and must
// stay below 128 with LVM's own endings.
const maxName = 48

// checkName tells what is wrong with the name of a pool, volume or target:
// names must do as LVM names and in an IQN.
func checkName(s string) error {
	if s == "" {
		return errors.New("is empty; give it a name")
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && c != '-' && c != '.' {
			return fmt.Errorf("has %s in it; a name has lower-case letters, digits, hyphens and dots only", show(string([]rune(s[i:])[:1])))
		}
	}
	if !isLower(s[0]) || !isLower(s[len(s)-1]) {
		return errors.New("must start and end with a letter or digit")
	}
	if strings.Contains(s, "..") {
		return errors.New("has two dots in a row; remove one")
	}
	if len(s)+strings.Count(s, "-") > maxName {
		return fmt.Errorf("is too long; a name has at most %d characters, hyphens counting twice", maxName)
	}
	return nil
}

// checkPoolName adds what holds for volume groups: their directory /dev/NAME
// must not be there already.
func checkPoolName(s string) error {
	if err := checkName(s); err != nil {
		return err
	}
	clash := errors.New("is the name of something in /dev; choose another, such as tank")
	for name := range strings.FieldsSeq("block bsg bus char console core cpu disk dma_heap dri fd full fuse hpet " +
		"hwrng input kmsg kvm log mapper mei mem mqueue net null nvram port ppp psaux ptmx ptp pts random " +
		"rfkill rtc shm snapshot snd stderr stdin stdout tty uinput urandom usb vfio vga_arbiter watchdog zero zram") {
		if s == name {
			return clash
		}
	}
	// A device name: a few letters, then perhaps digits and a partition.
	for prefix := range strings.FieldsSeq("dm- fb fd hidraw hpet i2c- ipmi js kvm loop lp mcelog md mdev mei mmcblk nbd nvme " +
		"parport ptp ram rtc sg sr st tpm tty ttyS uio usbmon vcs vcsa vcsu vhost-net watchdog zd zram") {
		if rest, ok := strings.CutPrefix(s, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return clash
		}
	}
	if isDiskName(s) {
		return clash
	}
	return nil
}

// checkVolumeName adds what holds for logical volumes: LVM keeps some names
// for itself, and so do we.
func checkVolumeName(s string) error {
	if err := checkName(s); err != nil {
		return err
	}
	if strings.HasPrefix(s, "snapshot") || strings.HasPrefix(s, "pvmove") || s == "thinpool" || s == "thinmeta" {
		return errors.New("is a name that LVM or the appliance needs itself; choose another")
	}
	return nil
}

// isDiskName tells whether s is the kernel's name of a disk or of one of its
// partitions.
func isDiskName(s string) bool {
	for prefix := range strings.FieldsSeq("sd hd vd xvd") {
		rest, ok := strings.CutPrefix(s, prefix)
		letters := strings.TrimRight(rest, "0123456789")
		if ok && len(letters) >= 1 && len(letters) <= 2 && strings.Trim(letters, "abcdefghijklmnopqrstuvwxyz") == "" {
			return true
		}
	}
	rest, ok := strings.CutPrefix(s, "nvme")
	return ok && strings.Contains(rest, "n") && strings.Trim(rest, "0123456789np") == ""
}

// isLower tells whether c is a lower-case letter or a digit.
func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// checkHostname tells what is wrong with a host name (RFC 1123, at most the 64
// bytes that Linux takes).
func checkHostname(s string) error {
	if s == "" {
		return errors.New(`is empty; give a name, as in hostname = "attic", or remove the line`)
	}
	if len(s) > 64 {
		return errors.New("is too long; Linux takes at most 64 characters")
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return errors.New("has an empty part; remove the extra dot")
		case len(label) > 63:
			return errors.New("has a part of more than 63 characters; make it shorter")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("has a part that starts or ends with a hyphen; remove the hyphen")
		}
		for i := range len(label) {
			if c := label[i]; !isLower(c) && (c < 'A' || c > 'Z') && c != '-' {
				return errors.New("has a character that a host name can't have; use letters, digits, hyphens and dots")
			}
		}
	}
	return nil
}
