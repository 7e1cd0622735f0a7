package network

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func card(index int, name string, carrier bool) Link {
	return Link{Index: index, Name: name, MAC: "52:54:00:00:00:0" + string(rune('0'+index)), Driver: "e1000e", Ethernet: true, Up: true, Carrier: carrier, MTU: 1500}
}

func TestAssign(t *testing.T) {
	lo := Link{Index: 9, Name: "lo", Loopback: true, Up: true, Carrier: true}
	bridge := Link{Index: 8, Name: "br0", Up: true, Carrier: true}
	first := config.Interface{}
	byMAC := config.Interface{Match: config.Match{MAC: "52:54:00:00:00:01"}}
	byName := config.Interface{Match: config.Match{Name: "eth2"}}
	byDriver := config.Interface{Match: config.Match{Driver: "e1000e"}}
	both := config.Interface{Match: config.Match{Name: "eth1", MAC: "52:54:00:00:00:02"}}
	is := func(i ...config.Interface) []config.Interface { return i }
	for _, tt := range []struct {
		name   string
		config []config.Interface
		links  []Link
		before map[int]int
		want   map[int]int
	}{
		{"nothing there", is(first, byMAC), nil, nil, map[int]int{}},
		{"loopback and bridges are no cards", is(first), []Link{lo, bridge}, nil, map[int]int{}},
		{"no link yet", is(first), []Link{card(1, "eth1", false)}, nil, map[int]int{}},
		{"the first with a link", is(first), []Link{lo, card(1, "eth1", false), card(2, "eth2", true), card(3, "eth3", true)}, nil, map[int]int{0: 2}},
		{"stays with its link", is(first), []Link{card(1, "eth1", true), card(2, "eth2", true)}, map[int]int{0: 2}, map[int]int{0: 2}},
		{"moves when another has a link", is(first), []Link{card(1, "eth1", true), card(2, "eth2", false)}, map[int]int{0: 2}, map[int]int{0: 1}},
		{"stays when nobody has a link", is(first), []Link{card(1, "eth1", false), card(2, "eth2", false)}, map[int]int{0: 2}, map[int]int{0: 2}},
		{"card is gone", is(first), []Link{card(1, "eth1", true)}, map[int]int{0: 2}, map[int]int{0: 1}},
		{"named ones come first", is(first, byMAC), []Link{card(1, "eth1", true), card(2, "eth2", true)}, nil, map[int]int{0: 2, 1: 1}},
		{"named ones need no link", is(byMAC, byName), []Link{card(1, "eth1", false), card(2, "eth2", false)}, nil, map[int]int{0: 1, 1: 2}},
		{"all that is given must agree", is(both), []Link{card(1, "eth1", true), card(2, "eth2", true)}, nil, map[int]int{}},
		{"driver, and it stays", is(byDriver), []Link{card(1, "eth1", true), card(2, "eth2", true)}, map[int]int{0: 2}, map[int]int{0: 2}},
		{"two by the same card", is(byMAC, byDriver), []Link{card(1, "eth1", true)}, nil, map[int]int{0: 1}},
		{"a named bridge", is(config.Interface{Match: config.Match{Name: "br0"}}), []Link{bridge}, nil, map[int]int{0: 8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, assign(tt.config, tt.links, tt.before)); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	a, b := prefix("10.0.0.10/24"), prefix("10.0.0.11/24")
	v6 := prefix("fd00::10/64")
	local := prefix("fe80::1/64")
	down := card(1, "eth1", false)
	down.Up = false
	set := card(1, "eth1", true)
	set.Addresses, set.Permanent = []netip.Prefix{a, v6, local}, []netip.Prefix{a, v6, local}
	routes := []Route{{Link: 1, Gateway: addr("10.0.0.1"), Metric: baseMetric}, {Link: 1, Gateway: addr("fe80::9"), Metric: 1024 * 1024}, {Link: 2, Gateway: addr("10.9.0.1"), Metric: baseMetric}}
	auto := set
	auto.Permanent = nil
	for _, tt := range []struct {
		name  string
		want  desired
		state State
		steps []string
	}{
		{"nothing", desired{}, State{Links: []Link{card(1, "eth1", true), down}}, nil},
		{"loopback", desired{}, State{Links: []Link{{Index: 1, Name: "lo", Loopback: true}}}, []string{"set lo up"}},
		{"look for a link", desired{watch: true}, State{Links: []Link{down, card(2, "eth2", false), {Index: 3, Name: "br0"}}}, []string{"set eth1 up"}},
		{"all new", desired{watch: true, links: []wantedLink{{link: 1, mtu: 9000, addresses: []netip.Prefix{a, v6}, gateways: []netip.Addr{addr("10.0.0.1")}, metric: baseMetric}}},
			State{Links: []Link{down}},
			[]string{"set eth1 up", "set the MTU of eth1 to 9000", "add 10.0.0.10/24 to eth1", "add fd00::10/64 to eth1", "add the default route over 10.0.0.1 by eth1"}},
		{"up after the MTU", desired{links: []wantedLink{{link: 1, mtu: 9000}}}, State{Links: []Link{down}},
			[]string{"set the MTU of eth1 to 9000", "set eth1 up"}},
		{"done", desired{links: []wantedLink{{link: 1, mtu: 1500, addresses: []netip.Prefix{a, v6}, gateways: []netip.Addr{addr("10.0.0.1")}, metric: baseMetric}}},
			State{Links: []Link{set}, Routes: routes}, nil},
		{"another address and gateway", desired{links: []wantedLink{{link: 1, addresses: []netip.Prefix{b}, gateways: []netip.Addr{addr("10.0.0.2")}, metric: baseMetric}}},
			State{Links: []Link{set}, Routes: routes},
			[]string{"remove the default route over 10.0.0.1 by eth1", "remove 10.0.0.10/24 from eth1", "remove fd00::10/64 from eth1",
				"add 10.0.0.11/24 to eth1", "add the default route over 10.0.0.2 by eth1"}},
		{"before the first lease", desired{links: []wantedLink{{link: 1, keepOthers: true}}}, State{Links: []Link{set}, Routes: routes}, nil},
		{"after the last lease", desired{links: []wantedLink{{link: 1, metric: baseMetric}}}, State{Links: []Link{set}, Routes: routes},
			[]string{"remove the default route over 10.0.0.1 by eth1", "remove 10.0.0.10/24 from eth1", "remove fd00::10/64 from eth1"}},
		{"the kernel's own addresses", desired{links: []wantedLink{{link: 1}}}, State{Links: []Link{auto}}, nil},
		{"card is gone", desired{links: []wantedLink{{link: 7, addresses: []netip.Prefix{a}}}}, State{Links: []Link{set}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range plan(tt.want, tt.state) {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tt.steps, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}
