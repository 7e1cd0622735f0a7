// Package network brings the appliance's network cards to the state that the
// configuration asks for and keeps them there: addresses by DHCP or fixed,
// default routes, MTU, and /etc/resolv.conf.
//
// plan.go decides and is pure; kernel.go is what it may do; keeper.go holds a
// DHCP lease. Everything is driven by events: a card may appear, and a cable
// may be plugged in, at any time. There is no time limit after which it gives
// up.
//
// It configures plain Ethernet cards. Bonds, VLANs and IPv6 address
// configuration by router advertisement (which the kernel does by itself) are
// not its business.
package network

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sanstick/appliance/config"
	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

const (
	retryDelay   = 5 * time.Second  // before a step that failed is tried again
	patience     = 30 * time.Second // before it is said that there is no link
	maxResolvers = 3                // what libc reads of resolv.conf
)

// Options says what a Manager does and with what.
type Options struct {
	Log *slog.Logger // nil discards
	// Interfaces is the wanted state; none stands for DHCP on the first
	// interface with a link.
	Interfaces []config.Interface
	Hostname   string // told to DHCP servers; "" for none
	ResolvConf string // the file for name servers; "" is /etc/resolv.conf
	Kernel     Kernel // nil is the real one
	DHCP       DHCP   // nil is a real client
}

// Manager is a task that looks after the network.
type Manager struct {
	o     Options
	log   *slog.Logger
	ready chan struct{}
	once  sync.Once

	// These belong to Run's goroutine.
	assigned  map[int]int // configuration's index -> link's index
	keepers   map[int]*running
	reports   chan report
	resolvers string

	mu        sync.Mutex
	published []status.Interface
	problems  []status.Problem
}

var _ task.Task = (*Manager)(nil)

// New makes a manager; Run starts it.
func New(o Options) *Manager {
	if len(o.Interfaces) == 0 {
		o.Interfaces = []config.Interface{{DHCP: true}}
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	m := &Manager{o: o, log: o.Log, ready: make(chan struct{}),
		assigned: map[int]int{}, keepers: map[int]*running{}, reports: make(chan report)}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

func (m *Manager) String() string { return "network" }

// Ready is closed when the first address that the configuration asks for is in
// place.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Status returns the network cards as last seen, sorted by name.
func (m *Manager) Status() []status.Interface {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.published)
}

// Problems returns what a person should know about the network: a configured
// interface without a card, a card without an address.
func (m *Manager) Problems() []status.Problem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.problems)
}

