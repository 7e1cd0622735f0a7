package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const day = 24 * time.Hour

// The bounds of a snapshot schedule and of the trash. Every snapshot costs some
// memory and time at the start.
const (
	minEvery, maxEvery = 10 * time.Second, 366 * day
	minKeep, maxKeep   = 1, 1000
	maxTrash           = 366 * day
)

func (s section) volume(names, pools map[string]int) Volume {
	var v Volume
	var ok bool
	v.Name, _ = s.name(names, checkVolumeName, `name = "vm1"`)
	if v.Pool, ok = s.required("pool", `pool = "tank"`); ok {
		if _, there := pools[v.Pool]; !there {
			s.fail("pool", "there is no pool %s; %s", show(v.Pool), offer("pool", v.Pool, pools))
		}
	}
	v.Priority = DefaultPriority
	if n, ok := s.number("priority", "priority = 7"); ok && (n < 0 || n > 9) {
		s.fail("priority", "%d must be from 0 (its writes are refused first) to 9", n)
	} else if ok {
		v.Priority = int(n)
	}
	v.From, _ = s.text("from", `from = "golden@monday"`)
	if s.has("from") {
		if err := checkReference(v.From); v.From != "" && err != nil {
			s.fail("from", "%s %v", show(v.From), err)
		}
	}
	v.Size = s.size()
	v.Thick = s.flag("thick")
	if v.Thick && s.has("from") {
		s.fail("thick", "a clone shares what it holds with its origin, so it can't be thick; remove thick or from")
	}
	if n, ok := s.number("block", "block = 4096"); ok {
		if n != 512 && n != 4096 {
			s.fail("block", "%d is not a size that blocks can have; use 512 or 4096", n)
		}
		v.Block = int(n)
	}
	v.Snapshot = s.schedule()
	if v.Thick && s.has("snapshot") {
		s.fail("snapshot", "thick volumes have no snapshots; remove thick or snapshot")
	}
	return v
}

// size reads a volume's size, which it needn't have if it is a clone.
func (s section) size() int64 {
	if !s.has("size") && s.has("from") {
		return 0
	}
	size, ok := s.m["size"].(string)
	if !ok {
		if _, isNumber := s.m["size"].(int64); isNumber {
			s.fail("size", `is a number without a unit; write it as text, as in size = "64GiB"`)
		} else {
			s.required("size", `size = "64GiB"`)
		}
		return 0
	}
	n, err := volumeSize(size)
	if err != nil {
		s.fail("size", "%s %v", show(size), err)
	}
	return n
}

// origin checks what volume i is a clone of, if that is in the file: it may
// also be a volume that is kept though the file doesn't name it.
func (s section) origin(all []Volume, i int) {
	byName := map[string]Volume{}
	for _, v := range all {
		byName[v.Name] = v
	}
	name, _, isSnapshot := strings.Cut(all[i].From, "@")
	from, there := byName[name]
	switch {
	case name == "" || !there:
		return
	case from.Pool != all[i].Pool:
		s.fail("from", "volume %s is in pool %s; a clone is in the pool of its origin", show(name), show(from.Pool))
		return
	case from.Thick:
		s.fail("from", "volume %s is thick, and only thin volumes can be cloned", show(name))
		return
	case isSnapshot:
		return
	}
	for n := 0; there && from.From != "" && n <= len(all); n++ {
		if from.From == all[i].Name {
			s.fail("from", "%s is, in the end, a clone of %s; one of them must come from somewhere else", show(name), show(all[i].Name))
			return
		}
		from, there = byName[from.From]
	}
}

// schedule reads how often a volume's snapshots are made.
func (s section) schedule() (c Schedule) {
	const example = `snapshot = { every = "1h", keep = 24 }`
	t := s.sub("snapshot", tableSnapshot, example)
	if t == nil {
		return c
	}
	if !t.has("every") {
		t.fail("", `every is missing; add every = "1h"`)
	}
	c.Every = t.duration("every", `every = "1h"`, 0, minEvery, maxEvery)
	if !t.has("keep") {
		t.fail("", "keep is missing; add keep = 24, how many are kept")
	}
	n, ok := t.number("keep", "keep = 24")
	if ok && (n < minKeep || n > maxKeep) {
		t.fail("keep", "%d must be from %d to %d", n, minKeep, maxKeep)
	}
	c.Keep = int(n)
	return c
}

func (s section) trash() time.Duration {
	return s.duration("trash", `trash = "7d"`, 0, time.Minute, maxTrash)
}

// checkReference tells what is wrong with the name of a volume, or of a
// snapshot as in "golden@monday".
func checkReference(s string) error {
	name, snapshot, isSnapshot := strings.Cut(s, "@")
	if err := checkVolumeName(name); err != nil {
		return err
	}
	if isSnapshot {
		return CheckSnapshotName(snapshot)
	}
	return nil
}

// CheckVolumeName tells what is wrong with the name of a volume.
func CheckVolumeName(s string) error { return checkVolumeName(s) }

// CheckSnapshotName tells what is wrong with the name of a snapshot, which is
// what comes behind the "@".
func CheckSnapshotName(s string) error {
	if s == "" {
		return errors.New("has nothing behind the @; give the snapshot's name, as in golden@monday")
	}
	letter := func(c byte) bool { return isLower(c) || c >= 'A' && c <= 'Z' }
	for i := range len(s) {
		if c := s[i]; !letter(c) && c != '-' && c != '.' && c != '_' {
			return fmt.Errorf("has %s in it; the name of a snapshot has letters, digits, hyphens, underscores and dots only", show(string([]rune(s[i:])[:1])))
		}
	}
	if !letter(s[0]) || !letter(s[len(s)-1]) {
		return errors.New("must start and end with a letter or digit")
	}
	if len(s)+strings.Count(s, "-") > maxName {
		return fmt.Errorf("is too long; a name has at most %d characters, hyphens counting twice", maxName)
	}
	return nil
}
