package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// FormatBytes gives a size in powers of 1024 with at most one decimal, as in
// "1.5 TiB".
func FormatBytes[T int64 | uint64](n T) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1023.95 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " " + units[unit:unit+1] + "iB"
}

// FormatDuration gives a time span in its two largest units, as in "3 h 12
// min".
func FormatDuration(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// Clean makes a string from a disk, a peer or an error fit for one line of a
// terminal: control characters, which could move the cursor or fake other
// lines, become blanks.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Text says in a few words what a System is, when that is worth saying.
func (s System) Text() string {
	switch {
	case s.Slot == "":
		return ""
	case s.Update != nil && s.Update.Phase == "trying":
		return "slot " + s.Slot + ", on trial"
	case s.Update != nil && s.Update.Phase == "armed":
		return "slot " + s.Slot + ", version " + s.Update.Version + " is tried at the next start"
	case s.Mode == "fallback":
		return "slot " + s.Slot + ", fallen back to"
	}
	return "slot " + s.Slot
}
