package network

import (
	"fmt"
	"net/netip"
	"slices"

	"sanstick/appliance/config"
)

// baseMetric is the metric of the first interface's default route; the others
// follow in the order of the configuration. It also marks the routes as ours.
const baseMetric = 1000

// desired is what is asked of all links.
type desired struct {
	links []wantedLink
	watch bool // set every card up, to see which gets a link
}

// wantedLink is what is asked of one link.
type wantedLink struct {
	link       int
	mtu        int // 0 for any
	addresses  []netip.Prefix
	gateways   []netip.Addr // at most one of each family
	metric     int
	keepOthers bool // leave addresses and routes that are not asked for
}

// verb is the kind of a step.
type verb int

const (
	setUp verb = iota
	setMTU
	addAddress
	removeAddress
	addRoute
	removeRoute
)

// A Step is one change to the kernel's state. Applying it again does no harm.
type Step struct {
	verb    verb
	link    int
	name    string // the link's, for people
	mtu     int
	address netip.Prefix
	route   Route
}

// String says what the step does, as in "add 10.0.0.1/24 to eth0".
func (s Step) String() string {
	switch s.verb {
	case setUp:
		return "set " + s.name + " up"
	case setMTU:
		return fmt.Sprintf("set the MTU of %s to %d", s.name, s.mtu)
	case addAddress:
		return fmt.Sprintf("add %s to %s", s.address, s.name)
	case removeAddress:
		return fmt.Sprintf("remove %s from %s", s.address, s.name)
	case addRoute:
		return fmt.Sprintf("add the default route over %s by %s", s.route.Gateway, s.name)
	case removeRoute:
		return fmt.Sprintf("remove the default route over %s by %s", s.route.Gateway, s.name)
	}
	return fmt.Sprintf("unknown step %d", int(s.verb))
}

// assign finds the link of every interface of the configuration. One that
// names its link comes before one that takes the first with a link, whatever
// the order. The latter stays with its link (before) as long as that has one,
// or nobody else does.
func assign(interfaces []config.Interface, links []Link, before map[int]int) map[int]int {
	assigned := map[int]int{}
	taken := map[int]bool{}
	pick := func(i int, ok func(Link) bool) bool {
		for _, l := range links {
			if !l.Loopback && !taken[l.Index] && ok(l) {
				assigned[i], taken[l.Index] = l.Index, true
				return true
			}
		}
		return false
	}
	for i, c := range interfaces {
		if c.Match != (config.Match{}) {
			fits := func(l Link) bool { return matches(c.Match, l) }
			was, had := before[i]
			if !had || !pick(i, func(l Link) bool { return l.Index == was && fits(l) }) {
				pick(i, fits)
			}
		}
	}
	for i, c := range interfaces {
		if c.Match == (config.Match{}) {
			was, had := before[i]
			same := func(l Link) bool { return had && l.Index == was }
			_ = pick(i, func(l Link) bool { return same(l) && l.Carrier }) ||
				pick(i, func(l Link) bool { return l.Ethernet && l.Carrier }) ||
				pick(i, same)
		}
	}
	return assigned
}

// matches tells whether a link is the one that m means.
func matches(m config.Match, l Link) bool {
	return (m.MAC == "" || m.MAC == l.MAC) && (m.Name == "" || m.Name == l.Name) && (m.Driver == "" || m.Driver == l.Driver)
}

// plan lists the steps from the state to what is desired, in an order in which
// they can be done. After them it may find a few more; when it finds none, the
// state is as desired.
func plan(d desired, s State) []Step {
	var steps []Step
	for _, l := range s.Links {
		if !l.Up && (l.Loopback || d.watch && l.Ethernet) {
			steps = append(steps, Step{verb: setUp, link: l.Index, name: l.Name})
		}
	}
	for _, w := range d.links {
		if l, ok := s.link(w.link); ok {
			up := slices.ContainsFunc(steps, func(s Step) bool { return s.verb == setUp && s.link == l.Index })
			steps = append(steps, planLink(w, l, s.Routes, up)...)
		}
	}
	return steps
}

// planLink lists the steps for one link; up says that it is being set up
// already.
func planLink(w wantedLink, l Link, routes []Route, up bool) []Step {
	var steps []Step
	step := func(v verb) *Step {
		steps = append(steps, Step{verb: v, link: l.Index, name: l.Name})
		return &steps[len(steps)-1]
	}
	if w.mtu != 0 && w.mtu != l.MTU {
		step(setMTU).mtu = w.mtu
	}
	if !l.Up && !up {
		step(setUp)
	}
	// Removal comes first: the kernel removes with an address all later ones
	// in the same network, and the routes over it. What it takes along is put
	// back by the next plan.
	for _, r := range routes {
		if !w.keepOthers && r.Link == l.Index && r.Metric >= baseMetric && r.Metric < baseMetric+1000 &&
			(r.Metric != w.metric || !slices.Contains(w.gateways, r.Gateway)) {
			step(removeRoute).route = r
		}
	}
	for _, a := range l.Permanent {
		if !w.keepOthers && !a.Addr().IsLinkLocalUnicast() && !slices.Contains(w.addresses, a) {
			step(removeAddress).address = a
		}
	}
	for _, a := range w.addresses {
		if !slices.Contains(l.Addresses, a) {
			step(addAddress).address = a
		}
	}
	for _, g := range w.gateways {
		want := Route{Link: l.Index, Gateway: g, Metric: w.metric}
		if !slices.Contains(routes, want) {
			step(addRoute).route = want
		}
	}
	return steps
}