// Run works until ctx ends, then stops its DHCP clients. Addresses stay, so
// that a restart of the daemon does not cut connections. It fails only if the
// kernel cannot be watched.
func (m *Manager) Run(ctx context.Context) error {
	kernel := m.o.Kernel
	if kernel == nil {
		k, err := newNetlink()
		if err != nil {
			return err
		}
		defer k.close()
		kernel = k
	}
	if m.o.DHCP == nil {
		m.o.DHCP = dhcpClient{hostname: m.o.Hostname}
	}
	ctx, cancel := context.WithCancel(ctx)
	changes, err := kernel.Watch(ctx)
	if err != nil {
		cancel()
		return err
	}
	defer func() {
		cancel()
		for _, k := range m.keepers {
			<-k.done
		}
		for range changes { // its end
		}
	}()

	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	for {
		var retry <-chan time.Time
		var timer *time.Timer
		if failed := m.reconcile(ctx, kernel); failed {
			timer = time.NewTimer(retryDelay)
			retry = timer.C
		}
		select {
		case <-changes:
		case r := <-m.reports:
			m.take(r)
		case <-retry:
		case <-impatient.C:
			m.complain()
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// reconcile brings the kernel a step closer to the configuration and publishes
// what it finds. It tells whether something failed and should be tried again.
func (m *Manager) reconcile(ctx context.Context, kernel Kernel) (failed bool) {
	before, err := kernel.State()
	if err != nil {
		m.log.Error("Cannot read the state of the network", "error", err)
		return true
	}
	m.assigned = assign(m.o.Interfaces, before.Links, m.assigned)
	m.keep(ctx, before)

	after, errs := m.apply(kernel, before)
	for _, w := range m.wanted().links {
		l, ok := after.link(w.link)
		if ok && slices.ContainsFunc(w.addresses, func(a netip.Prefix) bool { return slices.Contains(l.Addresses, a) }) {
			m.once.Do(func() { close(m.ready) })
		}
	}
	m.writeResolvConf()
	m.publish(after, errs)
	return len(errs) > 0
}

// maxRounds bounds the plans of one apply: the kernel may take more along than
// a step says, and the next plan puts it back.
const maxRounds = 3

// apply plans and does steps until there are none left. It returns the state
// then, and the first error of each link.
func (m *Manager) apply(kernel Kernel, s State) (State, map[int]error) {
	errs := map[int]error{}
	for range maxRounds {
		steps := plan(m.wanted(), s)
		if len(steps) == 0 || len(errs) > 0 {
			break
		}
		for _, step := range steps {
			// After an error the other steps are done all the same: better an
			// address without its MTU or route than no address.
			if err := kernel.Apply(step); err != nil {
				m.log.Warn("Cannot change the network", "step", step.String(), "error", err)
				errs[step.link] = cmp.Or(errs[step.link], fmt.Errorf("cannot %s: %w", step, err))
				continue
			}
			m.log.Info("Network changed", "step", step.String())
		}
		next, err := kernel.State()
		if err != nil {
			m.log.Error("Cannot read the state of the network", "error", err)
			break
		}
		s = next
	}
	return s, errs
}

// wanted is what the configuration and the leases ask of the links.
func (m *Manager) wanted() desired {
	d := desired{watch: m.waitsForLink()}
	for i, c := range m.o.Interfaces {
		index, ok := m.assigned[i]
		if !ok {
			continue
		}
		w := wantedLink{link: index, mtu: c.MTU, addresses: slices.Clone(c.Addresses), metric: baseMetric + i}
		if c.Gateway.IsValid() {
			w.gateways = append(w.gateways, c.Gateway)
		}
		if k := m.keepers[index]; c.DHCP && k != nil {
			if k.lease != nil {
				w.addresses = append(w.addresses, k.lease.Address)
				if k.lease.Gateway.IsValid() && !slices.ContainsFunc(w.gateways, netip.Addr.Is4) {
					w.gateways = append(w.gateways, k.lease.Gateway)
				}
			}
			// Until the first answer what an earlier run left stays.
			w.keepOthers = !k.heard
		}
		d.links = append(d.links, w)
	}
	return d
}

// waitsForLink tells whether an interface without a match has no link yet.
func (m *Manager) waitsForLink() bool {
	for i, c := range m.o.Interfaces {
		if _, ok := m.assigned[i]; !ok && c.Match == (config.Match{}) {
			return true
		}
	}
	return false
}

// writeResolvConf writes the name servers that DHCP brought, if they changed.
func (m *Manager) writeResolvConf() {
	var leases []*Lease
	for i := range m.o.Interfaces {
		if index, ok := m.assigned[i]; ok && m.keepers[index] != nil && m.keepers[index].lease != nil {
			leases = append(leases, m.keepers[index].lease)
		}
	}
	text := resolvConf(leases)
	if text == m.resolvers || text == "" {
		return
	}
	if err := writeFile(m.o.ResolvConf, text); err != nil {
		m.log.Warn("Cannot write the name servers", "error", err)
		return
	}
	m.resolvers = text
}

// complain says once that there is still no address.
func (m *Manager) complain() {
	select {
	case <-m.ready:
	default:
		m.log.Warn("There is still no network address; waiting on")
	}
}

// publish makes the state readable by Status and Problems.
func (m *Manager) publish(s State, errs map[int]error) {
	var interfaces []status.Interface
	var problems []status.Problem
	for _, l := range s.Links {
		if l.Loopback {
			continue
		}
		i := status.Interface{Name: l.Name, MAC: l.MAC, Driver: l.Driver, Up: l.Up, Carrier: l.Carrier, MTU: l.MTU}
		for _, a := range l.Addresses {
			i.Addresses = append(i.Addresses, a.String())
		}
		for c, index := range m.assigned {
			if index == l.Index {
				m.describe(&i, m.o.Interfaces[c], l, errs[index])
			}
		}
		if i.Error != "" {
			problems = append(problems, status.Problem{Health: status.Degraded,
				What: "interface " + l.Name + ": " + i.Error, Do: advice(l)})
		}
		interfaces = append(interfaces, i)
	}
	slices.SortFunc(interfaces, func(a, b status.Interface) int { return cmp.Compare(a.Name, b.Name) })
	for c, iface := range m.o.Interfaces {
		if _, ok := m.assigned[c]; !ok {
			problems = append(problems, missing(iface.Match))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.published, m.problems = interfaces, problems
}

// describe fills in what is known of a configured link.
func (m *Manager) describe(i *status.Interface, c config.Interface, l Link, err error) {
	k := m.keepers[l.Index]
	switch {
	case c.DHCP && len(c.Addresses) > 0:
		i.Source = "dhcp and static"
	case c.DHCP:
		i.Source = "dhcp"
	default:
		i.Source = "static"
	}
	switch {
	case err != nil:
		i.Error = err.Error()
	case l.Up && !l.Carrier:
		i.Error = "no link"
	case c.DHCP && k != nil && k.err != nil:
		i.Error = k.err.Error()
	}
}

func advice(l Link) string {
	if !l.Carrier {
		return "plug the cable in, and look at the switch"
	}
	return "look at the DHCP server and the switch, or give a fixed address in the configuration; the appliance keeps trying"
}

// missing is the problem of a configured interface without a card.
func missing(match config.Match) status.Problem {
	if match == (config.Match{}) {
		return status.Problem{Health: status.Degraded, What: "no network card has a link",
			Do: "plug a network cable in; the appliance notices"}
	}
	var parts []string
	for _, p := range [][2]string{{"mac", match.MAC}, {"name", match.Name}, {"driver", match.Driver}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	return status.Problem{Health: status.Degraded, What: "there is no network card with " + strings.Join(parts, ", "),
		Do: "correct the interface's match in the configuration (sanctl status lists the cards), or put the card in"}
}
