package md

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Member is what a superblock says of the array and of its own part in it.
type Member struct {
	Device  string // "/dev/sda3"
	UUID    string // the array's, as mdadm writes it
	Name    string // the array's; empty in superblocks of version 0.90
	Level   string // "raid1", "linear", ...
	Devices int    // active members that the array should have
	Events  uint64
	Role    int // which of them it is; -1: a spare, a journal, or given up
	Clean   bool
	Whole   bool // the superblock's checksum is right
	Reshape bool // the array was being changed in size or level
}

// ParseExamine decodes the output of "mdadm --examine DEVICE": a line "key :
// value" for each fact.
func ParseExamine(text string) (Member, error) {
	facts := map[string]string{}
	m := Member{Role: -1}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, " : ")
		if key = strings.TrimSpace(key); ok {
			if _, twice := facts[key]; !twice {
				facts[key] = strings.TrimSpace(value)
			}
			continue
		}
		// Version 0.90 has a table of devices, with its own line first:
		// "this     1       8       17        1      active sync   /dev/sdb1"
		if f := strings.Fields(line); len(f) >= 6 && f[0] == "this" && f[5] == "active" {
			if n, err := strconv.Atoi(f[4]); err == nil {
				m.Role = n
			}
		}
	}
	m.UUID, m.Level = facts["Array UUID"], facts["Raid Level"]
	if m.UUID == "" {
		m.UUID, _, _ = strings.Cut(facts["UUID"], " ")
	}
	m.Name, _, _ = strings.Cut(facts["Name"], "  (")
	if err := CheckUUID(m.UUID); err != nil || m.Level == "" {
		return Member{}, errors.New("mdadm doesn't say which array it belongs to")
	}
	var err error
	if m.Devices, err = strconv.Atoi(facts["Raid Devices"]); err != nil || m.Devices < 1 || m.Devices > 4096 {
		return Member{}, fmt.Errorf("mdadm says that its array has %q members", facts["Raid Devices"])
	}
	events := facts["Events"]
	if high, low, ok := strings.Cut(events, "."); ok { // 0.90: two halves
		h, err1 := strconv.ParseUint(high, 10, 32)
		l, err2 := strconv.ParseUint(low, 10, 32)
		if err = errors.Join(err1, err2); err == nil {
			m.Events = h<<32 | l
		}
	} else {
		m.Events, err = strconv.ParseUint(events, 10, 64)
	}
	if err != nil {
		return Member{}, fmt.Errorf("mdadm says that it has %q events", events)
	}
	if n, ok := strings.CutPrefix(facts["Device Role"], "Active device "); ok {
		if m.Role, err = strconv.Atoi(n); err != nil {
			return Member{}, fmt.Errorf("mdadm says that it is %q", facts["Device Role"])
		}
	}
	if m.Role >= m.Devices {
		m.Role = -1
	}
	m.Clean = facts["State"] == "clean"
	m.Whole = strings.HasSuffix(facts["Checksum"], "- correct")
	_, m.Reshape = facts["Reshape pos'n"]
	return m, nil
}

// parity levels can't be read without a member unless they were shut down
// cleanly: what is worked out for it may be wrong.
func parity(level string) bool { return level == "raid4" || level == "raid5" || level == "raid6" }

// Choose picks, among the members of one array that are here, those of which it
// can be assembled, ordered by role. lacks is how many it has too few; that is
// refused unless degraded is set.
func Choose(here []Member, degraded bool) (chosen []Member, lacks int, err error) {
	if len(here) == 0 {
		return nil, 0, errors.New("none of its members is here")
	}
	newest := slices.MaxFunc(here, func(a, b Member) int {
		switch {
		case a.Events < b.Events:
			return -1
		case a.Events > b.Events:
			return 1
		}
		return 0
	})
	var old []string
	for _, m := range here {
		switch {
		case m.UUID != newest.UUID:
			return nil, 0, fmt.Errorf("%s belongs to array %s", m.Device, m.UUID)
		case !m.Whole:
			return nil, 0, fmt.Errorf("the superblock of %s is damaged; see what mdadm --examine says of it", m.Device)
		case m.Reshape:
			return nil, 0, errors.New("it was being reshaped; let the machine that it comes from finish that")
		case m.Events < newest.Events:
			old = append(old, m.Device)
			continue
		case m.Role < 0:
			continue // nothing of what the array holds is on it alone
		case m.Level != newest.Level || m.Devices != newest.Devices:
			return nil, 0, fmt.Errorf("%s and %s disagree about what it is", m.Device, newest.Device)
		}
		if i := slices.IndexFunc(chosen, func(o Member) bool { return o.Role == m.Role }); i >= 0 {
			return nil, 0, fmt.Errorf("%s and %s both are its member %d: one is a copy; remove it", chosen[i].Device, m.Device, m.Role)
		}
		chosen = append(chosen, m)
	}
	slices.SortFunc(chosen, func(a, b Member) int { return a.Role - b.Role })
	lacks = newest.Devices - len(chosen)
	missing := fmt.Sprintf("%d of its %d members are missing", lacks, newest.Devices)
	if len(old) > 0 {
		missing += ", or out of date (" + strings.Join(old, ", ") + ")"
	}
	switch {
	case lacks == 0:
		return chosen, 0, nil
	case newest.Level == "raid0" || newest.Level == "linear" || len(chosen) == 0:
		return nil, 0, fmt.Errorf("%s, and without them nothing can be read; connect them", missing)
	case parity(newest.Level) && !newest.Clean:
		return nil, 0, fmt.Errorf("%s, and it wasn't shut down cleanly, so what would be read in their place may be wrong; connect them", missing)
	case !degraded:
		return nil, 0, fmt.Errorf("%s; connect them, or say --degraded to read it without them", missing)
	}
	return chosen, lacks, nil
}
