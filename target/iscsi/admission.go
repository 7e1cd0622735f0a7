package iscsi

import (
	"net"
	"net/netip"
	"sync"
)

// admission bounds the connections there are, and how many of them one host
// has. Those that are not in a normal session yet are bounded more tightly:
// anybody can make them.
type admission struct {
	connections, hostConnections int // limits
	logins, hostLogins           int // likewise, of those that are logging in

	mu    sync.Mutex
	all   tally
	hosts map[netip.Prefix]*tally
}

type tally struct{ connections, logins int }

func newAdmission(o *Options) *admission {
	return &admission{
		connections: o.MaxConnections, hostConnections: max(1, o.MaxConnections*3/4),
		logins: o.MaxLogins, hostLogins: o.MaxHostLogins,
		hosts: make(map[netip.Prefix]*tally),
	}
}

// A pass is a connection that was let in.
type pass struct {
	a       *admission
	host    netip.Prefix
	session bool
}

// enter lets a connection in, or returns what there are too many of.
func (a *admission) enter(addr net.Addr) (p *pass, why string) {
	host := hostOf(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[host]
	if h == nil {
		h = &tally{}
	}
	switch {
	case a.all.connections >= a.connections:
		return nil, "connections"
	case h.connections >= a.hostConnections:
		return nil, "connections of this host"
	case a.all.logins >= a.logins:
		return nil, "logins under way"
	case h.logins >= a.hostLogins:
		return nil, "logins of this host under way"
	}
	a.hosts[host] = h
	for _, t := range []*tally{&a.all, h} {
		t.connections++
		t.logins++
	}
	return &pass{a: a, host: host}, ""
}

// loggedIn notes that the connection belongs to a normal session now.
func (p *pass) loggedIn() {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.session = true
	p.a.all.logins--
	p.a.hosts[p.host].logins--
}

// leave gives back the place of the connection.
func (p *pass) leave() {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	h := p.a.hosts[p.host]
	for _, t := range []*tally{&p.a.all, h} {
		t.connections--
		if !p.session {
			t.logins--
		}
	}
	if h.connections == 0 {
		delete(p.a.hosts, p.host)
	}
}

// hostOf returns what counts as one host: an IPv4 address, or the 64 bits of
// an IPv6 network, in which a host has as many addresses as it likes.
func hostOf(addr net.Addr) netip.Prefix {
	t, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := t.AddrPort().Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
