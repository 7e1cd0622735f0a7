package scsi

import (
	"encoding/binary"
	"fmt"
	"testing"

	"sanstick/target/block/memdev"
)

// cluster is a rig with several nexuses: a, b, c and d.
type cluster struct {
	*rig
	t     testing.TB
	nodes map[string]*Nexus
}

func nodePort(name string) string {
	return fmt.Sprintf("iqn.2006-12.example:%s,i,0x00000000000%s", name, name)
}

func newCluster(t testing.TB, o UnitOptions) *cluster {
	t.Helper()
	c := &cluster{rig: newRig(t, memdev.Options{}, o), t: t, nodes: make(map[string]*Nexus)}
	for _, name := range []string{"a", "b", "c", "d"} {
		c.nodes[name] = c.dev.NewNexus(nodePort(name), testPort, nil)
		wantSense(t, run(c.nodes[name], 0, "00", nil), unitAttention, powerOnReset)
	}
	return c
}

// parameters makes a parameter list without TransportIDs.
func parameters(key, newKey uint64, flags byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, key)
	b = binary.BigEndian.AppendUint64(b, newKey)
	return append(b, 0, 0, 0, 0, flags, 0, 0, 0)
}

// prOut sends PERSISTENT RESERVE OUT.
func (c *cluster) prOut(node string, action byte, kind prType, list []byte) Result {
	c.t.Helper()
	return run(c.nodes[node], 0, fmt.Sprintf("5f %02x %02x 0000 %08x 00", action, byte(kind), len(list)), list)
}

// do is prOut for what must succeed.
func (c *cluster) do(node string, action byte, kind prType, key, newKey uint64) {
	c.t.Helper()
	if r := c.prOut(node, action, kind, parameters(key, newKey, 0)); r.Status != Good {
		c.t.Fatalf("%s: service action %d: %v, sense %x", node, action, r.Status, r.Sense)
	}
}

// conflict is prOut for what must conflict.
func (c *cluster) conflict(node string, action byte, kind prType, key, newKey uint64) {
	c.t.Helper()
	if r := c.prOut(node, action, kind, parameters(key, newKey, 0)); r.Status != ReservationConflict {
		c.t.Fatalf("%s: service action %d: %v, want a conflict", node, action, r.Status)
	}
}

// told checks the unit attention that waits for a node; 0 for none.
func (c *cluster) told(node string, want code) {
	c.t.Helper()
	r := run(c.nodes[node], 0, "00", nil)
	if want == 0 {
		if r.Status != Good {
			c.t.Errorf("%s: %v, sense %x, want no unit attention", node, r.Status, r.Sense)
		}
		return
	}
	wantSense(c.t, r, unitAttention, want)
}

// keys are those of READ KEYS.
func (c *cluster) keys() string {
	c.t.Helper()
	b := c.good(c.t, "5e 00 0000000000 ffff 00", nil)
	if n := binary.BigEndian.Uint32(b[4:]); int(n) != len(b)-8 {
		c.t.Errorf("additional length %d of %d bytes", n, len(b))
	}
	s := ""
	for at := 8; at < len(b); at += 8 {
		s += fmt.Sprintf("%x ", binary.BigEndian.Uint64(b[at:]))
	}
	return s
}

// reserved is READ RESERVATION: key and type.
func (c *cluster) reserved() string {
	c.t.Helper()
	b := c.good(c.t, "5e 01 0000000000 ffff 00", nil)
	if len(b) == 8 {
		return ""
	}
	return fmt.Sprintf("%x/%d", binary.BigEndian.Uint64(b[8:]), b[21])
}

func (c *cluster) want(keys, reserved string) {
	c.t.Helper()
	if got := c.keys(); got != keys {
		c.t.Errorf("keys %q, want %q", got, keys)
	}
	if got := c.reserved(); got != reserved {
		c.t.Errorf("reservation %q, want %q", got, reserved)
	}
}

func TestRegister(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	c.do("a", prRegister, 0, 0, 0) // nothing to do
	c.want("", "")
	c.conflict("a", prRegister, 0, 1, 0xa)
	c.do("a", prRegister, 0, 0, 0xa)
	c.conflict("a", prRegister, 0, 0, 0xa)
	c.do("b", prRegisterIgnore, 0, 0x77, 0xa) // keys may be the same
	c.want("a a ", "")
	c.do("b", prRegisterIgnore, 0, 0x77, 0xb)
	c.do("a", prRegister, 0, 0xa, 0xa1)
	c.want("a1 b ", "")
	c.do("b", prRegister, 0, 0xb, 0)
	c.do("a", prRegisterIgnore, 0, 0, 0)
	c.want("", "")
	c.do("a", prRegisterIgnore, 0, 0, 0)
	b := c.good(t, "5e 00 0000000000 0004 00", nil)
	wantBytes(t, "PRGENERATION", b, "00000006") // what did nothing doesn't count
}

