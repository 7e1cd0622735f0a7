// Package status holds the types in which the appliance tells what it is
// doing: the API sends them, sanctl and the console show them. A leaf: plain
// data, no behaviour beyond summing up.
package status

import "time"

// Health says how well a part does its work, worst last.
type Health string

const (
	OK       Health = "ok"
	Degraded Health = "degraded" // works, but without the redundancy or the setting that was asked for
	Failed   Health = "failed"   // doesn't work
)

// Worse returns the worse of two healths.
func (h Health) Worse(o Health) Health {
	rank := map[Health]int{"": 0, OK: 0, Degraded: 1, Failed: 2}
	if rank[o] > rank[h] {
		return o
	}
	return h
}

// Snapshot is the appliance at one moment.
type Snapshot struct {
	Time       time.Time   `json:"time"`
	Hostname   string      `json:"hostname"`
	Version    string      `json:"version"`
	Started    time.Time   `json:"started"`
	Health     Health      `json:"health"`
	Problems   []Problem   `json:"problems,omitempty"` // most urgent first; empty when all is well
	System     System      `json:"system"`
	Config     Config      `json:"config"`
	Stick      Stick       `json:"stick"`
	Memory     Memory      `json:"memory"`
	Interfaces []Interface `json:"interfaces"`
	Disks      []Disk      `json:"disks"`
	Pools      []Pool      `json:"pools"`
	Targets    []Target    `json:"targets"`
	// Boot is what the machine's start took, phase by phase, in the order in which
	// they ended. What the firmware took before the kernel nobody knows.
	Boot []BootPhase `json:"boot,omitempty"`
	// Arrays are md arrays of other machines that are open.
	Arrays []Array `json:"arrays,omitempty"`
	// Offers are pools on the disks that the configuration doesn't name.
	Offers []Offer `json:"offers,omitempty"`
}

// Array is an md array that is open for reading.
type Array struct {
	UUID    string    `json:"uuid"` // as mdadm writes it
	Path    string    `json:"path"` // of its device, "/dev/md127"
	Level   string    `json:"level"`
	Size    int64     `json:"size"`            // bytes
	Members int       `json:"members"`         // that it should have
	Lacks   int       `json:"lacks,omitempty"` // how many of them
	Holds   []Content `json:"holds"`           // what is on it
}

// BootPhase is a part of the machine's start. Some go on beside others.
type BootPhase struct {
	Name  string  `json:"name"`
	Begin float64 `json:"begin"` // seconds since the kernel began
	Took  float64 `json:"took"`  // seconds
}

// System tells which of the stick's two slots runs. It is empty if the machine
// was booted otherwise.
type System struct {
	Slot   string  `json:"slot,omitempty"`   // "a" or "b"
	Mode   string  `json:"mode,omitempty"`   // "normal", "try" or "fallback"
	Other  string  `json:"other,omitempty"`  // the version in the other slot; empty: none
	Update *Update `json:"update,omitempty"` // the newest one
}

// Update is a version that was to replace another one.
type Update struct {
	Phase   string    `json:"phase"` // "writing", "armed", "trying", "confirmed", "fell-back", ...; package update lists them
	Slot    string    `json:"slot"`
	Version string    `json:"version"`
	From    string    `json:"from,omitempty"` // the version before
	Reason  string    `json:"reason,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Offer is a pool that is here and isn't used.
type Offer struct {
	Name    string   `json:"name"`
	UUID    string   `json:"uuid"` // LVM's, of the volume group
	Layout  string   `json:"layout"`
	Disks   []string `json:"disks"`             // serials of its members that are here
	Missing []string `json:"missing,omitempty"` // and of those that aren't
	Volumes []Volume `json:"volumes"`
}

// Problem is one thing that a person should know, and what to do about it.
type Problem struct {
	Health Health `json:"health"`
	What   string `json:"what"`         // names the disk serial, pool, file or key at fault
	Do     string `json:"do,omitempty"` // the next step for a person
}

// Config tells which configuration is in force.
type Config struct {
	Path     string   `json:"path"`               // the file that was read
	InForce  string   `json:"in_force"`           // "file", "last-good", "defaults" (from a CD) or "none"
	Errors   []string `json:"errors,omitempty"`   // what is wrong with the file, with line and key
	Warnings []string `json:"warnings,omitempty"` // accepted, but worth saying (a target open to anyone)
}

// Stick tells about the partition with the configuration.
type Stick struct {
	Here   bool  `json:"here"`
	Memory bool  `json:"memory,omitempty"` // there is none: what would be on it is in memory, and on disks
	Writes int64 `json:"writes"`           // how often it was written to since the appliance has started
	// Copies are the disks that keep a copy of what is on it now.
	Copies []string `json:"copies,omitempty"`
}

// Memory is the machine's memory in bytes.
type Memory struct {
	Total     uint64 `json:"total"`
	Available uint64 `json:"available"`
}

// Interface is a network interface.
type Interface struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Driver    string   `json:"driver,omitempty"`
	Up        bool     `json:"up"`
	Carrier   bool     `json:"carrier"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses,omitempty"` // CIDR
	Source    string   `json:"source,omitempty"`    // "dhcp", "static", or "" if not configured
	Error     string   `json:"error,omitempty"`
}

