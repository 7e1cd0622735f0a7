package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sanstick/target"
	"sanstick/target/block/backing"
	"sanstick/target/scsi"
)

// setup is all that is to be served, be it from flags or from a file.
type setup struct {
	portals   []portal // at least one
	advertise []string // nil = the address that an initiator has come to
	state     string   // directory of what outlives a power cut; empty = nothing does
	targets   []targetSpec
}

type targetSpec struct {
	iqn, alias   string
	luns         []lun
	initiators   []string
	groups       []uint16 // portal groups; none = all
	redirect     *target.Redirect
	chap, mutual *target.CHAP
	limit        target.Limit
}

func (t targetSpec) config(luns []target.LUN) target.Config {
	return target.Config{IQN: t.iqn, Alias: t.alias, LUNs: luns, Initiators: t.initiators, CHAP: t.chap, Mutual: t.mutual,
		Groups: t.groups, Redirect: t.redirect, Limit: t.limit}
}

// lun is a disk and its number in a target.
type lun struct {
	number              uint16
	path                string
	device              backing.Options
	thin, removable, cd bool
	serial              string
}

const (
	defaultListen = "127.0.0.1:3260"
	memPrefix     = "mem:"

	// Lengths of CHAP secrets.
	minSecret = 12
	maxSecret = 255
)

// inRAM tells whether the disk is gone at the end.
func (l lun) inRAM() bool { return strings.HasPrefix(l.path, memPrefix) }

// disk says which disk it is: LUNs of the same disk are the same logical unit.
func (l lun) disk() string {
	if l.inRAM() {
		return memPrefix + l.serial
	}
	return l.path
}

// sameDisk tells whether two LUNs present a disk in the same way.
func (l lun) sameDisk(o lun) bool {
	l.number = o.number
	return l == o
}

// set sets an option by its name. The value is empty for a switch that is on,
// "no" for one that is off.
func (l *lun) set(key, value string) (err error) {
	flag := func(b *bool) {
		if *b = value == ""; !*b && value != "no" {
			err = fmt.Errorf("%s is on or off, and takes no value", key)
		}
	}
	switch key {
	case "ro":
		flag(&l.device.ReadOnly)
	case "thin":
		flag(&l.thin)
	case "direct":
		flag(&l.device.Direct)
	case "removable":
		flag(&l.removable)
	case "cd":
		flag(&l.cd)
	case "bs", "pbs":
		size, err := strconv.Atoi(value)
		if err != nil || size < 512 || size > 1<<20 || size&(size-1) != 0 {
			return fmt.Errorf("%s must be a power of two from 512, such as 4096", key)
		}
		if key == "bs" {
			l.device.LogicalBlock = size
		} else {
			l.device.PhysicalBlock = size
		}
	default:
		return fmt.Errorf("option %q is none of ro, thin, direct, removable, cd, bs=, pbs=", key)
	}
	l.device.ReadOnly = l.device.ReadOnly || l.cd // whatever comes first
	return err
}

// resolve checks the path of a LUN in a file, and makes it an absolute one.
func (l *lun) resolve(dir string) (err error) {
	if size, ok := strings.CutPrefix(l.path, memPrefix); ok {
		_, err = backing.ParseSize(size)
		return err
	}
	if !filepath.IsAbs(l.path) {
		l.path = filepath.Join(dir, l.path)
	}
	l.path, err = filepath.Abs(l.path)
	return err
}

// identify gives the disk of a LUN in a file a serial number that stays the
// same from run to run, whatever else is in the file.
func (l *lun) identify(iqn string) {
	switch {
	case l.serial != "":
	case l.inRAM():
		l.serial = scsi.SerialFromUUID(fmt.Sprintf("%s\x00%s\x00%d\x00%s", hostName(), strings.ToLower(iqn), l.number, memPrefix))
	default:
		l.serial = scsi.SerialFromUUID(hostName() + "\x00" + l.path)
	}
}

func (l lun) identity() scsi.Identity {
	return scsi.Identity{Serial: l.serial, NAA: scsi.NAAFromUUID(l.serial)}
}

func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host
}

// secret tells whether there is one.
func (s *setup) secret() bool {
	for _, t := range s.targets {
		if t.chap != nil || t.mutual != nil {
			return true
		}
	}
	return false
}

// conflicts looks for what is wrong with LUNs and targets taken together. Paths
// are like "target[0].lun[1]".
func (s *setup) conflicts(fail func(path, format string, args ...any)) {
	disks, serials := make(map[string]lun), make(map[string]string)
	inbound := make(map[string]bool)
	for i, t := range s.targets {
		if t.chap != nil {
			inbound[t.chap.Secret] = true
		}
		for j, l := range t.luns {
			path := element(element("target", i)+".lun", j)
			if have, ok := disks[l.disk()]; ok && !have.sameDisk(l) {
				fail(path, "the same disk is there with other options, which must be the same")
			}
			if have, ok := serials[l.serial]; ok && have != l.disk() {
				fail(path, "serial number %q is that of another disk: initiators would take them for one", l.serial)
			}
			disks[l.disk()], serials[l.serial] = l, l.disk()
		}
	}
	for i, t := range s.targets {
		if t.mutual != nil && inbound[t.mutual.Secret] {
			fail(element("target", i)+".mutual", "the secret must not be one that initiators have to prove")
		}
	}
}

// check is conflicts for flags.
func (s *setup) check() error {
	var errs []error
	s.conflicts(func(_, format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) })
	return errors.Join(errs...)
}
