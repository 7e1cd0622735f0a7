// Package config is the appliance's one configuration file: its schema, a
// strict parser whose errors name file, line and key, and the files that are
// baked into an image. A leaf: it reads no files, starts nothing and does not
// log.
//
// The format is TOML 1.0. reference.toml beside this file documents every key.
package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// DefaultHostname is the name of an appliance whose configuration gives none.
const DefaultHostname = "sanstick"

// Config is a configuration that has passed every check of Parse: names are
// unique, references resolve and all defaults are filled in.
type Config struct {
	Version    int // of the schema; 0 if the file doesn't say, which is 1
	Hostname   string
	Adopt      bool          // what the data disks keep is adopted at once, if this is Blank
	Trash      time.Duration // how long deleted volumes are kept; 0: package pool's default
	Interfaces []Interface
	Pools      []Pool
	Volumes    []Volume
	Targets    []Target
}

// Blank tells whether nothing is configured that has to do with disks, as on a
// new stick.
func (c *Config) Blank() bool { return len(c.Pools)+len(c.Volumes)+len(c.Targets) == 0 }

// Interface is the wanted state of one network interface.
type Interface struct {
	Match     Match
	DHCP      bool           // get an IPv4 address by DHCP
	Addresses []netip.Prefix // static addresses, each with its host bits and its prefix length
	Gateway   netip.Addr     // the default router; the zero Addr if there is none
	MTU       int            // bytes; 0 leaves the interface's own
}

// Match picks an interface: all fields that are not empty must agree. All
// empty is the first interface with a link.
type Match struct {
	MAC    string // lower case with colons
	Name   string // the kernel's name, such as "eth0"
	Driver string // the kernel driver, such as "e1000e"
}

// The layouts of a pool.
const (
	LayoutSingle = "single" // one copy of the data, on one or more disks
	LayoutMirror = "mirror" // a full copy on each of two or three disks, or two copies, each on half of more
	LayoutRAID10 = "raid10" // pairs of disks with the same on both; an even number, four or more
	LayoutRAID5  = "raid5"  // one disk's worth of parity, three disks or more
	LayoutRAID6  = "raid6"  // two disks' worth of parity, five disks or more
)

// AnyDisk in Pool.Disks stands for every blank disk.
const AnyDisk = "*"

// Pool is a set of disks that holds volumes.
type Pool struct {
	Name   string
	Disks  []string // serial numbers or "wwn-0x..."; or only AnyDisk
	Layout string   // one of the layouts

	Spares     []string      // disks that take the place of one that is lost; named like Disks
	SpareAfter time.Duration // how long a lost disk may come back before it is replaced
	ScrubEvery time.Duration // how often all copies are compared
}

// The defaults of a pool's times.
const (
	DefaultSpareAfter = 10 * time.Minute
	DefaultScrubEvery = 30 * 24 * time.Hour
)

// Volume is a volume in a pool.
type Volume struct {
	Name     string
	Pool     string
	Size     int64  // bytes, rounded up to a multiple of Extent; 0: that of From
	From     string // what it is a clone of, as in "golden" or "golden@monday"; empty: nothing
	Thick    bool   // takes all of its space at once
	Block    int    // 512 or 4096; 0 if the file doesn't say
	Snapshot Schedule
	// Priority is 0 to 9: when the pool is nearly full, writes to the volumes
	// with the lowest are refused first.
	Priority int
}

// Schedule makes a snapshot every so often and keeps the newest ones. The zero
// Schedule makes none.
type Schedule struct {
	Every time.Duration
	Keep  int
}

// DefaultPriority is that of a volume for which the file gives none.
const DefaultPriority = 5

// AnyInitiator in Target.Initiators lets anyone in.
const AnyInitiator = "*"

// Target is an iSCSI target. The volumes are its LUNs 0, 1, 2 ... in the order
// in which they came into the file.
type Target struct {
	Name       string
	IQN        string   // never empty: made of the host name and Name if the file gives none
	Volumes    []string // names of volumes, and of snapshots as in "golden@monday"
	Initiators []string // names that may log in; AnyInitiator is anyone, none is nobody
	CHAP       *CHAP    // what an initiator must know; nil if nothing
	Limit      Limit    // of all initiators together
}

// Limit bounds the work of a target in a second; 0 is no bound.
type Limit struct {
	IOPS int // commands that read or write
	MBps int // megabytes (1,000,000 bytes) that they move
}

// CHAP is a user name and secret. It never prints its secret.
type CHAP struct{ User, Secret string }

// String leaves the secret out.
func (c CHAP) String() string { return "{" + c.User + " (secret not shown)}" }

// GoString leaves the secret out, for %#v.
func (c CHAP) GoString() string { return c.String() }

// LogValue leaves the secret out, for slog.
func (c CHAP) LogValue() slog.Value { return slog.StringValue(c.String()) }
