package scsi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// AccessState is how well a target port group reaches the units (SPC-4 section
// 5.15.2.4, table 256).
type AccessState byte

const (
	ActiveOptimized    AccessState = 0x0
	ActiveNonOptimized AccessState = 0x1
	Standby            AccessState = 0x2
	Unavailable        AccessState = 0x3
	Transitioning      AccessState = 0xf
)

// PortGroup is a target port group: ports that share an access state.
type PortGroup struct {
	ID    uint16 // unlike every other group's
	State AccessState
	// Preferred says that initiators should use this group if they can.
	Preferred bool
	Ports     []Port // GroupID is that of the group
}

const (
	accessStateChanged  code = 0x2a06
	accessTransitioning code = 0x040a
	accessStandby       code = 0x040b
	accessUnavailable   code = 0x040c
	maxPorts                 = 255 // in a group, and groups in a device
)

// SetPortGroups tells which target port groups there are, and their states.
// The device server refuses what a state doesn't allow, and tells initiators of
// a change by a unit attention. Without a call all groups of the ports that
// the device knows are active/optimized. A nexus through a port that no
// group has is treated as active/optimized.
func (d *Device) SetPortGroups(groups ...PortGroup) error {
	if len(groups) == 0 || len(groups) > maxPorts {
		return fmt.Errorf("cannot set port groups: %d of them", len(groups))
	}
	var all []PortGroup
	ids := make(map[uint16]bool)
	ports := make(map[uint16]bool)
	for _, g := range groups {
		if g.State > Unavailable && g.State != Transitioning {
			return fmt.Errorf("cannot set port groups: no access state %#x", byte(g.State))
		}
		if ids[g.ID] || len(g.Ports) > maxPorts {
			return fmt.Errorf("cannot set port groups: group %d is there twice, or has too many ports", g.ID)
		}
		ids[g.ID] = true
		g.Ports = slices.Clone(g.Ports)
		for i := range g.Ports {
			p := &g.Ports[i]
			if p.RelativeID == 0 || ports[p.RelativeID] {
				return errors.New("cannot set port groups: a relative port identifier is 0 or there twice")
			}
			ports[p.RelativeID], p.GroupID = true, g.ID
		}
		all = append(all, g)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.groups.Swap(&all)
	if old != nil && !slices.EqualFunc(*old, all, func(a, b PortGroup) bool { return a.ID == b.ID && a.State == b.State }) {
		d.accessChanged.Store(true)
		for n := range d.nexuses {
			n.attention(accessStateChanged)
		}
	}
	return nil
}

// attention raises a unit attention on all paths of the nexus.
func (n *Nexus) attention(c code) {
	for _, p := range *n.paths.Load() {
		p.attentions.add(c)
	}
}

// portGroups returns the target port groups:
// those that were set, else those of the ports the device knows.
func (d *Device) portGroups() []PortGroup {
	if g := d.groups.Load(); g != nil {
		return *g
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var groups []PortGroup
	for _, p := range d.ports {
		i := slices.IndexFunc(groups, func(g PortGroup) bool { return g.ID == p.GroupID })
		if i < 0 {
			i = len(groups)
			groups = append(groups, PortGroup{ID: p.GroupID})
		}
		groups[i].Ports = append(groups[i].Ports, p)
	}
	return groups
}

func (d *Device) portCount() int {
	n := 0
	for _, g := range d.portGroups() {
		n += len(g.Ports)
	}
	return n
}

// accessState returns the state of the group that the nexus goes through.
func (n *Nexus) accessState() AccessState {
	all := n.device.groups.Load()
	if all == nil {
		return ActiveOptimized
	}
	for _, g := range *all {
		if g.ID == n.port.GroupID {
			return g.State
		}
	}
	return ActiveOptimized
}

// inStandby has the operation codes that work through a standby port (SPC-4
// section 5.15.2.4.4).
var inStandby = [256]bool{
	0x03: true, 0x12: true, 0x15: true, 0x1a: true, 0x1c: true, 0x1d: true, 0x4c: true, 0x4d: true,
	0x55: true, 0x5a: true, 0x5e: true, 0x5f: true, 0xa0: true, 0xa3: true, 0xa4: true,
}

// whileUnavailable has those that work through an unavailable port, and while
// the state changes (sections 5.15.2.4.5 and 5.15.2.4.6).
var whileUnavailable = [256]bool{0x03: true, 0x12: true, 0xa0: true, 0xa3: true, 0xa4: true}

// checkAccess refuses what the access state of the port doesn't allow.
func (t *Task) checkAccess() {
	op := t.cdb[0]
	switch state := t.nexus.accessState(); {
	case t.path == nil, state == ActiveOptimized, state == ActiveNonOptimized, whileUnavailable[op]:
	case state == Standby && inStandby[op]:
	case state == Standby:
		t.fail(sense{key: notReady, code: accessStandby})
	case state == Unavailable:
		t.fail(sense{key: notReady, code: accessUnavailable})
	default:
		t.fail(sense{key: notReady, code: accessTransitioning})
	}
}

// accessCommands report on target port groups.
func accessCommands() []command {
	return []command{{
		name:       "REPORT TARGET PORT GROUPS",
		usage:      []byte{0xa3, 0xea, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{6, 4},
		sharing:    sharedAlways,
		types:      anyType,
		run:        (*Task).reportPortGroups,
	}, {
		name:      "SET TARGET PORT GROUPS",
		usage:     []byte{0xa4, 0x0a, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction: DataOut,
		flags:     action,
		types:     anyType,
		want:      (*Task).wantPortGroups,
		run:       (*Task).setPortGroups,
	}}
}

// reportPortGroups serves REPORT TARGET PORT GROUPS (SPC-4 section 6.37), in
// both formats of its header.
func (t *Task) reportPortGroups() Result {
	b := make([]byte, 4)
	switch t.cdb[1] >> 5 {
	case 0:
	case 1:
		b = append(b, 0x10, 0, 0, 0) // implicit transition time: none told
	default:
		return t.check(badCDB(1, 7))
	}
	groups := t.nexus.device.portGroups()
	supported, status := byte(0x01), byte(0) // AO_SUP
	if len(groups) > 1 || groups[0].State != ActiveOptimized {
		supported = 0x8f // all but logical block dependent
	}
	if t.nexus.device.accessChanged.Load() {
		status = 2 // implicitly
	}
	for _, g := range groups {
		first := byte(g.State)
		if g.Preferred {
			first |= 0x80
		}
		b = append(b, first, supported, byte(g.ID>>8), byte(g.ID), 0, status, 0, byte(len(g.Ports)))
		for _, p := range g.Ports {
			b = append(b, 0, 0, byte(p.RelativeID>>8), byte(p.RelativeID))
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return t.reply(b)
}

// maxGroupList bounds the parameter list of SET TARGET PORT GROUPS.
const maxGroupList = 4 + 4*maxPorts

func (t *Task) wantPortGroups() int {
	return int(min(field{6, 4}.read(t.cdb), maxGroupList+1))
}

// setPortGroups serves SET TARGET PORT GROUPS (SPC-4 section 6.45). States
// change implicitly only, which standard INQUIRY data says, so what may be
// asked for is what is so already.
func (t *Task) setPortGroups() Result {
	switch {
	case t.want > maxGroupList:
		return t.check(badCDB(6, noBit))
	case t.want == 0:
		return Result{Status: Good}
	case len(t.out) < t.want, t.want < 4, t.want%4 != 0:
		return t.check(illegal(parameterListLength))
	}
	list := t.out[:t.want]
	for at := 4; at < len(list); at += 4 {
		id := binary.BigEndian.Uint16(list[at+2:])
		i := slices.IndexFunc(t.nexus.device.portGroups(), func(g PortGroup) bool { return g.ID == id })
		if i < 0 {
			return t.check(badParameter(at + 2))
		}
		if list[at] != byte(t.nexus.device.portGroups()[i].State) {
			return t.check(badParameter(at))
		}
	}
	return Result{Status: Good}
}
