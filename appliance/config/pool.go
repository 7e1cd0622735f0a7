package config

import (
	"fmt"
	"slices"
	"time"
)

// layoutRule says how many disks a layout takes.
type layoutRule struct {
	name        string
	least, most int
	even        bool
	what        string // follows the name
	least2      string // the least number, in words
}

func layoutRules() []layoutRule {
	return []layoutRule{
		{LayoutMirror, 2, 64, false, "a full copy on each of two or three disks, or two copies, each on half of more", "two or more"},
		{LayoutRAID10, 4, 64, true, "pairs of disks, four disks or more", "four or more and an even number of"},
		{LayoutRAID5, 3, 32, false, "any one of three or more disks may die", "three or more"},
		{LayoutRAID6, 5, 32, false, "any two of five or more disks may die", "five or more"},
		{LayoutSingle, 1, maxList, false, "one copy", "one or more"},
	}
}

func layoutExample() string {
	text := ""
	for i, r := range layoutRules() {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("layout = %q (%s)", r.name, r.what)
	}
	return text
}

func (s section) pool(names map[string]int, disks map[string]string) Pool {
	var p Pool
	p.Name, _ = s.name(names, checkPoolName, `name = "tank"`)

	const example = `disks = ["SERIAL1", "SERIAL2"]`
	p.Disks = s.disks("disks", example, p.Name, disks)
	items, ok := s.m["disks"].([]any)
	if !s.has("disks") {
		s.fail("", `disks is missing; add %s (sanctl status lists the serial numbers)`, example)
	} else if ok && len(items) == 0 {
		s.fail("disks", "is empty; a pool has at least one disk, as in %s", example)
	}
	every := slices.Contains(p.Disks, AnyDisk)
	if every && len(p.Disks) > 1 {
		s.fail("disks", `"*" is every blank disk and must be alone in the list; remove it or the others`)
	}
	s.layout(&p, len(items), every)

	p.Spares = s.disks("spares", `spares = ["SERIAL3"]`, p.Name, disks)
	if slices.Contains(p.Spares, AnyDisk) {
		s.fail("spares", `a spare has a serial number; "*" can't be one`)
	}
	if p.Layout == LayoutSingle && len(p.Spares) > 0 {
		s.fail("spares", `are of no use to layout = "single", which has no copy to fill them from; remove them`)
	}
	p.SpareAfter = s.duration("spare_after", `spare_after = "10m"`, DefaultSpareAfter, 0, 30*24*time.Hour)
	p.ScrubEvery = DefaultScrubEvery
	const scrub = `scrub = { every = "30d" }`
	if sub := s.sub("scrub", tableScrub, scrub); sub != nil {
		p.ScrubEvery = sub.duration("every", scrub, DefaultScrubEvery, time.Hour, 10*365*24*time.Hour)
	}
	return p
}

// disks reads a list of disks. used holds which pool each disk is in.
func (s section) disks(key, example, pool string, used map[string]string) []string {
	items, _ := s.list(key, example)
	var all []string
	for _, it := range items {
		disk, err := normalDisk(it.text)
		if err != nil {
			s.failAt(it.path, key, "%s %v", show(it.text), err)
			continue
		}
		switch owner, taken := used[disk]; {
		case slices.Contains(all, disk):
			s.failAt(it.path, key, "%s is in the list twice; remove one", show(disk))
			continue
		case taken && disk == AnyDisk:
			s.failAt(it.path, key, `"*" is already in pool %s; only one pool can take every blank disk`, show(owner))
		case taken:
			s.failAt(it.path, key, "%s is already in pool %s; a disk belongs to one pool", show(disk), show(owner))
		default:
			used[disk] = pool
		}
		all = append(all, disk)
	}
	return all
}

func (s section) layout(p *Pool, disks int, every bool) {
	layout, ok := s.required("layout", layoutExample())
	p.Layout = layout
	if !ok {
		return
	}
	rules := layoutRules()
	i := slices.IndexFunc(rules, func(r layoutRule) bool { return r.name == layout })
	if i < 0 {
		s.fail("layout", "%s is not a layout; use %s", show(layout), layoutExample())
		return
	}
	r := rules[i]
	switch {
	case every || disks == 0:
	case layout == LayoutMirror && disks == 1:
		s.fail("layout", `a mirror needs two disks or more, and there is one; add a disk or use layout = "single"`)
	case disks < r.least || disks > r.most || r.even && disks%2 != 0:
		s.fail("layout", "%s needs %s disks, and there are %d; add or remove disks, or choose another layout", layout, r.least2, disks)
	}
}
