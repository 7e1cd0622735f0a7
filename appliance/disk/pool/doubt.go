package pool

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// What a pool's tags know as one disk may be here as another. Mostly that is the
// same disk in another enclosure or adapter, which tells its own serial number. It
// may also be a copy that was made before the pool was used last, and then its legs
// are old, though their raid superblocks call them whole: the kernel would read from
// them. So it must be seen whether the pool was used since.
//
// LVM counts the changes of a group's metadata, on each disk. Each time that a pool
// is about to be used with all its disks, its metadata is changed: see MarkUse. A
// copy that was made before that has a lower count for good. It is hidden from LVM,
// and the disk that it was copied from counts as missing. A disk with the same count
// as the others is the pool's, whatever it calls itself; but the one that the tags
// name is waited for, and the copies are compared afterwards.

const (
	copyTag = "sanstick.copy." // like diskTag, of a disk that was here as a copy while the pool was used
	usedTag = "sanstick.used." // + how often the pool was about to be used with all its disks
)

// A Doubt is about a disk that says it is a pool's and may be out of date.
type Doubt struct {
	Pool string
	Disk string // which one it says it is
	Why  string // in words that follow "it"
}

// A carrier is a disk with the label of a pool's physical volume.
type carrier struct {
	disk     disk.Disk
	pv       string // UUID
	recorded string // disk that the pool's tags name
	events   uint64 // how often the group's metadata was changed; 0: it can't be read
}

// elsewhere tells whether the pool's tags name another disk than this one. A kernel
// name, of a disk that told neither serial number nor WWN, is no name.
func elsewhere(d disk.Disk, recorded string) bool {
	return recorded != "" && !disk.IsDiskName(recorded) && !d.Is(recorded) && !strings.EqualFold(d.ID(), recorded)
}

// carriers are the disks that are here of a group, without copies of them.
func (f Facts) carriers(g lvm.Group) []carrier {
	recorded := members(g)
	var all []carrier
	for _, pv := range g.Physical {
		var found []disk.Disk
		for _, d := range f.Disks {
			if f.Labels[d.Name].UUID == pv.UUID && f.Copies[d.Name] == "" && !slices.Contains(f.Boot, d.Name) {
				found = append(found, d)
			}
		}
		if len(found) == 1 { // of several, none is right; see undecided
			all = append(all, carrier{found[0], pv.UUID, recorded[pv.UUID], f.Labels[found[0].Name].Set.Events})
		}
	}
	return all
}

// doubts are the disks that LVM must not see because they may be out of date, by
// kernel name.
func (f Facts) doubts() map[string]Doubt {
	all := map[string]Doubt{}
	for _, g := range f.LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		carriers := f.carriers(g)
		known, most := uint64(0), uint64(0) // changes: on the newest disk that the tags name, on any
		for _, c := range carriers {
			if newest := f.Newest[g.UUID]; len(newest) > 0 && !slices.Contains(newest, c.pv) {
				continue // that it is behind says nothing
			}
			most = max(most, c.events)
			if !elsewhere(c.disk, c.recorded) {
				known = max(known, c.events)
			}
		}
		want := known
		if known == 0 {
			want = most // all are in another enclosure
		}
		for _, c := range carriers {
			if !elsewhere(c.disk, c.recorded) {
				continue
			}
			why := ""
			switch {
			case known > 0 && g.Tagged(tagOf(copyTag, c.pv, c.disk.ID())):
				why = "was here as a copy while the pool was used without it"
			case want > 0 && c.events == 0:
				why = "has metadata that can't be read"
			case c.events < want:
				why = fmt.Sprintf("is older than the pool's other disks: its metadata was changed %d times, theirs %d times", c.events, want)
			case c.events > want:
				why = fmt.Sprintf("was changed apart from the pool's other disks: its metadata was changed %d times, theirs %d times", c.events, want)
			}
			if why != "" {
				all[c.disk.Name] = Doubt{g.Name, c.recorded, why}
			}
		}
	}
	return all
}

