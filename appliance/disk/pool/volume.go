package pool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
)

// Tags of volumes. What is to be known of one is kept with it, so that it goes
// where the disks go.
const (
	idTag       = "sanstick.id."      // + the UUID that its identity comes from, if that isn't its own
	blockTag    = "sanstick.block."   // + bytes: its blocks, if they aren't the disks' own
	thickTag    = "sanstick.thick"    // outside the thin pool
	fromTag     = "sanstick.from."    // + what it was cloned from
	lunTag      = "sanstick.lun."     // + target + "." + its number there
	renamedTag  = "sanstick.renamed." // + a name that it had
	createdTag  = "sanstick.created." // + Unix time: makes a snapshot of it
	scheduleTag = "sanstick.schedule" // the schedule made this snapshot, and may remove it
	wasTag      = "sanstick.was."     // + the name of something in the trash
	renameTag   = "sanstick.rename."  // + the name that it is being given; see unfinished
	swapTag     = "sanstick.swap."    // + the volume it is to become + "/" + the new name of that; see unfinished
	trashPrefix = "trash+"            // of names
	nextSuffix  = "++next"            // of the name of what is about to become a volume
	timeName    = "2006-01-02T15-04"  // the name of a snapshot that got none, in UTC
	secondsName = timeName + "-05"    // if there is one of that name
	keptPrefix  = "before-"           // + timeName: what a volume was before it was reverted
	maxDevice   = 124                 // bytes in a device-mapper name, less than the kernel's 127
	joint       = "+"                 // between a volume's and a snapshot's name in LVM; people write "@"
)

// A kind is what a logical volume is to people.
type kind int

const (
	other    kind = iota // not ours, hidden, or unfinished
	volume               // "golden"
	snapshot             // "golden@monday"
	trash                // deleted, and not gone yet
)

// kindOf tells what a logical volume is.
func kindOf(v lvm.LogicalVolume) kind {
	_, swap := tagValue(v, swapTag)
	_, created := tagValue(v, createdTag)
	_, trashed := tagValue(v, lvm.TrashTag)
	_, isSnapshot := splitSnapshot(v.Name)
	switch {
	case v.Hidden || !isThin(v) && !isThick(v):
		return other
	case trashed:
		return trash
	case !strings.Contains(v.Name, joint):
		return volume
	case swap || strings.HasPrefix(v.Name, trashPrefix) || !created || !isSnapshot:
		return other
	}
	return snapshot
}

func isThin(v lvm.LogicalVolume) bool { return v.Type == "thin" && v.Pool == dataVolume }

func isThick(v lvm.LogicalVolume) bool { return slices.Contains(v.Tags, thickTag) && !v.Hidden }

// tagValue returns what follows the first tag of a volume that begins with
// prefix.
func tagValue(v lvm.LogicalVolume, prefix string) (string, bool) {
	for _, t := range v.Tags {
		if rest, ok := strings.CutPrefix(t, prefix); ok {
			return rest, true
		}
	}
	return "", false
}

// tagTime reads a tag with a Unix time; the zero time if there is none.
func tagTime(v lvm.LogicalVolume, prefix string) time.Time {
	text, _ := tagValue(v, prefix)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func timeTag(prefix string, t time.Time) string { return prefix + strconv.FormatInt(t.Unix(), 10) }

// identity is what the LUN's identity comes from. It stays the same when a
// volume is reverted, which makes it another logical volume. A snapshot has
// always one of its own.
func identity(v lvm.LogicalVolume) string {
	if kindOf(v) == snapshot {
		return snapshotIdentity(v)
	}
	if id, ok := tagValue(v, idTag); ok {
		return id
	}
	return v.UUID
}

func snapshotIdentity(v lvm.LogicalVolume) string { return "snapshot " + v.UUID }

// blockOf is the size of a volume's blocks; 0: that of the disks.
func blockOf(v lvm.LogicalVolume) int {
	text, _ := tagValue(v, blockTag)
	n, _ := strconv.Atoi(text)
	return n
}

// splitSnapshot takes the name of a snapshot in LVM apart.
func splitSnapshot(name string) (parts [2]string, ok bool) {
	of, s, ok := strings.Cut(name, joint)
	return [2]string{of, s}, ok && of != "" && s != "" && !strings.Contains(s, joint)
}

// shown is how people write the name of something in LVM.
func shown(name string) string { return strings.Replace(name, joint, "@", 1) }

// inLVM is the name in LVM of what people write as "golden" or
// "golden@monday".
func inLVM(name string) string { return strings.Replace(name, "@", joint, 1) }

// snapshotsOf lists the snapshots of a volume, by name.
func snapshotsOf(g lvm.Group, name string) []lvm.LogicalVolume {
	var all []lvm.LogicalVolume
	for _, v := range g.Logical {
		if parts, ok := splitSnapshot(v.Name); ok && parts[0] == name && kindOf(v) == snapshot {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b lvm.LogicalVolume) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// freeSnapshotName is a name for a snapshot made now.
func freeSnapshotName(g lvm.Group, of, prefix string, now time.Time) string {
	name := prefix + now.UTC().Format(timeName)
	if _, taken := g.Volume(of + joint + name); taken {
		name = prefix + now.UTC().Format(secondsName)
	}
	for i := 2; ; i++ {
		if _, taken := g.Volume(of + joint + name); !taken {
			return name
		}
		name = fmt.Sprintf("%s%s-%d", prefix, now.UTC().Format(secondsName), i)
	}
}

// checkDeviceName tells whether the kernel takes a name.
func checkDeviceName(group, name string) error {
	if n := len(lvm.DeviceName(group, name)); n > maxDevice {
		return fmt.Errorf("the name %s is too long by %d characters (hyphens count twice)", shown(name), n-maxDevice)
	}
	return nil
}

// trashName is what a volume is called in the trash. Its whole name is in a
// tag.
func trashName(group string, v lvm.LogicalVolume) string {
	was, _ := tagValue(v, wasTag)
	name := trashPrefix + strconv.FormatInt(tagTime(v, lvm.TrashTag).Unix(), 36) + joint + was
	for checkDeviceName(group, name) != nil {
		name = name[:len(name)-1]
	}
	return strings.TrimRight(name, "-+.")
}

// carried are the tags that a volume keeps when it is reverted: those that are
// about the volume and not about what it holds.
func carried(v lvm.LogicalVolume) []string {
	tags := []string{idTag + identity(v)}
	for _, t := range v.Tags {
		for _, prefix := range []string{blockTag, fromTag, lunTag, renamedTag} {
			if strings.HasPrefix(t, prefix) {
				tags = append(tags, t)
			}
		}
	}
	return tags
}

// cloneTags are the tags of a new clone.
func cloneTags(from lvm.LogicalVolume) []string {
	tags := []string{fromTag + from.Name}
	if b, ok := tagValue(from, blockTag); ok {
		tags = append(tags, blockTag+b)
	}
	return tags
}
