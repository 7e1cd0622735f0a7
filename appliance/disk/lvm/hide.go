package lvm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// hidden are the devices that LVM doesn't see.
type hidden struct {
	mu      sync.Mutex
	devices []string
}

// Hide makes LVM not see some devices from now on: copies of others, which would
// keep it from using those. None: it sees all again.
func (c *Client) Hide(devices []string) error {
	if err := checkPaths(devices...); err != nil {
		return fmt.Errorf("cannot hide from LVM: %w", err)
	}
	c.hide.mu.Lock()
	defer c.hide.mu.Unlock()
	c.hide.devices = slices.Clone(devices)
	return nil
}

// filter is the option that hides what is to be hidden.
func (c *Client) filter() []string {
	c.hide.mu.Lock()
	defer c.hide.mu.Unlock()
	if len(c.hide.devices) == 0 {
		return nil
	}
	var b strings.Builder
	for _, d := range c.hide.devices {
		fmt.Fprintf(&b, "%q,", "r|^"+regexp.QuoteMeta(d)+"$|")
	}
	return []string{"--config", "devices/filter=[" + b.String() + `"a|.*|"]`}
}
