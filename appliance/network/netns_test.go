package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"sanstick/appliance/config"
	"sanstick/appliance/status"
)

// insideEnv marks the process that a test started in a network of its own.
const insideEnv = "SANSTICK_TEST_NETNS"

// inOwnNetwork runs the calling test again in a process with a network
// namespace of its own, so that it can do to the kernel what it likes. It
// returns true in that process.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network namespace and needs root; run it as root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("in its own network:\n%s", out)
	if err != nil {
		t.Fatalf("in its own network: %v", err)
	}
	return false
}

// wire makes a pair of cards, the server's end with an address and up.
func wire(t *testing.T) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0", MTU: 1500}, PeerName: "srv0"}))
	srv, err := netlink.LinkByName("srv0")
	must(t, err)
	a, err := netlink.ParseAddr("10.99.0.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(srv, a))
}

func cable(t *testing.T, plugged bool) {
	t.Helper()
	srv, err := netlink.LinkByName("srv0")
	must(t, err)
	if plugged {
		must(t, netlink.LinkSetUp(srv))
	} else {
		must(t, netlink.LinkSetDown(srv))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dhcpServer is a server for one client on srv0.
type dhcpServer struct {
	address  atomic.Uint32 // the last byte of what it gives
	silent   atomic.Bool
	requests atomic.Int32
	seconds  uint32
}

func (d *dhcpServer) serve(t *testing.T) {
	t.Helper()
	s, err := server4.NewServer("srv0", &net.UDPAddr{IP: net.IPv4zero, Port: 67}, d.answer)
	must(t, err)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve() }()
	t.Cleanup(func() { s.Close(); <-done })
}

func (d *dhcpServer) answer(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
	if d.silent.Load() {
		return
	}
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
		d.requests.Add(1)
	}
	self := net.IPv4(10, 99, 0, 1)
	reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(10, 99, 0, byte(d.address.Load()))),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.IPv4(10, 99, 0, 254)),
		dhcpv4.WithDNS(self), dhcpv4.WithLeaseTime(d.seconds))
	if err != nil {
		panic(err)
	}
	conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
}

// addressesOf reads a card's IPv4 addresses from the kernel.
func addressesOf(t *testing.T, name string) []string {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	must(t, err)
	var out []string
	for _, a := range list {
		out = append(out, a.IPNet.String())
	}
	return out
}

// A real DHCP exchange over real (virtual) cards: the cable comes late, the
// lease is extended, the cable goes and comes back to another network, and in
// the end the server is gone.
func TestRealDHCP(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	wire(t)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	m := run(t, Options{ResolvConf: resolv, Hostname: "attic",
		Interfaces: []config.Interface{{Match: config.Match{Name: "lan0"}, DHCP: true, MTU: 1400}}})
	eventually(t, "no link in the status", func() bool {
		s := m.Status()
		i := slices.IndexFunc(s, func(i status.Interface) bool { return i.Name == "lan0" })
		return i >= 0 && s[i].Up && s[i].Error == "no link"
	})
	if a := addressesOf(t, "lo"); !slices.Contains(a, "127.0.0.1/8") {
		t.Errorf("lo has %v", a)
	}

	server := &dhcpServer{seconds: 3}
	server.address.Store(50)
	cable(t, true)
	server.serve(t)
	<-m.Ready()
	want := func(address string) func() bool {
		return func() bool { return cmp.Equal(addressesOf(t, "lan0"), []string{address}) }
	}
	eventually(t, "the address", want("10.99.0.50/24"))
	k, err := newNetlink()
	must(t, err)
	defer k.close()
	s, err := k.State()
	must(t, err)
	lan := s.Links[slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == "lan0" })]
	if lan.MTU != 1400 || !lan.Ethernet || !lan.Carrier || lan.MAC == "" {
		t.Errorf("card %+v", lan)
	}
	if diff := cmp.Diff([]Route{{Link: lan.Index, Gateway: addr("10.99.0.254"), Metric: baseMetric}}, s.Routes, cmpLease); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	eventually(t, "resolv.conf", func() bool {
		text, _ := os.ReadFile(resolv)
		return strings.Contains(string(text), "nameserver 10.99.0.1\n")
	})
	first := server.requests.Load()
	eventually(t, "an extension", func() bool { return server.requests.Load() > first })
	if a := addressesOf(t, "lan0"); !cmp.Equal(a, []string{"10.99.0.50/24"}) {
		t.Errorf("addresses after the extension: %v", a)
	}

	cable(t, false)
	eventually(t, "the loss of the link in the status", func() bool { return len(m.Problems()) == 1 })
	server.address.Store(60)
	cable(t, true)
	eventually(t, "the new network's address", want("10.99.0.60/24"))

	server.silent.Store(true)
	eventually(t, "the end of the lease", func() bool { return len(addressesOf(t, "lan0")) == 0 })
}

