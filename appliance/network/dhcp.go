package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

// Lease is an address that a DHCP server lent (RFC 2131).
type Lease struct {
	Address netip.Prefix
	Gateway netip.Addr // zero if the server gave none
	DNS     []netip.Addr
	Domain  string
	Start   time.Time
	Renew   time.Duration // T1: after that the same server is asked
	Rebind  time.Duration // T2: after that any server is asked
	Expire  time.Duration // after that the address must not be used

	raw *nclient4.Lease
}

// DHCP asks DHCP servers. It is safe for concurrent use.
type DHCP interface {
	// Request gets a lease on a link from any server; hint is an address that
	// is wanted again, or the zero Addr. It comes back with an error after some
	// seconds without an answer.
	Request(ctx context.Context, link string, hint netip.Addr) (*Lease, error)
	// Renew extends a lease with its server. ErrRefused means that the address
	// must be given up.
	Renew(ctx context.Context, link string, l *Lease) (*Lease, error)
}

// ErrRefused is a server's refusal to extend a lease.
var ErrRefused = errors.New("the DHCP server took the address back")

// How long one question waits for an answer, and how often it is sent: 1, 2
// and 4 seconds.
const (
	dhcpTimeout = time.Second
	dhcpTries   = 3
)

// dhcpClient is the real DHCP. It opens a raw socket for each question: one
// that stays open breaks when the link goes down.
type dhcpClient struct{ hostname string }

var _ DHCP = dhcpClient{}

func (c dhcpClient) Request(ctx context.Context, link string, hint netip.Addr) (*Lease, error) {
	var mods []dhcpv4.Modifier
	if hint.IsValid() {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(hint.AsSlice())))
	}
	return c.ask(link, func(client *nclient4.Client) (*nclient4.Lease, error) {
		offer, err := client.DiscoverOffer(ctx, append(mods, c.modifiers()...)...)
		if err != nil {
			return nil, err
		}
		return client.RequestFromOffer(ctx, offer, c.modifiers()...)
	})
}

func (c dhcpClient) Renew(ctx context.Context, link string, l *Lease) (*Lease, error) {
	return c.ask(link, func(client *nclient4.Client) (*nclient4.Lease, error) {
		return client.Renew(ctx, l.raw, c.modifiers()...)
	})
}

func (c dhcpClient) modifiers() []dhcpv4.Modifier {
	if c.hostname == "" {
		return nil
	}
	return []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptHostName(c.hostname))}
}

// ask opens a socket for one question.
func (c dhcpClient) ask(link string, question func(*nclient4.Client) (*nclient4.Lease, error)) (*Lease, error) {
	client, err := nclient4.New(link, nclient4.WithTimeout(dhcpTimeout), nclient4.WithRetry(dhcpTries))
	if err != nil {
		return nil, fmt.Errorf("cannot ask for an address: %w", err)
	}
	defer client.Close()
	raw, err := question(client)
	var nak *nclient4.ErrNak
	switch {
	case errors.As(err, &nak):
		return nil, ErrRefused
	case errors.Is(err, unix.ENETDOWN):
		return nil, errors.New("no link")
	case errors.Is(err, nclient4.ErrNoResponse):
		return nil, errors.New("no answer from a DHCP server")
	case err != nil:
		return nil, fmt.Errorf("cannot ask for an address: %w", err)
	}
	l, err := parseLease(raw.ACK, raw.CreationTime)
	if err != nil {
		return nil, fmt.Errorf("cannot use the DHCP server's answer: %w", err)
	}
	l.raw = raw
	return l, nil
}

// The bounds of a lease's time: a server that gives none gets an hour, and
// 0xffffffff (for ever) counts as a year.
const (
	defaultLease = time.Hour
	maxLease     = 365 * 24 * time.Hour
)

// parseLease reads a server's answer, which is not to be trusted.
func parseLease(ack *dhcpv4.DHCPv4, start time.Time) (*Lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return nil, fmt.Errorf("%v is not an address that a machine can have", ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask() // by its class, RFC 950
	}
	bits, size := mask.Size()
	if size != 32 || bits == 0 {
		return nil, fmt.Errorf("%v is not a network mask", mask)
	}
	l := &Lease{Address: netip.PrefixFrom(addr, bits), Start: start}
	for _, ip := range ack.Router() {
		if gw, ok := netip.AddrFromSlice(ip.To4()); ok && gw.IsValid() && !gw.IsUnspecified() && !gw.IsMulticast() && gw != addr {
			l.Gateway = gw
			break
		}
	}
	for _, ip := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() && !a.IsMulticast() && len(l.DNS) < maxResolvers {
			l.DNS = append(l.DNS, a)
		}
	}
	if d := strings.TrimRight(ack.DomainName(), "\x00."); isDomain(d) {
		l.Domain = d
	}
	l.Expire = ack.IPAddressLeaseTime(defaultLease)
	if l.Expire <= 0 {
		return nil, errors.New("the lease has no time")
	}
	l.Expire = min(l.Expire, maxLease)
	l.Renew = ack.IPAddressRenewalTime(0)
	l.Rebind = ack.IPAddressRebindingTime(0)
	if l.Renew <= 0 || l.Rebind <= l.Renew || l.Rebind >= l.Expire { // RFC 2131 section 4.4.5
		l.Renew, l.Rebind = l.Expire/2, l.Expire*7/8
	}
	return l, nil
}

// isDomain tells whether s may be put into resolv.conf.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}
