package pool

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/status"
)

// A copy of a disk (by dd, or by a cloning station) has the same LVM label as
// the disk itself, and LVM refuses to use a group that it finds twice. Which one
// is right can't be seen on the disks, but the group's tags say which disks it
// was used on last: before a pool is activated, its tags name the disks of the
// day. So a disk that the tags name, and whose metadata is no older than the
// copy's, is the right one. LVM isn't shown the others. If that isn't clear, the
// pool is refused until a person has removed one of them. A copy that is here alone is
// the business of doubts.

// readLabels reads LVM's labels of all disks when a disk has come or gone. Until
// then no disk can have become a copy. A disk that can't be read has no label: LVM
// won't see it either. One that doesn't answer keeps the label that it had.
func (m *Manager) readLabels(ctx context.Context) map[string]probe.Finding {
	f := m.known()
	now := fmt.Sprint(f.Disks, f.Boot)
	if now == m.labelsOf {
		return f.Labels
	}
	type answer struct {
		label  probe.Finding
		ok     bool
		failed bool // to be read
		err    error
	}
	answers := make([]answer, len(f.Disks))
	var wg sync.WaitGroup
	for i, d := range f.Disks {
		if slices.Contains(f.Boot, d.Name) {
			continue
		}
		wg.Go(func() {
			a, err := ask(ctx, m, d, m.o.AskLimit, func() (a answer) {
				dev, err := m.o.Open(d.Path, false)
				if err != nil {
					return answer{failed: true}
				}
				defer dev.Close()
				dropCache(dev, mib) // that is where the metadata ends
				a.label, a.ok, err = probe.PhysicalVolume(dev, d.Size)
				a.ok, a.failed = a.ok && err == nil, err != nil
				return a
			})
			if err != nil {
				a = answer{label: f.Labels[d.Name], ok: f.Labels[d.Name].UUID != "" && m.labeled[d.Name] == d, err: err}
			}
			answers[i] = a
		})
	}
	wg.Wait()
	labels, all := map[string]probe.Finding{}, true
	for i, d := range f.Disks {
		if answers[i].ok {
			labels[d.Name] = answers[i].label
		}
		all = all && answers[i].err == nil && !answers[i].failed
	}
	m.labeled = map[string]disk.Disk{}
	for _, d := range f.Disks {
		m.labeled[d.Name] = d
	}
	m.labelsOf = "" // who didn't answer, or couldn't be read, is asked again
	if ctx.Err() == nil && all {
		m.labelsOf = now
	}
	return labels
}

// readWithoutCopies reads LVM's state without disks that are copies of others,
// in m.copies, and such that may be out of date, in m.doubts. Which are copies is
// decided anew only when disks with the same label come or go: a pool goes on with
// the disk that it is used on.
func (m *Manager) readWithoutCopies(ctx context.Context, labels map[string]probe.Finding) (lvm.State, error) {
	f := m.known()
	f.Labels = labels
	mute := m.mutePaths()
	same := sameLabels(f)
	if len(same) == 0 {
		m.copies, m.copiesOf = nil, ""
	} else if now := fmt.Sprint(same); now != m.copiesOf {
		s, err := m.readWithout(ctx, mute)
		if err != nil {
			return s, err
		}
		f.LVM = s
		m.copies, m.copiesOf = chooseCopies(f, same, m.held), now
		for name, of := range m.copies {
			m.o.Log.Warn("disk is a copy and isn't used", "disk", name, "of", of)
		}
	}
	f.Copies = m.copies
	for last := false; ; last = true {
		hide := slices.Clone(mute)
		for name := range m.copies {
			hide = append(hide, "/dev/"+name)
		}
		for name := range m.doubts {
			hide = append(hide, "/dev/"+name)
		}
		s, err := m.readWithout(ctx, hide)
		if err != nil {
			return s, err
		}
		f.LVM = s
		f.Newest, _ = m.newest(s)
		doubts := f.doubts()
		if last || maps.Equal(doubts, m.doubts) {
			return s, nil
		}
		for name, x := range doubts {
			if m.doubts[name] != x {
				m.o.Log.Warn("disk isn't used", "disk", name, "pool", x.Pool, "says that it is", x.Disk, "why", x.Why)
			}
		}
		m.doubts = doubts
	}
}

// readWithout reads LVM's state, and has LVM not see some disks from now on.
func (m *Manager) readWithout(ctx context.Context, hide []string) (lvm.State, error) {
	slices.Sort(hide)
	if err := m.lvm.Hide(slices.Compact(hide)); err != nil {
		return lvm.State{}, err
	}
	return m.lvm.State(ctx)
}

// sameLabels lists the disks that have the same label as another, by label.
func sameLabels(f Facts) [][]disk.Disk {
	var all [][]disk.Disk
	done := map[string]bool{}
	for _, d := range f.Disks {
		id := f.Labels[d.Name].UUID
		if id == "" || done[id] {
			continue
		}
		done[id] = true
		var same []disk.Disk
		for _, o := range f.Disks {
			if f.Labels[o.Name].UUID == id {
				same = append(same, o)
			}
		}
		if len(same) > 1 {
			all = append(all, same)
		}
	}
	return all
}

// held tells whether something of the kernel lies on a disk: an active volume.
func (m *Manager) held(d disk.Disk) bool {
	holders, err := os.ReadDir(filepath.Join(m.o.Sysfs, "block", d.Name, "holders"))
	return err == nil && len(holders) > 0
}

