package pool

import (
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
)

// disks tells what each disk is used for, and what is on those that aren't
// ours.
func (v view) disks() []status.Disk {
	all := []status.Disk{}
	for _, d := range v.now {
		s := status.Disk{
			Name: d.Name, Serial: d.Serial, WWN: d.WWN, Model: d.Model, Size: d.Size, Rotational: d.Rotational,
			Transport: d.Transport, Port: d.Port, SMART: d.SMART, Use: v.use(d),
		}
		if c, ok := v.celsius[diskKey(d)]; ok {
			s.Temperature = &c
		}
		if slices.Contains(v.facts.Disks, d) {
			for _, f := range v.facts.Holds[d.Name] {
				s.Holds = append(s.Holds, content(f))
			}
		}
		all = append(all, s)
	}
	return all
}

func content(f probe.Finding) status.Content {
	c := status.Content{Text: f.Text(), What: f.What, Label: f.Label, UUID: f.UUID, Size: f.Size, Offset: f.Offset, Partition: f.Partition}
	if f.Set.Kind != "" {
		s := status.Set(f.Set)
		c.Set = &s
	}
	return c
}

func (v view) use(d disk.Disk) string {
	if slices.Contains(v.facts.Boot, d.Name) {
		return "boot stick"
	}
	if !slices.Contains(v.facts.Disks, d) || v.facts.Unread[d.Name] {
		return "not looked at yet" // and maybe under the name of another one
	}
	if busy := v.facts.Busy[d.Name]; busy != "" {
		return busy
	}
	if of := v.facts.Copies[d.Name]; of != "" {
		return "copy of disk " + of
	}
	if x, ok := v.facts.Doubts[d.Name]; ok {
		return fmt.Sprintf("says that it is disk %s of pool %s", x.Disk, x.Pool)
	}
	if g, ok := v.facts.groupOf(d); ok {
		switch {
		case ours(g) && g.Tagged(creatingTag):
			return "half-made pool " + g.Name
		case ours(g):
			return "pool " + g.Name
		}
		return "LVM volume group " + g.Name
	}
	if _, ok := v.facts.Stamped[d.Name]; ok {
		return "half-made pool"
	}
	f, ok := v.facts.Found[d.Name]
	switch {
	case !ok && v.mute(d.ID()):
		return "doesn't answer"
	case !ok:
		return "not looked at yet"
	case f.Blank:
		return "blank"
	case f.What == probe.Unreadable:
		return "can't be read"
	}
	return v.facts.inWords(d, f.What)
}

// inWords adds to what organises a disk what a person would miss: the filesystems
// in its partitions, some of them.
func (f Facts) inWords(d disk.Disk, what string) string {
	const most = 3
	var inside []string
	for _, c := range f.Holds[d.Name] {
		if c.Partition == 0 || strings.HasSuffix(c.What, "partition") {
			continue
		}
		if len(inside) == most {
			inside = append(inside, "more")
			break
		}
		c.UUID = ""
		inside = append(inside, c.Text())
	}
	if len(inside) == 0 {
		return what
	}
	return what + " with " + strings.Join(inside, ", ")
}

// where names a disk so that a person finds it among others.
func where(d disk.Disk) string {
	parts := []string{d.Name}
	for _, s := range []string{d.Model, d.Port} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return fmt.Sprintf("disk %s (%s)", d.ID(), strings.Join(parts, ", "))
}

// twins finds disks that can't be told apart by the names they give themselves.
func (v view) twins() []status.Problem {
	byName := map[string][]disk.Disk{}
	var names []string
	for _, d := range v.now {
		name := d.Serial
		if d.WWN != "" {
			name = d.WWN // the better one, where a disk has it
		}
		if name == "" {
			continue
		}
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], d)
	}
	var all []status.Problem
	for _, name := range names {
		same := byName[name]
		if len(same) < 2 {
			continue
		}
		var places []string
		for _, d := range same {
			places = append(places, where(d))
		}
		all = append(all, status.Problem{
			Health: status.Degraded,
			What:   fmt.Sprintf("%d disks call themselves %s: %s", len(same), name, strings.Join(places, " and ")),
			Do:     "if it is one disk that is connected twice, leave one of its connections; if they are different disks behind USB adapters that all tell the same number, connect them in another way, or use one of them at a time",
		})
	}
	return all
}
