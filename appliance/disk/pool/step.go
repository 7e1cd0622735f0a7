package pool

import (
	"fmt"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// Risk says what a step can cost.
type Risk string

const (
	Safe        Risk = "safe"
	Disruptive  Risk = "disruptive"  // interrupts who uses it
	Destructive Risk = "destructive" // overwrites what is there
)

// A Step is one thing to do to a pool. Steps can be done again without harm.
type Step interface {
	Risk() Risk
	String() string // what it does, for the log
}

// StampDisk marks a disk as becoming part of a pool. Reset says that it is
// marked already and holds our own unfinished work.
type StampDisk struct {
	Path  string
	Stamp Stamp
	Reset bool
}

// CreateGroup makes the volume group, on stamped disks.
type CreateGroup struct {
	Pool  string
	Paths []string
}

// RemoveUnfinished throws away volumes of a group that is still being created.
type RemoveUnfinished struct{ Pool string }

// ClearStamps takes the stamps off disks that are in their group now.
type ClearStamps struct{ Paths []string }

// CreateThinPool makes the thin pool in an empty group. Copies is 1 for a pool
// without a mirror.
type CreateThinPool struct {
	Pool   string
	Copies int
	Sizes  Sizes
	// Kind is that of the data if it lies on disks in stripes, on as many as Disks
	// besides those for copies or parity. Copies is that of the metadata then.
	Kind  lvm.RaidKind
	Disks int
	On    []string // where it begins; empty: on all of the group's disks
}

// Finish brings everything to stable storage, records which disks the pool
// has, and declares it complete.
type Finish struct {
	Pool  string
	Paths []string
	Tags  []string
}

// Activate makes the pool's volumes usable.
type Activate struct {
	Pool string
	Mode lvm.ActivationMode
}

// Remember has the witness know which physical volumes hold the newest state of
// the pool from now on.
type Remember struct {
	Pool, UUID string
	Newest     []string // UUIDs
	Without    string   // the missing disks
}

// CreateVolume makes a thin volume.
type CreateVolume struct {
	Pool, Volume string
	Size         int64
	Tags         []string
}

// GrowVolume makes a volume larger.
type GrowVolume struct {
	Pool, Volume string
	From, Size   int64
	On           []string // disks, of a thick one; none: any
}

func (StampDisk) Risk() Risk        { return Destructive }
func (CreateGroup) Risk() Risk      { return Destructive }
func (RemoveUnfinished) Risk() Risk { return Destructive }
func (ClearStamps) Risk() Risk      { return Safe }
func (CreateThinPool) Risk() Risk   { return Destructive }
func (Finish) Risk() Risk           { return Safe }
func (Activate) Risk() Risk         { return Safe }
func (Remember) Risk() Risk         { return Safe }
func (CreateVolume) Risk() Risk     { return Safe }
func (GrowVolume) Risk() Risk       { return Safe }

func (s StampDisk) String() string {
	if s.Reset {
		return fmt.Sprintf("start again with half-made disk %s (%s)", s.Stamp.Disk, s.Path)
	}
	return fmt.Sprintf("initialise blank disk %s (%s)", s.Stamp.Disk, s.Path)
}

func (s CreateGroup) String() string {
	return fmt.Sprintf("create pool %s on %s", s.Pool, strings.Join(s.Paths, ", "))
}

func (s RemoveUnfinished) String() string {
	return fmt.Sprintf("remove unfinished volumes of half-made pool %s", s.Pool)
}

func (s ClearStamps) String() string {
	return fmt.Sprintf("clear marks on %s", strings.Join(s.Paths, ", "))
}

func (s CreateThinPool) String() string {
	if s.Kind != "" {
		return fmt.Sprintf("create thin pool of %s as %s", s.Pool, s.Kind)
	}
	return fmt.Sprintf("create thin pool of %s with %d copies", s.Pool, s.Copies)
}

func (s Finish) String() string { return fmt.Sprintf("complete pool %s", s.Pool) }

func (s Activate) String() string {
	if s.Mode == lvm.Partial {
		return fmt.Sprintf("activate pool %s without its missing disks", s.Pool)
	}
	return fmt.Sprintf("activate pool %s", s.Pool)
}

func (s Remember) String() string {
	return fmt.Sprintf("remember that pool %s is used without %s, which will be out of date", s.Pool, s.Without)
}

func (s CreateVolume) String() string {
	return fmt.Sprintf("create volume %s in pool %s with %d bytes", s.Volume, s.Pool, s.Size)
}

func (s GrowVolume) String() string {
	return fmt.Sprintf("grow volume %s in pool %s from %d to %d bytes", s.Volume, s.Pool, s.From, s.Size)
}
