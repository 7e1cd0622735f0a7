package pool

import (
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
)

// Facts are what there is.
type Facts struct {
	Disks []disk.Disk
	Boot  []string // kernel names of disks that we run from: never touched
	LVM   lvm.State
	// Unread are disks, by kernel name, that have come since LVM's state was read: what
	// that says of a device of that name is about another disk.
	Unread map[string]bool
	Found  map[string]probe.Finding // by kernel name: what is on disks that were looked at
	// Holds is all that is on disks that were found not to be blank.
	Holds map[string][]probe.Finding
	// Labels are LVM's labels, by the kernel name of the disk that has one.
	Labels map[string]probe.Finding
	// Copies are disks that LVM isn't shown, because they are copies of others;
	// by kernel name, with the disk that they are a copy of.
	Copies map[string]string
	// Doubts are disks that LVM isn't shown, because what they hold of a pool may be
	// out of date; by kernel name.
	Doubts map[string]Doubt
	// Marked are the pools, by UUID of their groups, that have been marked as used
	// since all their disks are here, and tags that were tried then; see MarkUse.
	Marked map[string]bool
	// Stamped are disks with a stamp that, apart from their first MiB, are
	// blank; by kernel name.
	Stamped map[string]Stamp
	// Busy are disks, by kernel name, that nobody may take now, with the reason in
	// words that follow the disk's name.
	Busy map[string]string
	// Newest are the physical volumes that hold the newest state of a pool, by
	// the UUIDs of both, for pools that were used without all their disks. See
	// Witness.
	Newest map[string][]string
	Unkept map[string]bool // pools of which the witness may forget that in a power cut

	// What the kernel says of active volumes, as read last; see lvm.Client.
	Devices map[string]lvm.Device // by device-mapper's name
	Below   map[string][]string   // device-mapper's name to numbers of devices
	Numbers map[string]string     // a disk's kernel name to its number, "8:16"

	Now     time.Time
	Started time.Time            // when the first look was
	Seen    map[string]time.Time // disk: when it turned up; the zero time if it was there from the start
	Lost    map[string]time.Time // physical volume: since when it is missing or has failed
	Bore    map[string]bool      // physical volume: it is missing or has failed, and something lay on it when it did
	Tried   map[string]Tries     // physical volume: attempts to use it again
	Trying  map[string]time.Time // physical volume that is tried again: since when it had been lost
	Ports   map[string]string    // disk: where it is or was plugged
	Instead map[string]Joined    // disk: it joined a pool to take a lost one's place
	// Unrestored are physical volumes that are here again and that LVM didn't take
	// back when it was told to, with when that was. They count as missing.
	Unrestored map[string]time.Time
	// Mismatches are what the last comparison of copies found, by the group's UUID
	// and the volume's name with a slash between.
	Mismatches map[string]int64
	// Undropped are missing disks, by pool, that LVM didn't forget when it was told
	// to.
	Undropped map[string]string

	// What was asked for, by pool.
	Replace  map[string]Replacement
	ScrubNow map[string]bool
}

// diskAt finds the disk of a device path.
func (f Facts) diskAt(path string) (disk.Disk, bool) {
	for _, d := range f.Disks {
		if d.Path == path {
			return d, true
		}
	}
	return disk.Disk{}, false
}

// groupOf finds the group that a disk, or a partition of it, belongs to.
func (f Facts) groupOf(d disk.Disk) (lvm.Group, bool) {
	for _, g := range f.LVM.Groups {
		for _, pv := range g.Physical {
			if pv.Path == d.Path || isPartitionOf(pv.Path, d.Path) {
				return g, true
			}
		}
	}
	return lvm.Group{}, false
}

// isPartitionOf tells whether /dev/sda3 is on /dev/sda, or /dev/nvme0n1p3 on
// /dev/nvme0n1.
func isPartitionOf(part, whole string) bool {
	rest, ok := strings.CutPrefix(part, whole)
	if !ok || rest == "" {
		return false
	}
	if last := whole[len(whole)-1]; last >= '0' && last <= '9' {
		rest, ok = strings.CutPrefix(rest, "p")
	}
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

// member is a physical volume of a pool and the disk it is on.
type member struct {
	pv   lvm.PhysicalVolume
	disk disk.Disk
	id   string // of the disk; also known when it is missing
	here bool
}

// membersOf lists a group's disks, the missing ones by what their tags tell.
func (f Facts) membersOf(g lvm.Group) []member {
	recorded := members(g)
	var all []member
	for _, pv := range g.Physical {
		m := member{pv: pv, id: recorded[pv.UUID]}
		if d, ok := f.diskAt(pv.Path); ok && !pv.Missing && !f.Unread[d.Name] {
			m.disk, m.id, m.here = d, d.ID(), true
		}
		if m.id == "" {
			m.id = "with LVM UUID " + pv.UUID
		}
		all = append(all, m)
	}
	return all
}

// candidates are the disks whose content must be known before the pool can be
// planned: those it may be made of, or that may take the place of a lost one.
func candidates(spec Spec, f Facts) []disk.Disk {
	any := spec.anyDisk()
	named := slices.Concat(spec.Disks, spec.Spares, []string{f.Replace[spec.Name].New})
	for _, g := range f.LVM.Groups {
		if g.Name == spec.Name {
			any = diagnose(g, f).Lacks > 0
		}
	}
	var all []disk.Disk
	for _, d := range f.Disks {
		wanted := any || slices.ContainsFunc(named, d.Is)
		if _, used := f.groupOf(d); wanted && !used && !d.ReadOnly && !slices.Contains(f.Boot, d.Name) {
			all = append(all, d)
		}
	}
	return all
}

// namedFor are the disks that the configuration names for pools other than one, by
// kernel name, with that pool's name.
func (f Facts) namedFor(specs []Spec, pool string) map[string]string {
	named := map[string]string{}
	for _, s := range specs {
		for _, name := range slices.Concat(s.Disks, s.Spares) {
			for _, d := range disk.Find(f.Disks, name) {
				if s.Name != pool {
					named[d.Name] = s.Name
				}
			}
		}
	}
	return named
}

// sameDisk returns two disks that can't be told apart: one disk with two paths,
// say. None if there are none.
func sameDisk(disks []disk.Disk) []disk.Disk {
	for i, a := range disks {
		for _, b := range disks[:i] {
			if a.WWN != "" && a.WWN == b.WWN || (a.WWN == "" || b.WWN == "") && a.Serial != "" && a.Serial == b.Serial {
				return []disk.Disk{b, a}
			}
		}
	}
	return nil
}
