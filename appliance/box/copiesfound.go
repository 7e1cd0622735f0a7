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
// that keep any of it. all is false if a disk hasn't answered yet.
func (c *copies) found() (list []keptBy, all bool) {
	areas := c.areas()
	c.mu.Lock()
	defer c.mu.Unlock()
	all = true
	for _, a := range areas {
		k, ok := c.last[key(a)]
		if !ok {
			all = false
			continue
		}
		if k.copy.Appliance == "" {
			continue
		}
		i := slices.IndexFunc(list, func(l keptBy) bool { return l.copy.Appliance == k.copy.Appliance })
		if i < 0 {
			list, i = append(list, keptBy{copy: k.copy}), len(list)
		}
		l := &list[i]
		if k.copy.Generation > l.copy.Generation {
			l.copy = k.copy
		}
		l.disks = append(l.disks, a.Disk)
		if !slices.Contains(l.pools, a.Pool) {
			l.pools = append(l.pools, a.Pool)
		}
	}
	return list, all
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
