package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netlinkKernel is the Kernel of this machine, in the network namespace in
// which it was made.
type netlinkKernel struct {
	h     *netlink.Handle
	sysfs string
}

var _ Kernel = (*netlinkKernel)(nil)

func newNetlink() (*netlinkKernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open netlink: %w", err)
	}
	return &netlinkKernel{h: h, sysfs: "/sys"}, nil
}

func (k *netlinkKernel) close() { k.h.Close() }

// State implements Kernel. A dump that was interrupted by a change is good
// enough: the change is also seen by Watch.
func (k *netlinkKernel) State() (State, error) {
	links, err := k.h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return State{}, fmt.Errorf("cannot list links: %w", err)
	}
	addrs, err := k.h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return State{}, fmt.Errorf("cannot list addresses: %w", err)
	}
	routes, err := k.h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return State{}, fmt.Errorf("cannot list routes: %w", err)
	}
	var s State
	for _, l := range links {
		s.Links = append(s.Links, k.link(l, addrs))
	}
	for _, r := range routes {
		if r.Protocol == unix.RTPROT_RA {
			continue // the kernel keeps what routers advertise
		}
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			s.Routes = append(s.Routes, Route{Link: r.LinkIndex, Gateway: gw.Unmap(), Metric: r.Priority})
		}
	}
	return s, nil
}

func (k *netlinkKernel) link(l netlink.Link, addrs []netlink.Addr) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU,
		Loopback: a.Flags&net.FlagLoopback != 0,
		Ethernet: a.EncapType == "ether" && (l.Type() == "device" || l.Type() == "veth"),
		Up:       a.Flags&net.FlagUp != 0,
		Carrier:  a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Flags&net.FlagUp != 0,
	}
	if driver, err := os.Readlink(filepath.Join(k.sysfs, "class/net", a.Name, "device/driver")); err == nil {
		out.Driver = filepath.Base(driver)
	}
	for _, addr := range addrs {
		ip, ok := netip.AddrFromSlice(addr.IP)
		if addr.LinkIndex != a.Index || !ok {
			continue
		}
		ones, _ := addr.Mask.Size()
		p := netip.PrefixFrom(ip.Unmap(), ones)
		out.Addresses = append(out.Addresses, p)
		if addr.Flags&unix.IFA_F_PERMANENT != 0 {
			out.Permanent = append(out.Permanent, p)
		}
	}
	return out
}

// Apply implements Kernel.
func (k *netlinkKernel) Apply(s Step) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: s.link, Name: s.name}}
	switch s.verb {
	case setUp:
		return k.h.LinkSetUp(link)
	case setMTU:
		return k.h.LinkSetMTU(link, s.mtu)
	case addAddress:
		return k.h.AddrReplace(link, &netlink.Addr{IPNet: ipNet(s.address)})
	case removeAddress:
		if err := k.h.AddrDel(link, &netlink.Addr{IPNet: ipNet(s.address)}); !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
		return nil
	case addRoute:
		return k.h.RouteReplace(defaultRoute(s.route))
	case removeRoute:
		if err := k.h.RouteDel(defaultRoute(s.route)); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}
	return fmt.Errorf("unknown step %v", s)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// defaultRoute builds the kernel's form of a route. The gateway counts as
// reachable on the link even outside of its networks (some providers do that).
func defaultRoute(r Route) *netlink.Route {
	zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.Gateway.Is6() {
		zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return &netlink.Route{LinkIndex: r.Link, Dst: ipNet(zero), Gw: r.Gateway.AsSlice(), Priority: r.Metric,
		Flags: int(netlink.FLAG_ONLINK), Protocol: unix.RTPROT_DHCP}
}

// resubscribeDelay is the pause after a subscription broke.
const resubscribeDelay = time.Second

// Watch implements Kernel.
func (k *netlinkKernel) Watch(ctx context.Context) (<-chan struct{}, error) {
	updates, stop, err := subscribe()
	if err != nil {
		return nil, err
	}
	changes := make(chan struct{}, 1)
	tell := func() {
		select {
		case changes <- struct{}{}:
		default: // one is waiting already
		}
	}
	go func() {
		defer close(changes)
		for {
			drain(ctx, updates, tell)
			stop()
			for range updates { // its end
			}
			// The subscription broke, or ctx ended. Messages were lost, so
			// tell of a change once there is a new one.
			for err := errors.New("none yet"); err != nil; {
				select {
				case <-ctx.Done():
					return
				case <-time.After(resubscribeDelay):
				}
				updates, stop, err = subscribe()
			}
			tell()
		}
	}()
	return changes, nil
}

// drain tells of every update until there are no more or ctx ends.
func drain(ctx context.Context, updates <-chan netlink.LinkUpdate, tell func()) {
	for {
		select {
		case _, ok := <-updates:
			if !ok {
				return
			}
			tell()
		case <-ctx.Done():
			return
		}
	}
}

// subscribe asks for link changes. After stop the channel is closed.
func subscribe() (updates chan netlink.LinkUpdate, stop func(), err error) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return nil, nil, fmt.Errorf("cannot watch for link changes: %w", err)
	}
	return updates, func() { close(done) }, nil
}