// Who loses what, and who is told, when the reservation ends.
func TestRelease(t *testing.T) {
	for _, kind := range []prType{1, 3, 5, 6, 7, 8} {
		c := newCluster(t, UnitOptions{})
		c.do("a", prRegister, 0, 0, 0xa)
		c.do("b", prRegister, 0, 0, 0xb)
		c.conflict("c", prReserve, kind, 0, 0)
		c.conflict("a", prReserve, kind, 0xb, 0)
		c.do("a", prReserve, kind, 0xa, 0)
		held := fmt.Sprintf("a/%d", kind)
		if kind.allHold() {
			held = fmt.Sprintf("0/%d", kind)
			c.do("b", prReserve, kind, 0xb, 0) // it holds it, too
		} else {
			c.conflict("b", prReserve, kind, 0xb, 0)
		}
		c.do("a", prReserve, kind, 0xa, 0)
		for _, other := range []prType{1, 3, 5, 6, 7, 8} {
			if other == kind {
				continue
			}
			c.conflict("a", prReserve, other, 0xa, 0)
			wantSense(t, c.prOut("a", prRelease, other, parameters(0xa, 0, 0)), illegalRequest, invalidRelease)
			if !kind.allHold() {
				c.do("b", prRelease, other, 0xb, 0) // holds nothing: nothing happens
			}
		}
		c.conflict("c", prRelease, kind, 0, 0)
		c.conflict("a", prRelease, kind, 0xb, 0)
		c.want("a b ", held)
		c.do("a", prRelease, kind, 0xa, 0)
		c.told("a", 0)
		c.told("c", 0)
		if kind.shared() {
			c.told("b", reservationsReleased)
		} else {
			c.told("b", 0)
		}
		c.want("a b ", "")
		c.do("a", prRelease, kind, 0xa, 0)

		// The holder unregisters.
		c.do("a", prReserve, kind, 0xa, 0)
		c.do("a", prRegister, 0, 0xa, 0)
		if kind.allHold() {
			c.want("b ", held)
			c.do("b", prRegister, 0, 0xb, 0)
			c.want("", "")
			c.told("a", 0)
			continue
		}
		c.want("b ", "")
		if kind.shared() {
			c.told("b", reservationsReleased)
		} else {
			c.told("b", 0)
		}
	}
}

func TestClear(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	c.do("a", prRegister, 0, 0, 0xa)
	c.do("b", prRegister, 0, 0, 0xb)
	c.do("a", prReserve, writeExclusive, 0xa, 0)
	c.conflict("c", prClear, 0, 0, 0)
	c.do("b", prClear, 0, 0xb, 0)
	c.want("", "")
	c.told("a", reservationsPreempted)
	c.told("b", 0)
	c.told("c", 0)
}

