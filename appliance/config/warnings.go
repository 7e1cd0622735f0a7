package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Warnings tells what is allowed but worth saying, one sentence each.
func (c *Config) Warnings() []string {
	var warnings []string
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }

	c.networkWarnings(warn)
	for _, p := range c.Pools {
		if p.Layout == LayoutSingle {
			warn("pool %q has one copy of its data: a dead disk takes every volume with it", p.Name)
		}
		if slices.Contains(p.Disks, AnyDisk) {
			warn(`pool %q takes every blank disk (disks = ["*"]); name the disks by serial number to be sure which`, p.Name)
		}
	}
	users := map[string][]string{}
	for _, t := range c.Targets {
		for _, v := range t.Volumes {
			users[v] = append(users[v], t.Name)
		}
		switch open := slices.Contains(t.Initiators, AnyInitiator); {
		case open && t.CHAP == nil:
			warn(`target %q lets anyone on the network read and overwrite its volumes (initiators = ["*"], no chap)`, t.Name)
		case open:
			warn(`target %q lets anyone in who knows its CHAP secret (initiators = ["*"])`, t.Name)
		case len(t.Initiators) == 0:
			warn("target %q lets nobody in: its initiators list is empty", t.Name)
		}
	}
	origins := map[string]bool{} // of clones, and of snapshots that are served
	for _, v := range c.Volumes {
		name, _, _ := strings.Cut(v.From, "@")
		origins[name] = true
	}
	for name := range users {
		of, _, _ := strings.Cut(name, "@")
		origins[of] = true
	}
	for _, v := range c.Volumes {
		switch names := users[v.Name]; {
		case len(names) == 0 && origins[v.Name]:
		case len(names) == 0:
			warn("volume %q is served by no target", v.Name)
		case len(names) > 1:
			warn("volume %q is served by the targets %s: initiators that don't share it with care (VMFS, a cluster file system) destroy its data",
				v.Name, strings.Join(names, " and "))
		}
	}
	return warnings
}

// networkWarnings warns of two interfaces in one network: answers may leave by
// the other one.
func (c *Config) networkWarnings(warn func(string, ...any)) {
	seen := map[netip.Prefix]int{}
	for i, iface := range c.Interfaces {
		for _, p := range iface.Addresses {
			first, dup := seen[p.Masked()]
			if dup && first != i {
				warn("two interfaces have an address in the network %s: traffic may use either of them; give each a network of its own", p.Masked())
			} else {
				seen[p.Masked()] = i
			}
		}
	}
}
