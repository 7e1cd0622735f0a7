package network

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var cmpLease = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.IgnoreUnexported(Lease{})}

func ack(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(mods...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseLease(t *testing.T) {
	start := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	you := dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15))
	mask := dhcpv4.WithNetmask(net.CIDRMask(24, 32))
	defaults := Lease{Address: prefix("10.0.2.15/24"), Start: start, Renew: 30 * time.Minute, Rebind: 52*time.Minute + 30*time.Second, Expire: time.Hour}
	with := func(f func(*Lease)) *Lease { l := defaults; f(&l); return &l }
	for _, tt := range []struct {
		name string
		ack  *dhcpv4.DHCPv4
		want *Lease // nil is an error
	}{
		{"least", ack(t, you, mask), &defaults},
		{"all", ack(t, you, mask, dhcpv4.WithRouter(net.IPv4zero, net.IPv4(10, 0, 2, 2)), dhcpv4.WithDNS(net.IPv4(10, 0, 2, 3), net.IPv4(1, 1, 1, 1)),
			dhcpv4.WithLeaseTime(1000), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(100*time.Second)), dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(200*time.Second)),
			dhcpv4.WithOption(dhcpv4.OptDomainName("lan.example.\x00"))),
			with(func(l *Lease) {
				l.Gateway, l.DNS, l.Domain = addr("10.0.2.2"), []netip.Addr{addr("10.0.2.3"), addr("1.1.1.1")}, "lan.example"
				l.Renew, l.Rebind, l.Expire = 100*time.Second, 200*time.Second, 1000*time.Second
			})},
		{"times in a bad order", ack(t, you, mask, dhcpv4.WithLeaseTime(3600), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(3000*time.Second)), dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(200*time.Second))), &defaults},
		{"for ever", ack(t, you, mask, dhcpv4.WithLeaseTime(0xffffffff)), with(func(l *Lease) {
			l.Expire, l.Renew, l.Rebind = maxLease, maxLease/2, maxLease*7/8
		})},
		{"mask by class", ack(t, you), with(func(l *Lease) { l.Address = prefix("10.0.2.15/8") })},
		{"domain that would break out of the file", ack(t, you, mask, dhcpv4.WithOption(dhcpv4.OptDomainName("x\nnameserver 6.6.6.6"))), &defaults},
		{"no address", ack(t, mask), nil},
		{"multicast", ack(t, dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), mask), nil},
		{"broken mask", ack(t, you, dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0))), nil},
		{"empty mask", ack(t, you, dhcpv4.WithNetmask(net.CIDRMask(0, 32))), nil},
		{"no time", ack(t, you, mask, dhcpv4.WithLeaseTime(0)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLease(tt.ack, start)
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("lease %+v, error %v", got, err)
			}
			if diff := cmp.Diff(tt.want, got, cmpLease); diff != "" {
				t.Errorf("lease (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseLease checks that no answer of a server breaks anything.
func FuzzParseLease(f *testing.F) {
	f.Add(ack(f, dhcpv4.WithYourIP(net.IPv4(10, 0, 2, 15)), dhcpv4.WithRouter(net.IPv4(10, 0, 2, 2)), dhcpv4.WithDNS(net.IPv4(1, 1, 1, 1)),
		dhcpv4.WithLeaseTime(5), dhcpv4.WithOption(dhcpv4.OptDomainName("a.b"))).ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		l, err := parseLease(m, time.Time{})
		if err != nil {
			return
		}
		if !l.Address.IsValid() || l.Address.Bits() == 0 || l.Renew <= 0 || l.Rebind <= l.Renew || l.Expire <= l.Rebind || l.Expire > maxLease {
			t.Errorf("odd lease %+v", l)
		}
		for line := range strings.Lines(resolvConf([]*Lease{l})) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "search ") && !strings.HasPrefix(line, "nameserver ") {
				t.Errorf("odd line %q", line)
			}
		}
	})
}

func TestResolvConf(t *testing.T) {
	a := &Lease{DNS: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2")}, Domain: "a.example"}
	b := &Lease{DNS: []netip.Addr{addr("10.0.0.2"), addr("10.0.0.3"), addr("10.0.0.4")}, Domain: "b.example"}
	want := "# written by the appliance, from DHCP\nsearch a.example b.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
	if diff := cmp.Diff(want, resolvConf([]*Lease{a, b, a})); diff != "" {
		t.Errorf("resolv.conf (-want +got):\n%s", diff)
	}
	if got := resolvConf([]*Lease{{Domain: "a"}}); got != "" {
		t.Errorf("resolv.conf without name servers is %q", got)
	}
}
