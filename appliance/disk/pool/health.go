package pool

import (
	"maps"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
)

// A State is how the redundancy of a pool is. ARCHITECTURE.md has every
// transition between states, and the command that makes it.
type State string

const (
	Inactive   State = "inactive"          // not in use yet
	Healthy    State = "healthy"           // all copies are the same, as far as anybody knows
	Checking   State = "checking"          // healthy, and the copies are being compared
	Syncing    State = "syncing"           // a new pool's copies are being made the same
	Rebuilding State = "rebuilding"        // a disk that is new, or was away, is being filled
	Returned   State = "degraded-returned" // a disk that was away is here again, and isn't used yet
	Absent     State = "degraded-absent"   // a disk isn't here
	LegFailed  State = "degraded-failed"   // a disk is here, and reading or writing it failed
	Cut        State = "provisioning-cut"  // the pool has given up a disk, and lacks one
	Failed     State = "failed"            // more is gone than the layout bears
)

// A Condition is a pool's state with what it comes from.
type Condition struct {
	State State
	// Disks that the state is about, by serial number; of Cut none.
	Disks []string
	// Lacks is how many disks the pool lacks.
	Lacks int
	// Mismatches are 512-byte sectors that the last comparison found to differ.
	Mismatches int64
	Bare       bool    // the metadata of the thin pool has one copy only, though the data has more
	Progress   float64 // per cent, of Checking, Syncing and Rebuilding
}

// A leg is one disk's part of a raid volume.
type leg struct {
	volume lvm.LogicalVolume
	letter byte     // of device-mapper's status; 0 if the volume isn't active
	pvs    []string // UUIDs of what it lies on: several in a pool that has grown; none if that is gone
	lost   bool     // not all that it lies on is here
	moved  bool     // the kernel uses a device that the disk isn't any more
}

// isRaid tells whether a volume's data is on several disks redundantly.
func isRaid(v lvm.LogicalVolume) bool { return strings.HasPrefix(v.Type, "raid") && v.Type != "raid0" }

