package config

import (
	"net/netip"
	"slices"
)

// config builds the Config of a decoded file.
func (w *walker) config(top map[string]any) *Config {
	root := w.section(tableTop, "", top)
	c := &Config{Hostname: root.hostname()}

	seen := interfacesSeen{match: map[Match]int{}, address: map[netip.Addr]int{}}
	for _, s := range w.sections(top, tableInterface) {
		c.Interfaces = append(c.Interfaces, s.iface(seen))
	}

	pools, disks := map[string]int{}, map[string]string{}
	for _, s := range w.sections(top, tablePool) {
		c.Pools = append(c.Pools, s.pool(pools, disks))
	}

	volumes := map[string]int{}
	for _, s := range w.sections(top, tableVolume) {
		c.Volumes = append(c.Volumes, s.volume(volumes, pools))
	}

	targets, iqns := map[string]int{}, map[string]int{}
	for _, s := range w.sections(top, tableTarget) {
		c.Targets = append(c.Targets, s.target(c.Hostname, targets, iqns, volumes))
	}
	return c
}

func (s section) hostname() string {
	name, ok := s.text("hostname", `hostname = "attic"`)
	if !ok {
		return DefaultHostname
	}
	if err := checkHostname(name); err != nil {
		s.fail("hostname", "%s %v", show(name), err)
		return DefaultHostname
	}
	return name
}

// name reads a section's name and reports a second use of it. seen holds the
// lines of the names so far.
// ok is false if there is something wrong with it.
func (s section) name(seen map[string]int, check func(string) error, example string) (name string, ok bool) {
	name, ok = s.required("name", example)
	if !ok {
		return "", false
	}
	if line, dup := seen[name]; dup {
		s.fail("name", "%s is already the name of the %s of line %d; choose another", show(name), s.table, line)
		return name, false
	}
	// Even a bad name counts as there, so that what refers to it isn't
	// reported too.
	seen[name] = s.w.pos.line(s.at("name"))
	if err := check(name); err != nil {
		s.fail("name", "%s %v", show(name), err)
		return name, false
	}
	return name, true
}

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
	size, ok := s.m["size"].(string)
	if !ok {
		if _, isNumber := s.m["size"].(int64); isNumber {
			s.fail("size", `is a number without a unit; write it as text, as in size = "64GiB"`)
		} else {
			s.required("size", `size = "64GiB"`)
		}
		return v
	}
	n, err := volumeSize(size)
	if err != nil {
		s.fail("size", "%s %v", show(size), err)
	}
	v.Size = n
	return v
}

// offer says what to do about a reference to something that isn't there.
func offer(what, name string, there map[string]int) string {
	var names []string
	for n := range there {
		names = append(names, n)
	}
	slices.Sort(names)
	if like := nearest(name, names); like != "" {
		return "did you mean " + show(like) + "?"
	}
	return "add a [[" + what + "]] with that name or correct the name"
}