// chooseCopies decides which disks LVM shall not see, by kernel name, with the
// name of the disk that is used instead. Of disks between which there is no
// safe choice, none is among them.
func chooseCopies(f Facts, all [][]disk.Disk, held func(disk.Disk) bool) map[string]string {
	hide := map[string]string{}
	for _, same := range all {
		right, ok := rightOne(f, same, held)
		for _, d := range same {
			if ok && d != right {
				hide[d.Name] = right.ID()
			}
		}
	}
	return hide
}

// rightOne finds the disk that a pool is used on among those with one label: the
// one that it is active on, or else the one that its tags name.
func rightOne(f Facts, same []disk.Disk, held func(disk.Disk) bool) (disk.Disk, bool) {
	label := f.Labels[same[0].Name]
	for _, g := range f.LVM.Groups {
		i := slices.IndexFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.UUID == label.UUID })
		if i < 0 || !ours(g) {
			continue
		}
		var right []disk.Disk
		if slices.ContainsFunc(same, held) {
			right = slices.DeleteFunc(slices.Clone(same), func(d disk.Disk) bool { return !held(d) })
			return right[0], len(right) == 1
		}
		recorded := members(g)[label.UUID]
		newest := uint64(0)
		for _, d := range same {
			newest = max(newest, f.Labels[d.Name].Set.Events)
			if d.Is(recorded) {
				right = append(right, d)
			}
		}
		if len(right) == 1 && newest > 0 && f.Labels[right[0].Name].Set.Events == newest {
			return right[0], true
		}
		return disk.Disk{}, false
	}
	return disk.Disk{}, false
}

// undecidedDisks are the disks with one label among which there was no safe
// choice, by kernel name.
func undecidedDisks(f Facts) map[string]bool {
	all := map[string]bool{}
	for _, same := range sameLabels(f) {
		if slices.ContainsFunc(same, func(d disk.Disk) bool { return f.Copies[d.Name] != "" }) {
			continue // decided
		}
		for _, d := range same {
			all[d.Name] = true
		}
	}
	return all
}

// undecided refuses a pool that is there twice and isn't in use.
func undecided(g lvm.Group, f Facts) (p Plan, is bool) {
	twins := undecidedDisks(f)
	for _, same := range sameLabels(f) {
		id := f.Labels[same[0].Name].UUID
		if !twins[same[0].Name] || !slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.UUID == id }) {
			continue
		}
		var places []string
		for _, d := range same {
			places = append(places, where(d))
		}
		p = refuse(fmt.Sprintf("pool %s isn't used: these disks are copies of one another, and it can't be told which one is right: %s", g.Name, strings.Join(places, " and ")),
			"power off and remove the copy; or wipe it, on another machine")
		return p, true
	}
	return p, false
}

// copyProblems tells of copies that are here and aren't used.
func (f Facts) copyProblems() []status.Problem {
	var all []status.Problem
	for _, d := range f.Disks {
		if of := f.Copies[d.Name]; of != "" {
			all = append(all, status.Problem{
				Health: status.Degraded,
				What:   fmt.Sprintf("%s is a copy of disk %s, which is in use; the copy isn't used", where(d), of),
				Do:     "remove the copy, or wipe it: sanctl disk wipe " + d.ID(),
			})
		}
	}
	return all
}

// unrecorded lists tags to add and to remove so that a group's tags name the
// disks that it lies on today. A disk that tells neither serial number nor WWN
// has no name that would last.
func unrecorded(g lvm.Group, f Facts) (add, remove []string) {
	recorded := members(g)
	for _, m := range f.membersOf(g) {
		old := recorded[m.pv.UUID]
		if !m.here || m.disk.ID() == m.disk.Name || m.disk.Is(old) {
			continue
		}
		if old == "" && m.pv.Allocated == 0 {
			continue // it was just added; see AdmitDisks
		}
		add = append(add, memberTag(m.pv.UUID, m.id))
		if old != "" {
			remove = append(remove, memberTag(m.pv.UUID, old))
		}
		if copied := tagOf(copyTag, m.pv.UUID, m.id); g.Tagged(copied) {
			remove = append(remove, copied)
		}
	}
	return add, remove
}

// planRecord plans that the group's tags name the disks of the day. lame names
// missing disks: without them, LVM's metadata isn't changed.
func (p *Plan) planRecord(g lvm.Group, f Facts, lame string) {
	add, remove := unrecorded(g, f)
	switch {
	case len(add) == 0:
	case lame != "":
		p.problem(status.Degraded, fmt.Sprintf("pool %s lies on other disks than it was made on, which can't be recorded while %s is missing", g.Name, lame),
			"connect or replace the disk; until then, don't connect a disk that one of the pool's was copied from")
	default:
		s := RecordDisks{Pool: g.Name, UUID: g.UUID, Paths: pathsOf(g), Add: add, Remove: remove}
		s.Compare = len(f.moved(g)) > 0 && len(raidVolumes(g)) > 0
		p.Steps = append(p.Steps, s)
		p.Again = true
	}
}

// RecordDisks makes the group's tags name the disks that it lies on, before it
// is used on them. Compare asks to compare the pool's copies when it is used: one of
// its disks calls itself otherwise than before.
type RecordDisks struct {
	Pool, UUID  string
	Paths       []string
	Add, Remove []string
	Compare     bool
}

func (s RecordDisks) String() string { return "record on which disks pool " + s.Pool + " lies" }

// Risk is that of a change of tags.
func (RecordDisks) Risk() Risk { return Safe }
