package network

import (
	"context"
	"net/netip"
)

// Kernel is what this package needs of the kernel.
type Kernel interface {
	// State reads the links, their addresses and the default routes.
	State() (State, error)
	// Apply does one step.
	Apply(Step) error
	// Watch returns a channel that gets a value after links changed, at least
	// one after the last change. It is closed when ctx ends. It recovers from
	// lost messages by itself.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// State is the kernel's network at one moment.
type State struct {
	Links  []Link // in the kernel's order
	Routes []Route
}

// link returns the link with an index.
func (s State) link(index int) (Link, bool) {
	for _, l := range s.Links {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// Link is a network interface.
type Link struct {
	Index     int
	Name      string
	MAC       string // lower case with colons
	Driver    string // "" if it has none
	Loopback  bool
	Ethernet  bool // a card, not something made by software
	Up        bool // switched on
	Carrier   bool // has a link to the other end
	MTU       int
	Addresses []netip.Prefix
	Permanent []netip.Prefix // those of Addresses that somebody set, not the kernel
}

// Route is a default route.
type Route struct {
	Link    int
	Gateway netip.Addr
	Metric  int
}
