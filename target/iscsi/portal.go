package iscsi

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"

	"sanstick/target/scsi"
)

// accessGroup is the one target port group (SPC-4 section 5.15) that there is:
// all ports reach all units equally well.
const accessGroup = 1

// maxGroups is how many ports REPORT TARGET PORT GROUPS can list in a group.
const maxGroups = 255

// Portal is how a listener appears to initiators. The zero value is a portal
// of group 1.
type Portal struct {
	// Group is the portal group tag, from 1; 0 means 1. Each group is a target
	// port of its own, with the tag as relative port identifier: the same
	// initiator port has one session through each (RFC 7143 section 4.4).
	Group uint16
	// Advertise returns the addresses ("address:port", IPv6 in brackets) that
	// SendTargets tells for this portal, given the local end of the connection
	// that asks. nil = Options.Advertise for those who ask on this portal; to
	// others, if that is nil too, the listener's address.
	Advertise func(local net.Addr) []string
}

// listening is a portal that is served.
type listening struct {
	Portal
	addr net.Addr
}

// open enters a portal.
func (s *Server) open(l net.Listener, p Portal) *listening {
	if p.Group == 0 {
		p.Group = 1
	}
	e := &listening{p, l.Addr()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.portals[e] = true
	for _, t := range s.targets {
		s.setPorts(t)
	}
	return e
}

func (s *Server) shut(e *listening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.portals, e)
}

// Serve is ServePortal with a portal of group 1.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.ServePortal(ctx, l, Portal{})
}

// reachable says whether a target is offered in a portal group.
func (t *Target) reachable(group uint16) bool {
	return len(t.Groups) == 0 || slices.Contains(t.Groups, group)
}

// port returns the SCSI target port of a portal group.
func (t *Target) port(group uint16) scsi.Port {
	return scsi.Port{RelativeID: group, GroupID: accessGroup, Name: fmt.Sprintf("%s,t,0x%04x", t.Name, group)}
}

// setPorts tells the device of a target which ports it has, for as long as it
// has any. s.mu is held.
func (s *Server) setPorts(t *Target) {
	var tags []uint16
	for e := range s.portals {
		if t.reachable(e.Group) {
			tags = append(tags, e.Group)
		}
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if t.Device == nil || len(tags) == 0 || len(tags) > maxGroups {
		return
	}
	g := scsi.PortGroup{ID: accessGroup, State: scsi.ActiveOptimized}
	for _, tag := range tags {
		g.Ports = append(g.Ports, t.port(tag))
	}
	if err := t.Device.SetPortGroups(g); err != nil {
		s.o.Log.Error("ports not set", "target", t.Name, "error", err)
	}
}

// addresses returns the TargetAddress values (section 13.8) of a target that is
// in these groups, for an initiator that has come to a portal at this local
// address: first that portal, then the others through which it can be reached.
func (s *Server) addresses(groups []uint16, on *listening, local net.Addr) []string {
	s.mu.Lock()
	others := make([]*listening, 0, len(s.portals))
	for e := range s.portals {
		if e != on && (len(groups) == 0 || slices.Contains(groups, e.Group)) {
			others = append(others, e)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(others, func(a, b *listening) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.addr.String(), b.addr.String()))
	})
	var all []string
	tell := func(e *listening, addrs ...string) {
		for _, a := range addrs {
			if v := fmt.Sprintf("%s,%d", a, e.Group); !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	switch {
	case on.Advertise != nil:
		tell(on, on.Advertise(local)...)
	case s.o.Advertise != nil:
		tell(on, s.o.Advertise(local)...)
	default:
		tell(on, portalAddress(local))
	}
	for _, e := range others {
		switch {
		case e.Advertise != nil:
			tell(e, e.Advertise(local)...)
		case s.o.Advertise == nil:
			if a := listenAddress(e.addr, local); a != "" {
				tell(e, a)
			}
		}
	}
	return all
}

// listenAddress returns where a listener is to be found by one who has come to
// the local address of another, or "". One that listens on all addresses
// listens on that one too.
func listenAddress(listen, local net.Addr) string {
	l, ok := listen.(*net.TCPAddr)
	if !ok {
		return ""
	}
	here, ok := local.(*net.TCPAddr)
	switch {
	case !ok, l.IP.IsLinkLocalUnicast(), l.IP.IsLoopback() && !here.IP.IsLoopback():
		return "" // of no use to somebody elsewhere
	case !l.IP.IsUnspecified():
		return portalAddress(l)
	}
	if l.IP.To4() != nil && here.IP.To4() == nil {
		return ""
	}
	return portalAddress(&net.TCPAddr{IP: here.IP, Port: l.Port})
}

// portalAddress is an address as section 13.8 wants it: IPv6 in brackets, no
// zone.
func portalAddress(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	return (&net.TCPAddr{IP: t.IP, Port: t.Port}).String()
}