// Disk is a disk of this machine, whether used or not.
type Disk struct {
	Name        string    `json:"name"` // today's kernel name; changes between boots
	Serial      string    `json:"serial,omitempty"`
	WWN         string    `json:"wwn,omitempty"`
	Model       string    `json:"model,omitempty"`
	Size        int64     `json:"size"`
	Rotational  bool      `json:"rotational"`
	Transport   string    `json:"transport,omitempty"`   // "sata", "nvme", "usb", "virtio", ...
	Port        string    `json:"port,omitempty"`        // where to find it: "SATA port 2 (ata2, PCI 00:1f.2)"
	SMART       bool      `json:"smart"`                 // it can tell about its own health
	Temperature *int      `json:"temperature,omitempty"` // degrees Celsius
	Use         string    `json:"use"`                   // "pool tank", "blank", "boot stick", or what was found on it
	Holds       []Content `json:"holds,omitempty"`       // all that was found on a disk that isn't ours
}

// Content is one thing on a disk: a partition table, a partition, a filesystem.
type Content struct {
	Text      string `json:"text"` // all of it in words, without the place
	What      string `json:"what"`
	Label     string `json:"label,omitempty"`
	UUID      string `json:"uuid,omitempty"`
	Size      int64  `json:"size,omitempty"`
	Offset    int64  `json:"offset"`              // byte of the disk
	Partition int    `json:"partition,omitempty"` // that it is, or is in; 0: the disk itself
	Set       *Set   `json:"set,omitempty"`
}