// A fixed address on a real card: IPv4, IPv6, gateway, and a card that appears
// after the start.
func TestRealStatic(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	m, stop := runUntil(t, Options{Interfaces: []config.Interface{{Match: config.Match{Name: "lan0"}, MTU: 1400, Gateway: addr("10.99.0.254"),
		Addresses: []netip.Prefix{prefix("10.99.0.10/24"), prefix("fd00::10/64")}}}})
	eventually(t, "the missing card", func() bool { return len(m.Problems()) == 1 })
	wire(t)
	cable(t, true)
	<-m.Ready()
	eventually(t, "the status", func() bool {
		s := m.Status()
		i := slices.IndexFunc(s, func(i status.Interface) bool { return i.Name == "lan0" })
		return i >= 0 && s[i].Carrier && s[i].Error == "" && slices.Contains(s[i].Addresses, "fd00::10/64") && slices.Contains(s[i].Addresses, "10.99.0.10/24")
	})
	// The addresses stay when the daemon ends; another configuration, in the
	// same networks, takes them away. Steps can be repeated.
	stop()
	if a := addressesOf(t, "lan0"); !cmp.Equal(a, []string{"10.99.0.10/24"}) {
		t.Errorf("addresses after the end: %v", a)
	}
	m, stop = runUntil(t, Options{Interfaces: []config.Interface{{Match: config.Match{Name: "lan0"}, Gateway: addr("10.99.0.253"),
		Addresses: []netip.Prefix{prefix("10.99.0.11/24"), prefix("10.99.0.12/24")}}}})
	<-m.Ready()
	eventually(t, "the new addresses", func() bool {
		return cmp.Equal(addressesOf(t, "lan0"), []string{"10.99.0.11/24", "10.99.0.12/24"})
	})
	stop()
	k, err := newNetlink()
	must(t, err)
	defer k.close()
	s, err := k.State()
	must(t, err)
	lan := s.Links[slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == "lan0" })]
	if diff := cmp.Diff([]Route{{Link: lan.Index, Gateway: addr("10.99.0.253"), Metric: baseMetric}}, s.Routes, cmpLease); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	for _, step := range plan(desired{links: []wantedLink{{link: lan.Index, mtu: 1300, metric: baseMetric}}}, s) {
		for range 2 {
			if err := k.Apply(step); err != nil {
				t.Errorf("%v: %v", step, err)
			}
		}
	}
	if a := addressesOf(t, "lan0"); len(a) != 0 {
		t.Errorf("addresses %v", a)
	}
}

// A watcher sees changes and ends with its context.
func TestRealWatch(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	k, err := newNetlink()
	must(t, err)
	defer k.close()
	changes, err := k.Watch(t.Context())
	must(t, err)
	for i := range 3 {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("a%d", i)}, PeerName: fmt.Sprintf("b%d", i)}))
		select {
		case <-changes:
		case <-time.After(10 * time.Second):
			t.Fatal("no change was seen")
		}
	}
}
