package box

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/stickcopy"
	"sanstick/appliance/status"
)

// found lists the newest copy of each appliance that disks keep, with the disks
// that keep any of it; more of one appliance, if there are several that nothing tells
// the newest of. mute are disks that may keep something newer: why nothing is known
// of them.
func (c *copies) found() (list []keptBy, mute []string) {
	areas := c.areas()
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := map[string]uint64{}
	var all []kept
	for _, a := range areas {
		k, ok := c.last[key(a)]
		switch {
		case ok && k.copy.Appliance != "":
			all = append(all, kept{a, k.copy})
			newest[k.copy.Appliance] = max(newest[k.copy.Appliance], k.copy.Generation)
		case ok:
		case c.fail[key(a)] != "":
			mute = append(mute, c.fail[key(a)])
		default:
			mute = append(mute, "disk "+a.Disk+" hasn't answered yet")
		}
	}
	add := func(k kept, is func(keptBy) bool) {
		i := slices.IndexFunc(list, is)
		if i < 0 {
			list, i = append(list, keptBy{copy: k.copy}), len(list)
		}
		list[i].disks = append(list[i].disks, k.area.Disk)
		if !slices.Contains(list[i].pools, k.area.Pool) {
			list[i].pools = append(list[i].pools, k.area.Pool)
		}
	}
	for _, k := range all {
		if k.copy.Generation == newest[k.copy.Appliance] {
			add(k, func(l keptBy) bool { return l.copy.Same(k.copy) })
		}
	}
	for _, k := range all {
		if k.copy.Generation < newest[k.copy.Appliance] {
			add(k, func(l keptBy) bool { return l.copy.Appliance == k.copy.Appliance })
		}
	}
	return list, mute
}

// keptBy is an appliance's newest copy.
type keptBy struct {
	copy         stickcopy.Copy
	disks, pools []string
}

func (k keptBy) String() string {
	return fmt.Sprintf("that of appliance %s, of %s, on disk %s (pool %s)", k.copy.Hostname, k.copy.Time.Format("2006-01-02 15:04 UTC"),
		strings.Join(k.disks, ", "), strings.Join(k.pools, ", "))
}

// problems says what a person should know. blank says that the stick has no
// configuration.
func (c *copies) problems(blank bool) []status.Problem {
	var out []status.Problem
	if list, _ := c.found(); blank && c.dir != "" {
		for _, k := range list {
			out = append(out, status.Problem{
				Health: status.Degraded, What: "this stick has no configuration, and one is kept: " + k.String(),
				Do: "to go on with it: sanctl config adopt",
			})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A stick that is write-protected has no ID that could be kept; somebody wants it so.
	quiet := errors.Is(c.why, errOther) || errors.Is(c.why, errGone) || errors.Is(c.why, unix.EROFS) || errors.Is(c.why, unix.EACCES)
	if c.why != nil && !quiet {
		out = append(out, status.Problem{Health: status.Degraded, What: "cannot keep copies of the stick: " + c.why.Error(), Do: "see what is said of the stick"})
	}
	for _, why := range c.fail {
		out = append(out, status.Problem{Health: status.Degraded, What: why, Do: "see what is said of that disk; it is tried again"})
	}
	slices.SortFunc(out, func(a, b status.Problem) int { return strings.Compare(a.What, b.What) })
	return out
}

// holders are the disks that keep what is on the stick now.
func (c *copies) holders() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, k := range c.last {
		if c.want.Appliance != "" && k.copy.Same(c.want) {
			all = append(all, k.area.Disk)
		}
	}
	slices.Sort(all)
	return all
}

// other tells whether the file on the stick isn't the one in force, as far as
// was seen.
func (c *copies) other() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Is(c.why, errOther)
}
