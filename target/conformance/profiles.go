package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// profile is a kind of LUN.
type profile struct {
	name string // a letter
	what string
	lun  string // for targetd's --lun, after "0="; FILE stands for a file of size bytes, all zeros
	size int64
	// readOnly: it can't be written. huge: the tests of SANITIZE aren't
	// allowed, as they write all of it. bulky: more is moved than can be
	// captured.
	readOnly, huge, bulky bool
}

var profiles = []profile{
	{name: "A", what: "thin, RAM, 64 MiB, 512-byte blocks", lun: "mem:64MiB,thin,pbs=512"},
	{name: "B", what: "thick, file, 64 MiB, 512-byte blocks", lun: "FILE", size: 64 << 20},
	{name: "C", what: "thin, file, 256 MiB, 4096-byte blocks", lun: "FILE,thin,bs=4096", size: 256 << 20, bulky: true},
	{name: "D", what: "thin, sparse file, 3 TiB, 512-byte blocks on 4096-byte ones (512e)", lun: "FILE,thin,pbs=4096", size: 3 << 40, huge: true},
	{name: "E", what: "read-only, thin, file, 64 MiB, 512-byte blocks", lun: "FILE,ro,thin", size: 64 << 20, readOnly: true},
	{name: "F", what: "removable, thin, file, 64 MiB, 512-byte blocks", lun: "FILE,thin,removable", size: 64 << 20},
}

// cell is one run of all the suites.
type cell struct {
	profile      profile
	header, data bool // digests
	chap         string
}

// The ways of authentication.
const (
	noCHAP, oneWay, mutual = "off", "on", "mutual"

	user, secret             = "initiator", "what-the-initiator-knows"
	targetUser, targetSecret = "target", "what-the-target-knows"
)

// cells are all profiles plain, and the first with each combination of digests
// and CHAP.
func cells() []cell {
	var all []cell
	for _, p := range profiles {
		all = append(all, cell{profile: p, chap: noCHAP})
	}
	for _, chap := range []string{noCHAP, oneWay, mutual} {
		for i := range 4 {
			if c := (cell{profiles[0], i&1 != 0, i&2 != 0, chap}); !c.plain() {
				all = append(all, c)
			}
		}
	}
	return all
}

// plain says that there are neither digests nor CHAP.
func (c cell) plain() bool { return !c.header && !c.data && c.chap == noCHAP }

// sparing says that the suites which move most aren't captured.
func (c cell) sparing() bool {
	return c.profile.bulky || !c.plain() && !(c.header && c.data && c.chap == mutual)
}

func (c cell) digests() string {
	switch {
	case c.header && c.data:
		return "both"
	case c.header:
		return "header"
	case c.data:
		return "data"
	}
	return "none"
}

func (c cell) String() string {
	if c.plain() {
		return c.profile.name
	}
	return fmt.Sprintf("%s, digests %s, CHAP %s", c.profile.name, c.digests(), c.chap)
}

// disk makes the profile's disk in dir and returns the argument for --lun.
func (p profile) disk(dir string) (string, error) {
	path := filepath.Join(dir, "disk-"+p.name)
	if p.size > 0 {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return "", err
		}
		if err := os.Truncate(path, p.size); err != nil {
			return "", err
		}
	}
	return "0=" + expand(p.lun, path), nil
}

// url is what iscsi-test-cu is told to log in to.
func (c cell) url(addr string) string {
	login, query := "", ""
	if c.chap != noCHAP {
		login = user + "%" + secret + "@"
	}
	if c.chap == mutual {
		query = "?target_user=" + targetUser + "&target_password=" + targetSecret
	}
	return "iscsi://" + login + addr + "/" + iqn + "/0" + query
}
