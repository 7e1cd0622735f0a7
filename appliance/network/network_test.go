package network

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sanstick/appliance/config"
	"sanstick/appliance/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeKernel is a Kernel in memory.
type fakeKernel struct {
	changes chan struct{}

	mu    sync.Mutex
	state State
	fail  map[verb]error
}

func newFake(links ...Link) *fakeKernel {
	return &fakeKernel{changes: make(chan struct{}, 1), state: State{Links: links}, fail: map[verb]error{}}
}

func (k *fakeKernel) State() (State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := State{Links: slices.Clone(k.state.Links), Routes: slices.Clone(k.state.Routes)}
	for i := range s.Links {
		s.Links[i].Addresses = slices.Clone(s.Links[i].Addresses)
		s.Links[i].Permanent = slices.Clone(s.Links[i].Addresses)
	}
	return s, nil
}

func (k *fakeKernel) Apply(s Step) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fail[s.verb]; err != nil {
		return err
	}
	l := &k.state.Links[slices.IndexFunc(k.state.Links, func(l Link) bool { return l.Index == s.link })]
	switch s.verb {
	case setUp:
		l.Up = true
	case setMTU:
		l.MTU = s.mtu
	case addAddress:
		l.Addresses = append(l.Addresses, s.address)
	case removeAddress:
		l.Addresses = slices.DeleteFunc(l.Addresses, func(p netip.Prefix) bool { return p == s.address })
	case addRoute:
		k.state.Routes = append(k.state.Routes, s.route)
	case removeRoute:
		k.state.Routes = slices.DeleteFunc(k.state.Routes, func(r Route) bool { return r == s.route })
	}
	return nil
}

