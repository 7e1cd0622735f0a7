package scsi

import (
	"maps"
	"reflect"
	"slices"
)

// This is the state machine of SPC-4 section 5.13 and SPC-2 once more, written
// down from the text with other means than the code under test, to compare
// random histories with.

// mNexus is "initiator port|target port".
type mNexus string

type mUnit struct {
	regs   map[mNexus]uint64
	kind   int // 0: no reservation
	holder mNexus
	gen    uint32
	aptpl  bool
	spc2   mNexus // "" = nobody
	ua     map[mNexus][]int

	disk  mDisk // what is in the store
	stale bool  // the last save failed
}

type mDisk struct {
	regs   map[mNexus]uint64
	kind   int
	holder mNexus
	aptpl  bool
}

func (u *mUnit) durable() mDisk {
	if !u.aptpl {
		return mDisk{regs: map[mNexus]uint64{}}
	}
	return mDisk{maps.Clone(u.regs), u.kind, u.holder, true}
}

func (u *mUnit) clone() *mUnit {
	c := *u
	c.regs = maps.Clone(u.regs)
	c.ua = maps.Clone(u.ua)
	for n, l := range c.ua {
		c.ua[n] = slices.Clone(l)
	}
	return &c
}

// An answer is a status, or 0x02KKAAQQ for CHECK CONDITION.
const (
	mGood     = 0
	mConflict = 0x18
)

func mCheck(key, asc int) int { return 0x02000000 | key<<16 | asc }

func registrantsOnly(kind int) bool { return kind == 5 || kind == 6 }
func allRegistrants(kind int) bool  { return kind == 7 || kind == 8 }

func (u *mUnit) isHolder(n mNexus) bool {
	_, registered := u.regs[n]
	return u.kind != 0 && (allRegistrants(u.kind) && registered || !allRegistrants(u.kind) && u.holder == n)
}

// tell raises a unit attention for one nexus, if it is there.
func (u *mUnit) tell(n mNexus, asc int) {
	if l, alive := u.ua[n]; alive && !slices.Contains(l, asc) {
		u.ua[n] = append(l, asc)
	}
}

// prCommand is what a history consists of.
type prCommand struct {
	what   string // out, in, read, write, tur, inquiry, reserve6, release6
	nexus  int
	unit   int
	sa     int
	kind   int
	scope  int
	rk     uint64
	sark   uint64
	specI  bool
	allTG  bool
	aptpl  bool
	unreg  bool
	others []string // initiator ports
	rtpi   uint16
	fails  bool // a save would fail
	newOn  bool // after a failed save the new state is in the store
}

// answer is what the model says, and what it does to itself.
func (w *mWorld) answer(c prCommand) int {
	u, me := w.units[c.unit], w.names[c.nexus]
	if l := u.ua[me]; len(l) > 0 && c.what != "inquiry" {
		u.ua[me] = l[1:]
		return mCheck(6, l[0])
	}
	if c.what == "inquiry" {
		return mGood
	}
	if u.spc2 != "" && u.spc2 != me && c.what != "release6" {
		return mConflict
	}
	_, registered := u.regs[me]
	switch c.what {
	case "tur":
		return mGood
	case "read", "write":
		free := u.kind == 0 || u.isHolder(me) || u.kind >= 5 && registered
		if reader := u.kind == 1 || u.kind == 5 || u.kind == 7; c.what == "read" && reader {
			free = true
		}
		if !free {
			return mConflict
		}
		return mGood
	case "reserve6":
		if u.isHolder(me) || u.kind >= 5 && registered {
			return mGood
		}
		if len(u.regs) > 0 {
			return mConflict
		}
		u.spc2 = me
		return mGood
	case "release6":
		if u.spc2 == me {
			u.spc2 = ""
			return mGood
		}
		if u.spc2 == "" && len(u.regs) > 0 && !u.isHolder(me) && !(u.kind >= 5 && registered) {
			return mConflict
		}
		return mGood
	}
	// PERSISTENT RESERVE OUT and IN.
	if c.what == "out" && c.specI && c.sa != 0 && c.sa != 7 {
		return mCheck(5, 0x2600)
	}
	if u.spc2 != "" {
		return mConflict
	}
	if c.what == "in" {
		return mGood
	}
	next := u.clone()
	got := w.out(next, c, me)
	if got != mGood {
		return got
	}
	if d := next.durable(); u.stale || !reflect.DeepEqual(d, u.disk) {
		if c.fails {
			u.stale = true
			if c.newOn {
				u.disk = d
			}
			return mCheck(4, 0x4400)
		}
		next.disk, next.stale = d, false
	}
	*u = *next
	return mGood
}

// ports are the target ports of the device that a nexus goes through.
func (w *mWorld) ports(nexus int) []Port {
	if w.device[nexus] == 0 {
		return []Port{mPorts[0], mPorts[1]}
	}
	return []Port{mPorts[2]}
}