// raidVolumes are a group's redundant volumes, small ones first: those of
// metadata, without which nothing else can be read.
func raidVolumes(g lvm.Group) []lvm.LogicalVolume {
	var all []lvm.LogicalVolume
	for _, v := range g.Logical {
		if isRaid(v) {
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b lvm.LogicalVolume) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	return all
}

// user is the volume that a raid volume is a part of: what is refreshed.
func user(v lvm.LogicalVolume) string {
	if v.Name == dataVolume+"_tdata" || v.Name == dataVolume+"_tmeta" {
		return dataVolume
	}
	return v.Name
}

// legs lists the legs of all raid volumes of a group.
func (f Facts) legs(g lvm.Group) []leg {
	var all []leg
	for _, v := range raidVolumes(g) {
		status := ""
		if r := f.Devices[lvm.DeviceName(g.Name, v.Name)].Raid; r != nil {
			status = r.Legs
		}
		for i, name := range v.Devices {
			image, ok := g.Volume(name)
			l := leg{volume: v, lost: !ok || image.Type == "error" || image.Partial || len(image.Devices) == 0}
			if i < len(status) {
				l.letter = status[i]
			}
			l.locate(g, f, image)
			all = append(all, l)
		}
	}
	return all
}

// locate finds the disks that a leg lies on.
func (l *leg) locate(g lvm.Group, f Facts, image lvm.LogicalVolume) {
	used := f.Below[lvm.DeviceName(g.Name, image.Name)]
	for _, path := range image.Devices {
		for _, m := range f.membersOf(g) {
			if m.pv.Path != path {
				continue
			}
			l.pvs = append(l.pvs, m.pv.UUID)
			l.lost = l.lost || !m.here && !m.flagged(f)
			number := f.Numbers[m.disk.Name]
			if m.here && number != "" && len(used) > 0 && !slices.Contains(used, number) {
				l.moved = true
			}
		}
	}
}

// flagged tells whether LVM goes on without a disk that is here again, and that may
// be taken back.
func (m member) flagged(f Facts) bool {
	_, tried := f.Unrestored[m.pv.UUID]
	return m.back(f) && !tried
}

// back tells whether LVM goes on without a disk that is here again.
func (m member) back(f Facts) bool {
	d, here := f.diskAt(m.pv.Path)
	return m.pv.Missing && m.pv.Path != "" && here && !f.Unread[d.Name]
}

// restoreAgain is how long a disk that LVM didn't take back is left alone.
const restoreAgain = 10 * time.Minute

// restorable tells whether LVM is to be told again to take back a disk that it didn't
// take back.
func (m member) restorable(f Facts) bool {
	at, tried := f.Unrestored[m.pv.UUID]
	return m.back(f) && tried && f.Now.Sub(at) >= restoreAgain
}

// failedDisks are the physical volumes that are here, and of which a leg has
// failed.
func (f Facts) failedDisks(g lvm.Group) map[string]bool {
	failed := map[string]bool{}
	for _, l := range f.legs(g) {
		if l.lost || l.moved || l.letter != 'D' {
			continue
		}
		for _, pv := range l.pvs { // which of them it was, the kernel doesn't say
			failed[pv] = true
		}
	}
	return failed
}

// diagnose tells how a pool is. It is a pure function of what was seen.
func diagnose(g lvm.Group, f Facts) Condition {
	var absent, returned []string
	moved, failed := map[string]bool{}, f.failedDisks(g)
	lost := map[string]int{} // legs, by volume
	var action string
	c := Condition{State: Healthy, Progress: 100, Bare: bare(g) > 1}
	filling := map[string]bool{}
	active, whole := false, map[string][]bool{}
	for _, l := range f.legs(g) {
		active = active || l.letter != 0
		if l.lost {
			lost[l.volume.Name]++
		}
		for _, pv := range l.pvs {
			if l.moved {
				moved[pv] = true
			}
			if l.letter == 'a' {
				filling[pv] = true
			}
		}
		whole[l.volume.Name] = append(whole[l.volume.Name], !l.lost && l.letter == 'A')
	}
	broke := false
	for _, v := range raidVolumes(g) {
		broke = broke || active && !holds(v, whole[v.Name], lost[v.Name])
		differ := f.Mismatches[g.UUID+"/"+v.Name]
		if r := f.Devices[lvm.DeviceName(g.Name, v.Name)].Raid; r != nil {
			if r.Mismatches > 0 {
				differ = r.Mismatches
			}
			if r.Total > 0 && (r.Action != "idle" && r.Action != "frozen" || strings.Contains(r.Legs, "a")) {
				c.Progress = min(c.Progress, 100*float64(r.Synced)/float64(r.Total))
				if action == "" || r.Action == "recover" {
					action = r.Action
				}
			}
		}
		c.Mismatches += differ
	}
	var broken, fresh, needed []string
	for _, m := range f.membersOf(g) {
		switch {
		case m.flagged(f) || moved[m.pv.UUID]:
			returned = append(returned, m.id)
		case !m.here:
			absent = append(absent, m.id)
			if m.pv.Allocated > 0 {
				needed = append(needed, m.id)
			}
		case failed[m.pv.UUID]:
			broken = append(broken, m.id)
		case filling[m.pv.UUID]:
			fresh = append(fresh, m.id)
		}
	}
	c.Lacks = len(absent) + len(broken)
	for n := range maps.Values(lost) {
		c.Lacks = max(c.Lacks, n+len(broken))
	}
	switch {
	case uncovered(g) != "" || len(absent) > 0 && len(raidVolumes(g)) == 0:
		c.State, c.Disks = Failed, absent
	case len(returned) > 0:
		c.State, c.Disks = Returned, returned
	case broke:
		c.State, c.Disks = Failed, absent
	case len(needed) > 0:
		c.State, c.Disks = Absent, needed
	case len(broken) > 0:
		c.State, c.Disks = LegFailed, broken
	case !active && len(raidVolumes(g)) > 0:
		c.State = Inactive
	case len(filling) > 0 && action != "resync":
		c.State, c.Disks = Rebuilding, fresh
	case len(lost) > 0:
		c.State = Cut
	case len(filling) > 0:
		c.State, c.Disks = Syncing, fresh
	case len(absent) > 0: // nothing lies on it any more
		c.State, c.Disks = Absent, absent
	case action == "check":
		c.State = Checking
	}
	if c.State != Checking && c.State != Syncing && c.State != Rebuilding {
		c.Progress = 100
	}
	return c
}

// tolerance is how many legs a raid volume can lose, pairs left aside.
func tolerance(v lvm.LogicalVolume) int {
	switch {
	case strings.HasPrefix(v.Type, "raid6"):
		return 2
	case strings.HasPrefix(v.Type, "raid5"), strings.HasPrefix(v.Type, "raid4"):
		return 1
	case v.Type == "raid1":
		return len(v.Devices) - 1
	}
	return 0
}

// bears tells whether a raid volume has all of its data although some legs are
// gone.
func bears(v lvm.LogicalVolume, gone []bool) bool {
	if v.Type == "raid10" { // two copies beside each other
		for i := 0; i+1 < len(gone); i += 2 {
			if gone[i] && gone[i+1] {
				return false
			}
		}
		return len(gone)%2 == 0
	}
	n := 0
	for _, g := range gone {
		if g {
			n++
		}
	}
	return n <= tolerance(v)
}

// holds tells whether a raid volume has all of its data on legs that are whole. A
// new one of which none is yet has all that it can have. The kernel calls the last
// leg whole even after its disk has gone, so that lost ones are counted apart.
func holds(v lvm.LogicalVolume, whole []bool, lost int) bool {
	if lost == 0 && !slices.Contains(whole, true) {
		return true
	}
	gone := make([]bool, len(whole))
	for i := range whole {
		gone[i] = !whole[i]
	}
	return bears(v, gone)
}

// newest are the physical volumes that hold the newest state of a pool, sorted:
// none of whose legs is failed or being filled. Before a pool is active that is
// known only from the witness. Disks on which nothing lies don't count.
func (f Facts) newest(g lvm.Group) []string {
	bad, good := map[string]bool{}, map[string]bool{}
	note := func(in map[string]bool, pvs []string) {
		for _, pv := range pvs {
			in[pv] = true
		}
	}
	byVolume := map[string]string{}
	legs := f.legs(g)
	for _, l := range legs {
		byVolume[l.volume.Name] += string(l.letter)
	}
	for _, l := range legs {
		switch {
		case l.lost:
		case l.letter == 'D' || l.moved || l.letter == 'a' && strings.Contains(byVolume[l.volume.Name], "A"):
			note(bad, l.pvs)
		default:
			note(good, l.pvs)
		}
	}
	known := f.Newest[g.UUID]
	active := slices.ContainsFunc(legs, func(l leg) bool { return l.letter != 0 })
	var here []string
	for _, m := range f.membersOf(g) {
		id := m.pv.UUID
		switch {
		case !m.here || bad[id]:
		case !active && len(known) > 0 && !slices.Contains(known, id):
		case len(legs) > 0 && !good[id]:
		default:
			here = append(here, id)
		}
	}
	slices.Sort(here)
	return here
}

// Tries are attempts to use a disk again that failed while it was here.
type Tries struct {
	N    int       `json:"n"`
	Last time.Time `json:"last"`
}

// How often and at what distance that is tried; after a day it starts anew.
const (
	maxTries    = 3
	tryDistance = 20 * time.Second
	triesForget = 24 * time.Hour
)

func (t Tries) left(now time.Time) bool { return t.N < maxTries || now.Sub(t.Last) > triesForget }
func (t Tries) due(now time.Time) bool  { return t.N == 0 || now.Sub(t.Last) >= tryDistance }
