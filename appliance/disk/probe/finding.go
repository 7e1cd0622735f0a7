package probe

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"sanstick/appliance/status"
)

// A Finding is one thing that is on a disk. What the disk doesn't tell, or what
// would cost more than a few reads, is left empty.
type Finding struct {
	Blank     bool
	What      string // "ext4 filesystem", "unknown data"; empty if blank
	Offset    int64  // byte of the disk at which it was found
	Label     string // the name that a person gave it
	UUID      string
	Size      int64 // bytes that it takes by its own account
	Partition int   // the partition that it is, or is in, counted from 1; 0 is the disk itself
	Set       Set   // what it is a part of, with other disks
}

// A Set is what several disks make together: an md array, an LVM volume group,
// a ZFS pool, a btrfs filesystem of several disks.
type Set struct {
	Kind    string // "md array", "LVM volume group", "ZFS pool", "btrfs filesystem"; empty: none
	ID      string
	Name    string
	Level   string // "raid1"
	Owner   string // LVM's system ID
	Member  string // which part this one is: "0", "spare"
	Members int    // how many parts there are; 0 if it isn't known
	Events  uint64 // how often the state of an md array or an LVM group changed; the highest is the newest
}

// String says what was found in words that fit after "holds".
func (f Finding) String() string {
	if f.Blank {
		return "nothing"
	}
	return fmt.Sprintf("%s (at byte %d)", f.Text(), f.Offset)
}

// Text says what was found without the place.
func (f Finding) Text() string {
	var b strings.Builder
	b.WriteString(f.What)
	if f.Label != "" {
		fmt.Fprintf(&b, " %q", f.Label)
	}
	if f.Size > 0 {
		b.WriteString(" of " + status.FormatBytes(f.Size))
	}
	if s := f.Set.text(); s != "" {
		b.WriteString(", " + s)
	}
	if f.UUID != "" {
		b.WriteString(", UUID " + f.UUID)
	}
	return b.String()
}

func (s Set) text() string {
	if s.Kind == "" {
		return ""
	}
	var b strings.Builder
	switch {
	case s.Member == "spare":
		b.WriteString("spare of ")
	case s.Member == "failed":
		b.WriteString("failed member of ")
	case s.Member != "" && s.Members > 0:
		fmt.Fprintf(&b, "member %s of the %d of ", s.Member, s.Members)
	default:
		b.WriteString("part of ")
	}
	b.WriteString(s.Kind)
	if s.Name != "" {
		b.WriteString(" " + s.Name)
	}
	if s.Level != "" {
		b.WriteString(" (" + s.Level + ")")
	}
	if s.Owner != "" {
		b.WriteString(" of system " + s.Owner)
	}
	return b.String()
}

// text makes a name of what a disk holds: up to the first NUL, trimmed, only
// what can be printed, and not long.
func text(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		b = b[:i]
	}
	return printable(string(b))
}

// text16 is text for UTF-16, little-endian.
func text16(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return printable(string(utf16.Decode(units)))
}

// maxName bounds names that disks tell, in characters.
const maxName = 64

func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName])
	}
	return s
}

// uuid writes 16 bytes in the usual way; empty if they are all zero.
func uuid(b []byte) string {
	if nonZero(b[:16]) < 0 {
		return ""
	}
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// guid is uuid for Microsoft's byte order.
func guid(b []byte) string {
	m := []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	return uuid(append(m, b[8:16]...))
}
