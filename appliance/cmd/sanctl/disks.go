package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/status"
)

func inventoryCommands() []command {
	return []command{{
		name:  "disks",
		short: "every disk, where it is plugged in, and what is on it",
		long: `
Lists all disks by serial number, with model, size, port and temperature,
and with what is on those that belong to no pool. Then come the arrays and
groups that were found on them: which of their members are here, and which
aren't.

What a disk is used for:

  pool NAME        a part of that pool. Leave it.
  half-made pool   its creation was interrupted. It goes on by itself as
                   soon as all of the pool's disks are here.
  blank            nothing at all was found on it: a pool takes it as soon
                   as the configuration names it. On a large disk this
                   means: no known signature at any place where one can
                   lie, zeros at both ends and in samples between.
  boot stick       what the appliance runs from. Never taken.
  copy of disk X   it was copied from X, and X is the one in use. Remove
                   it, or wipe it.
  says that it is disk X of pool Y
                   it has the pool's mark, but may be an old copy. sanctl
                   status says what to do.
  doesn't answer   it hangs. Check its cable, or replace it.
  not looked at yet
                   wait. What is being done with a disk shows in the same
                   way, as in: is being wiped.
  can't be read    it gives errors. Check its cable, or replace it.
  LVM volume group NAME
                   another system's (a Linux PC, Proxmox). It is never
                   activated and never written. To get at what is on it,
                   connect it to a machine that knows it.
  anything else    what was found on it. It is never written. If nobody
                   needs that, sanctl disk wipe SERIAL makes it blank.

No md array is assembled by itself: the data stays as it is. sanctl md open
opens one for reading, and shows what is on it. Members whose count of
events is lower than that of others are out of date.`,
		examples: []string{"sanctl disks", "sanctl disks --json"},
		see:      []string{"disk wipe", "disk replace", "md open", "hardware", "status"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			if s.Disks == nil {
				s.Disks = []status.Disk{}
			}
			var p page
			renderArrays(&p, s.Arrays)
			return c.print(s.Disks, renderDisks(s.Disks)+p.text.String())
		},
	}}
}

func renderDisks(disks []status.Disk) string {
	var p page
	if len(disks) == 0 {
		p.line("No disks are here.")
	}
	for i, d := range disks {
		if i > 0 {
			p.line()
		}
		p.line(diskName(d), ": ", cmp.Or(d.Use, "unknown use"))
		p.line("  ", diskText(d))
		var facts []string
		if d.Port != "" {
			facts = append(facts, "at "+d.Port)
		}
		if d.Rotational {
			facts = append(facts, "rotating")
		}
		if d.Temperature != nil {
			facts = append(facts, strconv.Itoa(*d.Temperature)+" °C")
		}
		if d.SMART {
			facts = append(facts, "SMART")
		}
		if d.WWN != "" && d.Serial != "" {
			facts = append(facts, d.WWN)
		}
		if len(facts) > 0 {
			p.line("  ", strings.Join(facts, ", "))
		}
		contents(&p, "  ", d.Holds)
	}
	renderSets(&p, setsOf(disks))
	return p.text.String()
}

// contents lists what is on a disk: what partitions hold is indented.
func contents(p *page, indent string, all []status.Content) {
	seen := 0
	for _, c := range all {
		switch {
		case c.Partition == 0:
			p.line(indent, "holds ", c.Text)
		case c.Partition != seen:
			p.line(indent, "  ", strconv.Itoa(c.Partition), ": ", c.Text)
		default:
			p.line(indent, "     holds ", c.Text)
		}
		seen = c.Partition
	}
}

func diskName(d status.Disk) string { return cmp.Or(d.Serial, d.WWN, d.Name+" (no serial number)") }

// A setHere is an array or a group, and its members that are here.
type setHere struct {
	status.Set
	members []setMember
}

type setMember struct {
	status.Set
	disk string
}

// setsOf gathers the sets of which members are on disks, in the order in which
// they are found.
func setsOf(disks []status.Disk) []setHere {
	var all []setHere
	for _, d := range disks {
		for _, c := range d.Holds {
			if c.Set == nil || c.Set.Kind == "" {
				continue
			}
			name := diskName(d)
			if c.Partition > 0 {
				name += ", partition " + strconv.Itoa(c.Partition)
			}
			i := slices.IndexFunc(all, func(s setHere) bool {
				return s.Kind == c.Set.Kind && s.ID == c.Set.ID && s.Name == c.Set.Name
			})
			if i < 0 {
				i = len(all)
				all = append(all, setHere{Set: *c.Set})
			}
			all[i].members = append(all[i].members, setMember{Set: *c.Set, disk: name})
		}
	}
	return all
}

func renderSets(p *page, all []setHere) {
	if len(all) == 0 {
		return
	}
	p.heading("Found on disks that belong to no pool")
	for _, s := range all {
		line := "  " + s.Kind
		if s.Name != "" {
			line += " " + s.Name
		}
		var more []string
		if s.Level != "" {
			more = append(more, s.Level)
		}
		if s.Members > 0 {
			more = append(more, fmt.Sprintf("%d members", s.Members))
		}
		if s.Owner != "" {
			more = append(more, "of system "+s.Owner)
		}
		if len(more) > 0 {
			line += " (" + strings.Join(more, ", ") + ")"
		}
		p.line(line, ", ID ", cmp.Or(s.ID, "unknown"))
		newest := uint64(0)
		for _, m := range s.members {
			newest = max(newest, m.Events)
		}
		here := map[string]bool{}
		for _, m := range s.members {
			what := "part"
			if m.Member != "" {
				what = "member " + m.Member
			}
			if m.Member == "spare" || m.Member == "failed" {
				what = m.Member
			}
			text := "    " + what + " is disk " + m.disk
			if m.Events < newest {
				text += fmt.Sprintf(", OUT OF DATE (%d events of %d)", m.Events, newest)
			}
			p.line(text)
			here[m.Member] = true
		}
		for i := range s.Members {
			// Only md counts its members from 0.
			if s.Kind == "md array" && !here[strconv.Itoa(i)] {
				p.line("    member ", strconv.Itoa(i), " isn't here")
			}
		}
	}
}
