// Package pool makes and runs storage pools: an LVM volume group per pool, in
// it a thin pool on a mirror (raid1) or on plain disks, and in that one thin
// volume per configured volume.
//
// Planning is apart from doing: Plan is a pure function from what is wanted
// and what is there to the steps to take. A pool is made by planning again
// after each round of steps, so that a creation which a power cut interrupted
// is finished by the very same code. What protects data:
//
//   - A group without our tag is foreign and never touched.
//   - A group is tagged as being created until it is complete; no volume
//     exists before that tag is gone, so what is in such a group may be thrown
//     away. LVM itself checks the tag when this is done.
//   - Only blank disks are initialised, all of a pool's or none. Before the
//     first write each disk gets a stamp, which tells after a power cut that
//     what is in its first MiB is our own unfinished work.
//   - Volumes are created and grown, never shrunk. Only what was in the trash is
//     removed.
package pool

import (
	"fmt"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
)

// Layouts of a pool.
const (
	Single = "single" // one copy, over one or more disks
	Mirror = "mirror" // a full copy on each of two or three disks, or two copies, each on half of more
	RAID10 = "raid10" // pairs of disks
	RAID5  = "raid5"  // one disk's worth of parity
	RAID6  = "raid6"  // two disks' worth of parity
)

// AnyDisk in place of a pool's disks stands for every blank disk.
const AnyDisk = "*"

// A Spec is a pool as the configuration wants it.
type Spec struct {
	Name    string
	Layout  string   // one of the layouts
	Disks   []string // serial numbers or WWNs, or AnyDisk alone
	Spares  []string // disks that take the place of one that is lost
	Volumes []VolumeSpec

	SpareAfter time.Duration // how long a lost disk may come back
	ScrubEvery time.Duration // how often all copies are compared; 0: never

	// ActivateOnly forbids everything that writes to disks: an existing pool
	// is activated, nothing is created or grown.
	ActivateOnly bool
	// Trash is how long what was deleted is kept; 0 is DefaultTrash.
	Trash time.Duration
}

func (s Spec) anyDisk() bool { return len(s.Disks) == 1 && s.Disks[0] == AnyDisk }

// A VolumeSpec is a volume as the configuration wants it.
type VolumeSpec struct {
	Name string
	Size int64 // bytes; rounded up to LVM's extents of 4 MiB. 0: that of From
	// From is what it is a clone of when it is made: a volume, or a snapshot
	// as in "golden@monday"; empty: nothing.
	From string
	// Priority, 0 to 9: when space runs out, writes to the lowest are refused
	// first.
	Priority int
	Thick    bool // outside the thin pool
	Block    int  // bytes; 0: whatever it has, or that of the disks
	Schedule Schedule
	// Served are its snapshots that targets serve, as in "golden@monday"; the
	// schedule leaves them.
	Served []string
}

// A Schedule makes a snapshot every so often and keeps the newest ones that it
// made. The zero Schedule makes none.
type Schedule struct {
	Every time.Duration
	Keep  int
}

// DefaultPriority is that of volumes that the configuration doesn't name.
const DefaultPriority = 5

// Names and tags of ours in LVM.
const (
	Tag         = "sanstick"          // on each of our groups
	creatingTag = "sanstick.creating" // until the group is complete
	diskTag     = "sanstick.disk."    // + PV's UUID + "." + the disk's serial number

	dataVolume = "thinpool" // the thin pool
	metaVolume = "thinmeta" // its metadata, until it is part of the pool
)

// ours tells whether we made the group. An own tag in a group of another
// system's ID is a copy, or was taken over.
func ours(g lvm.Group) bool {
	return g.Tagged(Tag) && (g.SystemID == "" || g.SystemID == lvm.SystemID)
}

// memberTag records which disk a physical volume is, so that it can be named
// when it is missing.
func memberTag(uuid, id string) string { return tagOf(diskTag, uuid, id) }

func tagOf(prefix, uuid, id string) string {
	var b strings.Builder
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "#%02x", c)
		}
	}
	return prefix + uuid + "." + b.String()
}

// members reads the member tags: physical volume's UUID to disk.
func members(g lvm.Group) map[string]string {
	m := map[string]string{}
	for _, t := range g.Tags {
		rest, ok := strings.CutPrefix(t, diskTag)
		if !ok {
			continue
		}
		uuid, enc, ok := strings.Cut(rest, ".")
		if !ok {
			continue
		}
		var b strings.Builder
		for i := 0; i < len(enc); i++ {
			var c byte
			if enc[i] == '#' && i+3 <= len(enc) {
				if _, err := fmt.Sscanf(enc[i+1:i+3], "%02x", &c); err == nil {
					b.WriteByte(c)
					i += 2
					continue
				}
			}
			b.WriteByte(enc[i])
		}
		m[uuid] = b.String()
	}
	return m
}