// doubtProblems tell of disks that are here and aren't used because of a doubt.
func (f Facts) doubtProblems() []status.Problem {
	var all []status.Problem
	for _, d := range f.Disks {
		x, ok := f.Doubts[d.Name]
		if !ok {
			continue
		}
		all = append(all, status.Problem{
			Health: status.Degraded,
			What:   fmt.Sprintf("%s says that it is disk %s of pool %s, and isn't used: it %s", where(d), x.Disk, x.Pool, x.Why),
			Do: fmt.Sprintf("if it is a copy, remove it and connect disk %s; if it is to be used in that one's place, have it filled anew from the pool's other disks: sanctl disk wipe %s, then sanctl disk replace %s %s",
				x.Disk, d.ID(), x.Disk, d.ID()),
		})
	}
	return all
}

// moved are the disks of a group that are in use, or about to be, though its tags
// name others.
func (f Facts) moved(g lvm.Group) (recorded []string) {
	names := members(g)
	for _, m := range f.membersOf(g) {
		if old := names[m.pv.UUID]; m.here && m.disk.ID() != m.disk.Name && elsewhere(m.disk, old) {
			recorded = append(recorded, old)
		}
	}
	return recorded
}

// unmarkedCopies are the tags that a group lacks about copies of its disks that are
// here.
func (f Facts) unmarkedCopies(g lvm.Group) []string {
	var add []string
	for _, d := range f.Disks {
		pv := f.Labels[d.Name].UUID
		tag := tagOf(copyTag, pv, d.ID())
		if f.Copies[d.Name] != "" && d.ID() != d.Name && !g.Tagged(tag) && !f.Marked[tag] && slices.ContainsFunc(g.Physical, func(p lvm.PhysicalVolume) bool { return p.UUID == pv }) {
			add = append(add, tag)
		}
	}
	return add
}

// MarkUse changes a pool's metadata before it is used with all its disks, so that
// copies of them that are older can be told.
type MarkUse struct {
	Pool, UUID  string
	Paths       []string
	Add, Remove []string // tags
}

func (s MarkUse) String() string { return "mark that pool " + s.Pool + " is used" }

// Risk is that of a change of tags.
func (MarkUse) Risk() Risk { return Safe }

// planMark plans that, if all disks are here and it hasn't been done since they are,
// or since a copy of one has turned up beside it.
func (p *Plan) planMark(g lvm.Group, f Facts) {
	copies := f.unmarkedCopies(g)
	if f.Marked[g.UUID] && len(copies) == 0 || slices.ContainsFunc(f.legs(g), func(l leg) bool { return l.moved }) {
		return
	}
	s := MarkUse{Pool: g.Name, UUID: g.UUID, Paths: pathsOf(g)}
	n := uint64(0)
	for _, t := range g.Tags {
		if x, ok := strings.CutPrefix(t, usedTag); ok {
			last, _ := strconv.ParseUint(x, 10, 64) // what isn't a number counts as none
			n = max(n, last)
			s.Remove = append(s.Remove, t)
		}
	}
	s.Add = append(copies, usedTag+strconv.FormatUint(n+1, 10))
	p.Steps = append(p.Steps, s)
}

// do counts as done even if it fails: the pool goes on, and it is tried again the
// next time.
func (s MarkUse) do(ctx context.Context, m *Manager) error {
	m.marks(append(s.Add, s.UUID)...)
	current := m.current()
	if err := m.lvm.ChangeTags(ctx, s.Pool, s.Add, s.Remove); err != nil {
		return err
	}
	if current {
		m.noteTags(s)
	}
	return m.flush(s.Paths)
}

func (m *Manager) marks(what ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range what {
		m.facts.Marked = with(m.facts.Marked, w, true)
	}
}

// noteTags has the facts tell of the tags.
func (m *Manager) noteTags(s MarkUse) {
	m.mu.Lock()
	groups := slices.Clone(m.facts.LVM.Groups) // Status may be reading the old ones
	for i, g := range groups {
		if g.UUID == s.UUID {
			groups[i].Tags = append(slices.DeleteFunc(slices.Clone(g.Tags), func(t string) bool { return slices.Contains(s.Remove, t) }), s.Add...)
		}
	}
	m.facts.LVM.Groups = groups
	m.mu.Unlock()
	m.noted()
}