func TestPreempt(t *testing.T) {
	for _, action := range []byte{prPreempt, prPreemptAbort} {
		for _, tt := range []struct {
			name     string
			kind     prType // held by a; 0 for none
			by       string
			newKey   uint64
			newKind  prType
			keys     string // a and d have key a, b has b, c has c
			reserved string
			told     map[string]code
		}{
			{"the holder", 1, "b", 0xa, 3, "b c ", "b/3", map[string]code{"a": registrationsPreempted, "d": registrationsPreempted, "c": reservationsReleased}},
			{"the holder, same type", 6, "b", 0xa, 6, "b c ", "b/6", map[string]code{"a": registrationsPreempted, "d": registrationsPreempted}},
			{"the holder himself", 5, "a", 0xa, 6, "a b c ", "a/6", map[string]code{"d": registrationsPreempted, "b": reservationsReleased, "c": reservationsReleased}},
			{"by one of the holder's key", 5, "d", 0xa, 5, "b c a ", "a/5", map[string]code{"a": registrationsPreempted}},
			{"by all types", 3, "b", 0xa, 8, "b c ", "0/8", map[string]code{"a": registrationsPreempted, "d": registrationsPreempted, "c": reservationsReleased}},
			{"another", 1, "a", 0xb, 0, "a c a ", "a/1", map[string]code{"b": registrationsPreempted}},
			{"oneself, not the holder", 1, "b", 0xb, 0, "a c a ", "a/1", nil},
			{"no reservation", 0, "b", 0xa, 0, "b c ", "", map[string]code{"a": registrationsPreempted, "d": registrationsPreempted}},
			{"all", 7, "b", 0, 3, "b ", "b/3", map[string]code{"a": registrationsPreempted, "c": registrationsPreempted, "d": registrationsPreempted}},
			{"all, same type", 8, "b", 0, 8, "b ", "0/8", map[string]code{"a": registrationsPreempted, "c": registrationsPreempted, "d": registrationsPreempted}},
			{"some of all", 8, "b", 0xa, 1, "b c ", "0/8", map[string]code{"a": registrationsPreempted, "d": registrationsPreempted}},
		} {
			t.Run(fmt.Sprint(tt.name, " ", action), func(t *testing.T) {
				c := newCluster(t, UnitOptions{})
				keys := map[string]uint64{"a": 0xa, "b": 0xb, "c": 0xc, "d": 0xa}
				for _, n := range []string{"a", "b", "c", "d"} {
					c.do(n, prRegister, 0, 0, keys[n])
				}
				if tt.kind != 0 {
					c.do("a", prReserve, tt.kind, 0xa, 0)
				}
				c.conflict(tt.by, action, tt.newKind, 0x99, tt.newKey)
				c.do(tt.by, action, tt.newKind, keys[tt.by], tt.newKey)
				if got := c.reserved(); got != tt.reserved {
					t.Errorf("reservation %q, want %q", got, tt.reserved)
				}
				got, want := map[rune]int{}, map[rune]int{}
				for _, k := range c.keys() {
					got[k]++
				}
				for _, k := range tt.keys {
					want[k]++
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("keys %q, want %q", c.keys(), tt.keys)
				}
				for _, n := range []string{"a", "b", "c", "d"} {
					c.told(n, tt.told[n])
				}
			})
		}
		c := newCluster(t, UnitOptions{})
		c.conflict("a", action, 1, 0, 0)
		c.do("a", prRegister, 0, 0, 0xa)
		c.conflict("a", action, 1, 0xa, 0xb) // nobody has that key
		wantSense(t, c.prOut("a", action, 1, parameters(0xa, 0, 0)), illegalRequest, invalidFieldInParameter)
		c.do("a", prReserve, 1, 0xa, 0)
		wantSense(t, c.prOut("a", action, 1, parameters(0xa, 0, 0)), illegalRequest, invalidFieldInParameter)
		wantSense(t, c.prOut("a", action, 2, parameters(0xa, 0xa, 0)), illegalRequest, invalidFieldInCDB)
		wantSense(t, c.prOut("a", action, 0x11, parameters(0xa, 0xa, 0)), illegalRequest, invalidFieldInCDB)
	}
}

func moveList(key, newKey uint64, flags byte, port uint16, id string) []byte {
	b := binary.BigEndian.AppendUint64(nil, key)
	b = binary.BigEndian.AppendUint64(b, newKey)
	b = append(b, 0, flags)
	b = binary.BigEndian.AppendUint16(b, port)
	list := appendTransportID(nil, id)
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	return append(b, list...)
}

func TestRegisterAndMove(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	move := func(node string, key, newKey uint64, flags byte, port uint16, to string) Result {
		return c.prOut(node, prRegisterMove, 0, moveList(key, newKey, flags, port, nodePort(to)))
	}
	conflict := func(r Result) {
		t.Helper()
		if r.Status != ReservationConflict {
			t.Errorf("%v, sense %x, want a conflict", r.Status, r.Sense)
		}
	}
	good := func(r Result) {
		t.Helper()
		if r.Status != Good {
			t.Errorf("%v, sense %x", r.Status, r.Sense)
		}
	}
	conflict(move("a", 0, 1, 0, 1, "b"))
	c.do("a", prRegister, 0, 0, 0xa)
	wantSense(t, move("a", 0xa, 1, 0, 1, "b"), illegalRequest, invalidFieldInCDB) // nothing to move
	c.do("a", prReserve, exclusiveAccess, 0xa, 0)
	conflict(move("a", 0xb, 1, 0, 1, "b"))
	wantSense(t, move("a", 0xa, 0, 0, 1, "b"), illegalRequest, invalidFieldInParameter)
	wantSense(t, move("a", 0xa, 1, 0, 1, "a"), illegalRequest, invalidFieldInParameter)
	wantSense(t, move("a", 0xa, 1, 0, 2, "b"), illegalRequest, invalidFieldInParameter)
	wantSense(t, move("a", 0xa, 1, 4, 1, "b"), illegalRequest, invalidFieldInParameter)
	wantSense(t, move("a", 0xa, 1, 1, 1, "b"), illegalRequest, invalidFieldInParameter) // no store for APTPL
	good(move("a", 0xa, 0xb, 0, 1, "b"))
	c.want("a b ", "b/3")
	conflict(move("a", 0xa, 1, 0, 1, "c"))
	good(move("b", 0xb, 0xa1, 2, 1, "a")) // unregisters b, changes a's key
	c.want("a1 ", "a1/3")
	for _, n := range []string{"a", "b", "c"} {
		c.told(n, 0)
	}
	c.do("a", prRelease, exclusiveAccess, 0xa1, 0)
	c.do("a", prReserve, exclusiveAccessAll, 0xa1, 0)
	conflict(move("a", 0xa1, 1, 0, 1, "b"))
}

