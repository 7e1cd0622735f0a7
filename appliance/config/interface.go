package config

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// The bounds of an interface's MTU in bytes: the least that IPv6 allows, and
// the most that Ethernet cards take.
const (
	minMTU = 1280
	maxMTU = 9216
)

// interfacesSeen holds what the interfaces so far use, with its line.
type interfacesSeen struct {
	match   map[Match]int
	address map[netip.Addr]int
}

const addressesExample = `addresses = ["dhcp"] or addresses = ["10.0.0.10/24"]`

func (s section) iface(seen interfacesSeen) Interface {
	i := Interface{Match: s.match()}
	if line, dup := seen.match[i.Match]; dup {
		if i.Match == (Match{}) {
			s.fail("match", `is empty or missing, as in the interface of line %d, and only one can be the first with a link; add match = { mac = "..." }`, line)
		} else {
			s.fail("match", "is the same as that of the interface of line %d; join the two or correct one", line)
		}
	} else {
		seen.match[i.Match] = s.w.pos.line(s.at("match"))
	}
	s.addresses(&i, seen.address)
	s.gateway(&i)
	if n, ok := s.number("mtu", "mtu = 9000"); ok {
		if n < minMTU || n > maxMTU {
			s.fail("mtu", "%d is out of range; use %d to %d bytes, or remove the line for the usual 1500", n, minMTU, maxMTU)
		}
		i.MTU = int(n)
	}
	return i
}

func (s section) match() Match {
	const example = `match = { mac = "52:54:00:12:34:56" }`
	t := s.sub("match", tableMatch, example)
	if t == nil {
		return Match{}
	}
	var m Match
	if text, ok := t.text("mac", `mac = "52:54:00:12:34:56"`); ok {
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
			t.fail("mac", "%s is not the address of a network card; it looks like 52:54:00:12:34:56 (sanctl status lists them)", show(text))
			m.MAC = text
		} else {
			m.MAC = mac.String()
		}
	}
	if text, ok := t.text("name", `name = "eth0"`); ok {
		if text == "" || len(text) > 15 || strings.ContainsAny(text, "/ \t\r\n:") || text == "." || text == ".." {
			t.fail("name", "%s is not an interface name; it looks like eth0 (sanctl status lists them)", show(text))
		}
		m.Name = text
	}
	if text, ok := t.text("driver", `driver = "e1000e"`); ok {
		if text == "" || len(text) > 63 || strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.fail("driver", "%s is not a driver name; it looks like e1000e (sanctl status lists them)", show(text))
		}
		m.Driver = text
	}
	return m
}

// addresses reads the addresses of an interface; without the key it is DHCP.
func (s section) addresses(i *Interface, seen map[netip.Addr]int) {
	items, ok := s.list("addresses", addressesExample)
	switch {
	case !s.has("addresses"):
		i.DHCP = true
		return
	case ok && len(items) == 0:
		s.fail("addresses", "is empty; use %s, or remove the whole interface", addressesExample)
	}
	for _, it := range items {
		if strings.EqualFold(it.text, "dhcp") {
			if i.DHCP {
				s.failAt(it.path, "addresses", `"dhcp" is in the list twice; remove one`)
			}
			i.DHCP = true
			continue
		}
		p, err := hostPrefix(it.text)
		if err != nil {
			s.failAt(it.path, "addresses", "%s %v", show(it.text), err)
			continue
		}
		if line, dup := seen[p.Addr()]; dup {
			s.failAt(it.path, "addresses", "%s is already in use by line %d; an address belongs to one interface", p.Addr(), line)
			continue
		}
		seen[p.Addr()] = s.w.pos.line(it.path)
		i.Addresses = append(i.Addresses, p)
	}
}

// hostPrefix reads an address with its prefix length and checks that a machine
// can have it.
func hostPrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		if a, err := netip.ParseAddr(text); err == nil {
			bits := "24"
			if a.Is6() {
				bits = "64"
			}
			return p, errors.New("has no prefix length; write the length of your network's mask behind it, as in " + a.WithZone("").String() + "/" + bits)
		}
		return p, errors.New(`is not an address; use "dhcp" or one like "10.0.0.10/24" or "fd00::10/64"`)
	}
	a := p.Addr()
	switch {
	case a.Is4In6():
		return p, errors.New("is an IPv4 address in IPv6 form; write it as " + a.Unmap().String())
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || p.Bits() == 0:
		return p, errors.New("is not an address that a machine can have on a network; choose another")
	case a.Is4() && a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return p, errors.New("is the broadcast address; choose another")
	case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
		return p, errors.New("is the address of the network itself; choose one of its hosts, as in " + netip.PrefixFrom(a.Next(), p.Bits()).String())
	case a.Is4() && p.Bits() < 31 && a == broadcast(p):
		return p, errors.New("is the broadcast address of its network; choose another")
	}
	return p, nil
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

func (s section) gateway(i *Interface) {
	text, ok := s.text("gateway", `gateway = "10.0.0.1"`)
	if !ok {
		return
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		s.fail("gateway", `%s is not the address of a router; it looks like "10.0.0.1", without a prefix length`, show(text))
	case len(i.Addresses) == 0 && i.DHCP:
		s.fail("gateway", "does not go with DHCP, which brings the router along; remove this line or give a static address")
	case slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }):
		s.fail("gateway", "%s is this machine's own address; give the router's", a)
	case !(a.Is6() && a.IsLinkLocalUnicast()) && len(i.Addresses) > 0 &&
		!slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Contains(a) }):
		s.fail("gateway", "%s is in none of this interface's networks, so it can't be reached; correct it or the prefix length of the address", a)
	default:
		i.Gateway = a
	}
}