// Set is what several disks make together and a Content is a part of: an md
// array, an LVM volume group, a ZFS pool.
type Set struct {
	Kind    string `json:"kind"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Level   string `json:"level,omitempty"`   // "raid1"
	Owner   string `json:"owner,omitempty"`   // LVM's system ID
	Member  string `json:"member,omitempty"`  // which part it is: "0", "spare", "failed"
	Members int    `json:"members,omitempty"` // how many parts there are; 0: unknown
	Events  uint64 `json:"events,omitempty"`  // how often the set changed; of its members the highest is the newest
}

// Pool is a set of disks that holds volumes.
type Pool struct {
	Name    string   `json:"name"`
	Layout  string   `json:"layout"`
	Health  Health   `json:"health"`
	Detail  string   `json:"detail,omitempty"`  // why the health isn't OK, in one sentence
	Disks   []string `json:"disks"`             // serials of its members that are here
	Missing []string `json:"missing,omitempty"` // serials of its members that are not
	Sync    float64  `json:"sync"`              // per cent of the mirror that is in sync
	Volumes []Volume `json:"volumes"`

	State      string   `json:"state,omitempty"`      // of its redundancy: "healthy", "rebuilding", ...; ARCHITECTURE.md lists them
	Progress   float64  `json:"progress"`             // per cent, of rebuilding, synchronising or checking; otherwise 100
	Idle       []string `json:"idle,omitempty"`       // serials of members on which nothing lies
	Unused     []Unused `json:"unused,omitempty"`     // what of its disks the layout can't use
	Mismatches int64    `json:"mismatches,omitempty"` // sectors that the last check found to differ between copies

	Snapshots []VolumeSnapshot `json:"snapshots,omitempty"` // by volume, oldest first
	Trash     []Trashed        `json:"trash,omitempty"`     // oldest first

	// Bytes, with what is written to several disks counted once.
	Size        int64 `json:"size"`                   // what the pool has for volumes' data, with what it can grow into
	Used        int64 `json:"used"`                   // of that
	Free        int64 `json:"free"`                   // what can really still be written
	Room        int64 `json:"room,omitempty"`         // the part of Free that the pool grows into by itself
	Promised    int64 `json:"promised"`               // the sum of the sizes of volumes and clones: what they may come to use
	BySnapshots int64 `json:"by_snapshots,omitempty"` // what snapshots hold, at most: volumes may share it
	ByTrash     int64 `json:"by_trash,omitempty"`     // what deleted volumes and snapshots hold, at most
	// Metadata is how much of the room for the pool's own records is used, in
	// per cent. Rate is how fast Used has grown of late, in bytes a second, and
	// FullAt is when Free ends at that rate: nil if it doesn't in the next
	// years, or if nothing can be said yet.
	Metadata float64    `json:"metadata"`
	Rate     float64    `json:"rate,omitempty"`
	FullAt   *time.Time `json:"full_at,omitempty"`
}

// Unused is the part of a pool's disk that can't be used.
type Unused struct {
	Disk  string `json:"disk"` // serial
	Bytes int64  `json:"bytes"`
	Why   string `json:"why"` // and what to do
}

// Volume is a logical volume.
type Volume struct {
	Name         string `json:"name"`
	UUID         string `json:"uuid"` // the LUN's identity comes from it: LVM's of the volume, or of what it was before it was reverted
	Size         int64  `json:"size"`
	Used         int64  `json:"used"`
	Active       bool   `json:"active"`
	Unreferenced bool   `json:"unreferenced,omitempty"` // on disk, but not in the configuration
	From         string `json:"from,omitempty"`         // what it was cloned from, as in "golden@monday"
	Thick        bool   `json:"thick,omitempty"`        // outside the thin pool
	// Cleared is how much of a thick volume is cleared, in per cent; nil: all of it.
	Cleared *float64 `json:"cleared,omitempty"`
	Block   int      `json:"block,omitempty"`   // bytes, if they aren't the disks' own
	Refused bool     `json:"refused,omitempty"` // writes are refused, because the pool is nearly full
}

// VolumeSnapshot is what a volume held at a moment.
type VolumeSnapshot struct {
	Name      string    `json:"name"` // "golden@monday"
	Pool      string    `json:"pool"`
	Volume    string    `json:"volume"`
	Size      int64     `json:"size"`
	Used      int64     `json:"used"` // most of it shared with the volume
	Created   time.Time `json:"created"`
	Scheduled bool      `json:"scheduled,omitempty"` // the schedule made it and will remove it
}

// Trashed is a volume or a snapshot that was deleted and isn't gone yet.
type Trashed struct {
	Name    string    `json:"name"` // that it had
	ID      string    `json:"id"`   // unlike any other
	Size    int64     `json:"size"`
	Used    int64     `json:"used"`
	Deleted time.Time `json:"deleted"`
	Until   time.Time `json:"until"` // when it is removed for good
}

// Target is an iSCSI target.
type Target struct {
	Name       string    `json:"name"`
	IQN        string    `json:"iqn"`
	Portals    []string  `json:"portals"` // host:port
	Serving    bool      `json:"serving"`
	Error      string    `json:"error,omitempty"`
	Initiators []string  `json:"initiators"` // the ACL; "*" is anyone
	CHAP       bool      `json:"chap"`
	LUNs       []LUN     `json:"luns"`
	Sessions   []Session `json:"sessions"`
}

// LUN is a logical unit of a target.
type LUN struct {
	Number int    `json:"number"`
	Pool   string `json:"pool"`
	Volume string `json:"volume"` // or a snapshot; names are unique in a pool only
	NAA    string `json:"naa"`
	Serial string `json:"serial"`
	Size   int64  `json:"size"`

	ReadOnly bool `json:"read_only,omitempty"` // a snapshot
}

// Session is an initiator's session with a target.
type Session struct {
	Initiator string    `json:"initiator"`
	Address   string    `json:"address"`
	Since     time.Time `json:"since"`
}