func (w *mWorld) out(u *mUnit, c prCommand, me mNexus) int {
	mine, registered := u.regs[me]
	initiator := mInitiators[w.initiator[c.nexus]]
	through := []Port{mPorts[w.port[c.nexus]]}
	if c.allTG {
		through = w.ports(c.nexus)
	}
	badType := c.scope != 0 || !slices.Contains([]int{1, 3, 5, 6, 7, 8}, c.kind)
	others := func(asc int, except mNexus) {
		for n := range u.regs {
			if n != except {
				u.tell(n, asc)
			}
		}
	}
	if (c.sa == 0 || c.sa >= 6) && c.aptpl && w.noStore[c.unit] {
		return mCheck(5, 0x2600)
	}
	if c.sa == 0 || c.sa == 6 { // table 67, table 68
		if c.sa == 0 {
			if !registered && c.rk != 0 || registered && c.rk != mine {
				return mConflict
			}
			if registered && c.specI {
				return mCheck(5, 0x2600)
			}
		}
		if c.sark == 0 {
			var gone []mNexus
			for _, p := range through {
				n := mNexus(initiator + "|" + p.Name)
				if k, ok := u.regs[n]; ok && (c.sa == 6 || k == c.rk) {
					gone = append(gone, n)
				}
			}
			if len(gone) == 0 {
				// "Do nothing except return GOOD status": not even APTPL.
				return mGood
			}
			held := false
			for _, n := range gone {
				held = held || u.isHolder(n)
				delete(u.regs, n)
			}
			if held && !allRegistrants(u.kind) {
				if registrantsOnly(u.kind) {
					others(0x2a04, me)
				}
				u.kind, u.holder = 0, ""
			} else if held && len(u.regs) == 0 {
				u.kind, u.holder = 0, ""
			}
			u.gen++
			u.aptpl = c.aptpl
			return mGood
		}
		for _, p := range through {
			k, ok := u.regs[mNexus(initiator+"|"+p.Name)]
			if c.sa == 0 && ok && k != c.rk && k != c.sark {
				return mConflict
			}
		}
		if c.specI {
			for _, i := range c.others {
				for _, p := range through {
					n := mNexus(i + "|" + p.Name)
					if _, ok := u.regs[n]; ok {
						return mCheck(5, 0x2600)
					}
				}
			}
			for _, i := range c.others {
				for _, p := range through {
					u.regs[mNexus(i+"|"+p.Name)] = c.sark
				}
			}
		}
		for _, p := range through {
			u.regs[mNexus(initiator+"|"+p.Name)] = c.sark
		}
		u.gen++
		u.aptpl = c.aptpl
		return mGood
	}
	if !registered || mine != c.rk {
		return mConflict
	}
	switch c.sa {
	case 1: // 5.13.9
		switch {
		case badType:
			return mCheck(5, 0x2400)
		case u.kind == 0:
			u.kind = c.kind
			if u.holder = me; allRegistrants(c.kind) {
				u.holder = ""
			}
		case !u.isHolder(me), u.kind != c.kind:
			return mConflict
		}
	case 2: // 5.13.11.2.2
		switch {
		case !u.isHolder(me):
			if badType {
				return mCheck(5, 0x2400)
			}
		case u.kind != c.kind || c.scope != 0:
			return mCheck(5, 0x2604)
		default:
			if u.kind >= 5 {
				others(0x2a04, me)
			}
			u.kind, u.holder = 0, ""
		}
	case 3: // 5.13.11.2.7
		others(0x2a03, me)
		u.regs, u.kind, u.holder = map[mNexus]uint64{}, 0, ""
		u.gen++
	case 4, 5: // table 72
		preempting := false
		switch {
		case allRegistrants(u.kind):
			preempting = c.sark == 0
		case c.sark == 0:
			return mCheck(5, 0x2600)
		case u.kind != 0:
			preempting = u.regs[u.holder] == c.sark
		}
		var losers []mNexus
		for n, k := range u.regs {
			if k == c.sark || preempting && c.sark == 0 {
				losers = append(losers, n)
			}
		}
		if len(losers) == 0 {
			return mConflict
		}
		if preempting && badType {
			return mCheck(5, 0x2400)
		}
		for _, n := range losers {
			if n != me {
				delete(u.regs, n)
				u.tell(n, 0x2a05)
			} else if !preempting {
				delete(u.regs, n)
			}
		}
		if preempting {
			if u.kind != c.kind {
				others(0x2a04, me)
			}
			u.kind = c.kind
			if u.holder = me; allRegistrants(c.kind) {
				u.holder = ""
			}
		} else if allRegistrants(u.kind) && len(u.regs) == 0 {
			u.kind = 0
		}
		u.gen++
	case 7: // 5.13.8
		if u.kind == 0 {
			return mCheck(5, 0x2400)
		}
		if allRegistrants(u.kind) || !u.isHolder(me) {
			return mConflict
		}
		if c.sark == 0 || c.others[0] == initiator {
			return mCheck(5, 0x2600)
		}
		var to mNexus
		for _, p := range w.ports(c.nexus) {
			if p.RelativeID == c.rtpi {
				to = mNexus(c.others[0] + "|" + p.Name)
			}
		}
		if to == "" {
			return mCheck(5, 0x2600)
		}
		u.regs[to] = c.sark
		u.holder = to
		if c.unreg {
			delete(u.regs, me)
		}
		u.gen++
		u.aptpl = c.aptpl
	}
	return mGood
}