// SPEC_I_PT registers others, ALL_TG_PT all ports of the target.
func TestRegisterOthers(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	second := Port{RelativeID: 2, GroupID: 2, Name: testName + ",t,0x0002"}
	if err := c.dev.SetPortGroups(PortGroup{ID: 2, State: ActiveOptimized, Ports: []Port{testPort, second}}); err != nil {
		t.Fatal(err)
	}
	list := func(key, newKey uint64, flags byte, ids ...[]byte) []byte {
		b := parameters(key, newKey, flags|0x08)
		var all []byte
		for _, id := range ids {
			all = append(all, id...)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
		return append(b, all...)
	}
	id := func(name string) []byte { return appendTransportID(nil, nodePort(name)) }
	good := func(r Result) {
		t.Helper()
		if r.Status != Good {
			t.Errorf("%v, sense %x", r.Status, r.Sense)
		}
	}
	good(c.prOut("a", prRegister, 0, list(0, 0xa, 0x04, id("b"), id("b"), id("e"))))
	c.want("a a a a a a ", "")
	full := c.good(t, "5e 03 0000000000 ffff 00", nil)
	if n := binary.BigEndian.Uint32(full[4:]); int(n) != len(full)-8 {
		t.Errorf("additional length %d of %d bytes", n, len(full))
	}
	c.do("b", prReserve, writeExclusive, 0xa, 0)
	if r := c.prOut("a", prRegister, 0, list(0xa, 0xb, 0, id("d"))); r.Status != CheckCondition {
		t.Errorf("registered already: %v", r.Status)
	}
	wantSense(t, c.prOut("c", prRegister, 0, list(0, 0xc, 0, id("b"))), illegalRequest, invalidFieldInParameter)
	wantSense(t, c.prOut("c", prRegisterIgnore, 0, list(0, 0xc, 0, id("d"))), illegalRequest, invalidFieldInParameter)
	node := make([]byte, 40)
	node[0], node[3] = 0x05, 36
	copy(node[4:], "iqn.2006-12.Example:D")
	good(c.prOut("c", prRegister, 0, list(0, 0xc, 0, node))) // all ports of d there are
	c.want("a a a a a a c c ", "a/1")
	if i := c.unit.reservations.state.find(c.nodes["d"].id); i < 0 {
		t.Error("d is not registered")
	}
	copy(node[4:], "iqn.2006-12.example:z")
	wantSense(t, c.prOut("d", prRegister, 0, list(0xc, 0xc, 0, node)), illegalRequest, invalidFieldInParameter)

	// Unregistering through all ports.
	good(c.prOut("b", prRegister, 0, parameters(0xa, 0, 0x04)))
	c.want("a a a a c c ", "")
	good(c.prOut("a", prRegisterIgnore, 0, parameters(0, 0xaa, 0)))
	good(c.prOut("a", prRegister, 0, parameters(0xaa, 0, 0x04))) // the other port has another key
	c.want("a a a c c ", "")
	good(c.prOut("a", prRegisterIgnore, 0, parameters(0, 1, 0x04)))
	c.want("1 a a c c 1 ", "")

	for name, l := range map[string][]byte{
		"truncated":    list(0, 1, 0, id("f"))[:70],
		"no length":    parameters(0, 1, 0x08),
		"too long":     append(list(0, 1, 0, id("f")), 0),
		"short":        parameters(0, 1, 0)[:23],
		"24 and more":  append(parameters(0, 1, 0), 0),
		"reserved bit": parameters(0, 1, 0x02),
		"no name":      list(0, 1, 0, make([]byte, 24)),
	} {
		if r := c.prOut("d", prRegister, 0, l); r.Status != CheckCondition {
			t.Errorf("%s: %v", name, r.Status)
		}
	}
}
