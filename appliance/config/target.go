package config

import (
	"slices"
	"strings"
)

// maxLUNs bounds the volumes of one target: LUNs 0 to 255 fit every
// initiator's addressing (SAM-5 section 4.7.7.2).
const maxLUNs = 256

// The bounds of a CHAP secret in bytes: 96 bits is the least that RFC 7143
// section 12.1.3 allows without IPsec, and 255 is what one AuthMethod key
// takes.
const (
	minSecret = 12
	maxSecret = 255
)

func (s section) target(hostname string, names, iqns, volumes map[string]int) Target {
	var t Target
	var ok bool
	t.Name, ok = s.name(names, checkName, `name = "vm1"`)
	t.IQN = s.iqn(hostname, t.Name, ok, iqns)

	const example = `volumes = ["vm1"]`
	items, ok := s.list("volumes", example)
	switch {
	case !s.has("volumes"):
		s.fail("", "volumes is missing; add %s", example)
	case ok && len(items) == 0:
		s.fail("volumes", "is empty; a target serves at least one volume, as in %s", example)
	case len(items) > maxLUNs:
		s.fail("volumes", "has %d volumes; a target has at most %d", len(items), maxLUNs)
	}
	for _, it := range items {
		name, snapshot, isSnapshot := strings.Cut(it.text, "@")
		var bad error
		if isSnapshot {
			bad = CheckSnapshotName(snapshot)
		}
		switch _, there := volumes[name]; {
		case bad != nil:
			s.failAt(it.path, "volumes", "%s %v", show(it.text), bad)
		case !there:
			s.failAt(it.path, "volumes", "there is no volume %s; %s", show(name), offer("volume", name, volumes))
		case slices.Contains(t.Volumes, it.text):
			s.failAt(it.path, "volumes", "%s is in the list twice; remove one", show(it.text))
		default:
			t.Volumes = append(t.Volumes, it.text)
		}
	}
	t.Initiators = s.initiators()
	t.CHAP = s.chap()
	t.Limit = s.limit()
	return t
}

// iqn reads the target's iSCSI name, or makes it of its name if that is good.
func (s section) iqn(hostname, name string, nameOK bool, seen map[string]int) string {
	key := "iqn"
	iqn, ok := s.text("iqn", `iqn = "iqn.2006-12.com.example:vm1"`)
	if !s.has("iqn") {
		key, iqn, ok = "name", defaultIQN(hostname, name), nameOK
	}
	if !ok {
		return ""
	}
	if err := checkISCSIName(iqn, true); err != nil {
		s.fail(key, "%s %v", show(iqn), err)
	} else if line, dup := seen[iqn]; dup {
		s.fail(key, "the iSCSI name %s is already that of the target of line %d; choose another", show(iqn), line)
	} else {
		seen[iqn] = s.w.pos.line(s.at(key))
	}
	return iqn
}

// initiators reads who may log in; without the key it is nobody.
func (s section) initiators() []string {
	var names []string
	items, _ := s.list("initiators", `initiators = ["iqn.1998-01.com.vmware:esx1"]`)
	for _, it := range items {
		if it.text != AnyInitiator {
			if err := checkISCSIName(it.text, false); err != nil {
				s.failAt(it.path, "initiators", "%s %v", show(it.text), err)
				continue
			}
		}
		if slices.Contains(names, it.text) {
			s.failAt(it.path, "initiators", "%s is in the list twice; remove one", show(it.text))
			continue
		}
		names = append(names, it.text)
	}
	if len(names) > 1 && slices.Contains(names, AnyInitiator) {
		s.fail("initiators", `"*" is anyone and must be alone in the list; remove it or the others`)
	}
	return names
}

// chap reads the secret. What it reports never holds a value.
func (s section) chap() *CHAP {
	t := s.sub("chap", tableCHAP, `chap = { user = "esx1", secret = "..." }`)
	if t == nil {
		return nil
	}
	var c CHAP
	user, ok := t.required("user", `user = "esx1"`)
	if ok && (user == "" || len(user) > 255 || !printable(user)) {
		t.fail("user", "must have 1 to 255 printable ASCII characters")
	}
	secret, ok := t.required("secret", `secret = "..." with 12 to 255 characters`)
	switch {
	case !ok:
	case len(secret) < minSecret:
		t.fail("secret", "has %d bytes, but must have at least %d; choose a longer one", len(secret), minSecret)
	case len(secret) > maxSecret:
		t.fail("secret", "has %d bytes, but may have at most %d; choose a shorter one", len(secret), maxSecret)
	case !printable(secret):
		t.fail("secret", "must have printable ASCII characters only; other ones are sent differently by different initiators")
	}
	c.User, c.Secret = user, secret
	return &c
}

// The bounds of a target's limits. Below the least, initiators would give
// commands up that wait for their turn.
const (
	minIOPS, maxIOPS = 10, 1_000_000_000
	minMBps, maxMBps = 1, 1_000_000
)

// limit reads how much a target may do in a second.
func (s section) limit() (l Limit) {
	t := s.sub("limit", tableLimit, `limit = { iops = 500, mbps = 20 }`)
	if t == nil {
		return l
	}
	l.IOPS = t.bounded("iops", minIOPS, maxIOPS)
	l.MBps = t.bounded("mbps", minMBps, maxMBps)
	return l
}

// bounded reads a number that is at least least and at most most; 0 if there is
// none.
func (s section) bounded(key string, least, most int64) int {
	n, ok := s.number(key, key+" = 500")
	if ok && (n < least || n > most) {
		s.fail(key, "%d must be from %d to %d; without a bound, remove it", n, least, most)
		return 0
	}
	return int(n)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
