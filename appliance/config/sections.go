package config

import (
	"net/netip"
	"slices"
)

// config builds the Config of a decoded file.
func (w *walker) config(top map[string]any) *Config {
	root := w.section(tableTop, "", top)
	c := &Config{Version: root.version(), Hostname: root.hostname(), Adopt: root.adopt(), Trash: root.trash()}

	seen := interfacesSeen{match: map[Match]int{}, address: map[netip.Addr]int{}}
	for _, s := range w.sections(top, tableInterface) {
		c.Interfaces = append(c.Interfaces, s.iface(seen))
	}

	pools, disks := map[string]int{}, map[string]string{}
	for _, s := range w.sections(top, tablePool) {
		c.Pools = append(c.Pools, s.pool(pools, disks))
	}

	volumes := map[string]int{}
	volumeSections := w.sections(top, tableVolume)
	for _, s := range volumeSections {
		c.Volumes = append(c.Volumes, s.volume(volumes, pools))
	}
	for i, s := range volumeSections {
		s.origin(c.Volumes, i)
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

// adopt tells whether a configuration on the data disks is adopted at once.
func (s section) adopt() bool {
	text, ok := s.text("adopt", `adopt = "auto"`)
	if ok && text != "auto" && text != "ask" {
		s.fail("adopt", `%s must be "ask" or "auto"`, show(text))
	}
	return text == "auto"
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