func (k *fakeKernel) Watch(ctx context.Context) (<-chan struct{}, error) {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			select {
			case <-k.changes:
				select {
				case out <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// change changes the state as cables and cards do.
func (k *fakeKernel) change(f func(*State)) {
	k.mu.Lock()
	f(&k.state)
	k.mu.Unlock()
	k.changes <- struct{}{}
}

// run runs a manager until the test ends.
func run(t *testing.T, o Options) *Manager {
	t.Helper()
	m, stop := runUntil(t, o)
	t.Cleanup(stop)
	return m
}

// runUntil runs a manager until stop is called.
func runUntil(t *testing.T, o Options) (m *Manager, stop func()) {
	t.Helper()
	if o.ResolvConf == "" {
		o.ResolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	m = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return m, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("network: %v", err)
		}
	}
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func ready(m *Manager) bool {
	select {
	case <-m.Ready():
		return true
	default:
		return false
	}
}

func dhcpAnswers(l *Lease, err error) fakeDHCP {
	f := func() (*Lease, error) { return l, err }
	return fakeDHCP{log: new([]string), request: f, renew: f}
}

func TestStatic(t *testing.T) {
	lo := Link{Index: 1, Name: "lo", Loopback: true, MTU: 65536}
	eth := card(2, "eth0", false)
	eth.Up = false
	k := newFake(lo, eth)
	m := run(t, Options{Kernel: k, Interfaces: []config.Interface{{
		Match: config.Match{Name: "eth0"}, Addresses: []netip.Prefix{prefix("10.0.0.10/24")}, Gateway: addr("10.0.0.1"), MTU: 9000}}})
	<-m.Ready()
	s, _ := k.State()
	if !s.Links[0].Up {
		t.Error("lo is down")
	}
	if diff := cmp.Diff([]Route{{Link: 2, Gateway: addr("10.0.0.1"), Metric: baseMetric}}, s.Routes, cmpLease); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	eventually(t, "the status", func() bool { return len(m.Status()) == 1 })
	want := []status.Interface{{Name: "eth0", MAC: "52:54:00:00:00:02", Driver: "e1000e", Up: true, MTU: 9000,
		Addresses: []string{"10.0.0.10/24"}, Source: "static", Error: "no link"}}
	if diff := cmp.Diff(want, m.Status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	problems := []status.Problem{{Health: status.Degraded, What: "interface eth0: no link", Do: "plug the cable in, and look at the switch"}}
	if diff := cmp.Diff(problems, m.Problems()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// Without any configuration: the first card with a link, whenever it gets one.
func TestFirstWithALink(t *testing.T) {
	one, two := card(2, "eth0", false), card(3, "eth1", false)
	one.Up, two.Up = false, false
	k := newFake(one, two)
	l := lease("10.0.2.15/24")
	l.Gateway, l.DNS = addr("10.0.2.2"), []netip.Addr{addr("10.0.2.3")}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	m := run(t, Options{Kernel: k, DHCP: dhcpAnswers(l, nil), ResolvConf: resolv})
	eventually(t, "both cards up", func() bool { s, _ := k.State(); return s.Links[0].Up && s.Links[1].Up })
	eventually(t, "the problem", func() bool { return len(m.Problems()) == 1 })
	if ready(m) {
		t.Error("ready without a link")
	}
	if p := m.Problems()[0]; p.What != "no network card has a link" {
		t.Errorf("problem %+v", p)
	}

	k.change(func(s *State) { s.Links[1].Carrier = true })
	<-m.Ready()
	eventually(t, "the address in the status", func() bool {
		s := m.Status()
		return s[1].Source == "dhcp" && len(s[1].Addresses) == 1 && len(s[0].Addresses) == 0 && len(m.Problems()) == 0
	})
	eventually(t, "resolv.conf", func() bool {
		text, _ := os.ReadFile(resolv)
		return strings.Contains(string(text), "nameserver 10.0.2.3\n")
	})
	if s, _ := k.State(); len(s.Routes) != 1 || s.Routes[0].Gateway != l.Gateway {
		t.Errorf("routes %+v", s.Routes)
	}
}

// A card that is plugged in later gets its address, and one that goes takes its
// DHCP client along.
func TestHotPlug(t *testing.T) {
	k := newFake()
	m := run(t, Options{Kernel: k, DHCP: dhcpAnswers(lease("10.0.2.15/24"), nil),
		Interfaces: []config.Interface{{Match: config.Match{MAC: "52:54:00:00:00:02"}, DHCP: true}}})
	eventually(t, "the problem", func() bool { return len(m.Problems()) == 1 })
	if p := m.Problems()[0]; p.What != "there is no network card with mac 52:54:00:00:00:02" {
		t.Errorf("problem %+v", p)
	}
	k.change(func(s *State) { s.Links = append(s.Links, card(2, "eth0", true)) })
	<-m.Ready()
	k.change(func(s *State) { s.Links = nil })
	eventually(t, "the card's end", func() bool { return len(m.Status()) == 0 && len(m.Problems()) == 1 })
	k.change(func(s *State) { s.Links = append(s.Links, card(2, "eth0", true)) })
	eventually(t, "the address again", func() bool { s := m.Status(); return len(s) == 1 && len(s[0].Addresses) == 1 })
}

// An address of an earlier run stays until DHCP has spoken.
func TestRestartKeepsAddress(t *testing.T) {
	eth := card(2, "eth0", true)
	eth.Addresses = []netip.Prefix{prefix("10.0.2.99/24")}
	k := newFake(eth)
	m := run(t, Options{Kernel: k, DHCP: dhcpAnswers(nil, errors.New("no answer from a DHCP server"))})
	eventually(t, "the failure", func() bool { s := m.Status(); return len(s) == 1 && s[0].Error == "no answer from a DHCP server" })
	if a := m.Status()[0].Addresses; len(a) != 1 {
		t.Errorf("addresses %v", a)
	}

	k2 := newFake(eth)
	m2 := run(t, Options{Kernel: k2, DHCP: dhcpAnswers(lease("10.0.2.15/24"), nil)})
	<-m2.Ready()
	eventually(t, "the new address", func() bool {
		s := m2.Status()
		return len(s) == 1 && cmp.Equal(s[0].Addresses, []string{"10.0.2.15/24"})
	})
}

// What the kernel refuses is said, and does not stop the other cards.
func TestStepFails(t *testing.T) {
	k := newFake(card(2, "eth0", true), card(3, "eth1", true))
	k.fail[setMTU] = errors.New("numerical result out of range")
	m := run(t, Options{Kernel: k, Interfaces: []config.Interface{
		{Match: config.Match{Name: "eth0"}, MTU: 9000, Addresses: []netip.Prefix{prefix("10.0.0.1/24")}},
		{Match: config.Match{Name: "eth1"}, Addresses: []netip.Prefix{prefix("10.1.0.1/24")}}}})
	<-m.Ready()
	eventually(t, "the status", func() bool { return len(m.Status()) == 2 })
	if s := m.Status(); s[0].Error != "cannot set the MTU of eth0 to 9000: numerical result out of range" || s[1].Error != "" || len(s[0].Addresses) != 1 || len(s[1].Addresses) != 1 {
		t.Errorf("status %+v", s)
	}
}
