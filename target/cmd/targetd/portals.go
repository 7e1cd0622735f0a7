package main

import (
	"context"
	"fmt"
	"net"
	"slices"

	"sanstick/target"
)

// portal is an address to listen on.
type portal struct {
	address   string
	group     uint16   // tag of its portal group
	advertise []string // nil = as setup.advertise says
}

func (p portal) same(o portal) bool {
	return p.address == o.address && p.group == o.group && slices.Equal(p.advertise, o.advertise)
}

// portal reads a [[portal]].
func (d *document) portal(t *table) portal {
	p := portal{address: t.text("address"), group: t.group("group")}
	p.advertise = t.addresses("advertise")
	if err := checkAddress(p.address); err != nil {
		d.fail(t.at("address"), "%v", err)
	}
	t.end("address, group, advertise")
	return p
}

// redirect reads a redirect = { ... }.
func (d *document) redirect(t *table) *target.Redirect {
	if t == nil {
		return nil
	}
	r := &target.Redirect{Address: t.text("address"), Permanent: t.flag("permanent")}
	if err := checkAddress(r.Address); err != nil {
		d.fail(t.at("address"), "%v", err)
	}
	t.end("address, permanent")
	return r
}

// groups looks for targets whose portal groups don't exist.
func (s *setup) groups(fail func(path, format string, args ...any)) {
	for i, t := range s.targets {
		for _, g := range t.groups {
			if !slices.ContainsFunc(s.portals, func(p portal) bool { return p.group == g }) {
				fail(element("target", i)+".groups", "there is no portal of group %d", g)
			}
		}
	}
}

// listeners listens on all portals, in their order.
func (s *setup) listeners(ctx context.Context) (ls []net.Listener, err error) {
	for _, p := range s.portals {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address)
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// target is the portal as package target wants it.
func (p portal) target() target.Portal {
	t := target.Portal{Group: p.group}
	if p.advertise != nil {
		t.Advertise = func(net.Addr) []string { return p.advertise }
	}
	return t
}
