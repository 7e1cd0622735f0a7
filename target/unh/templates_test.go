package unh_test

import (
	"encoding/binary"
	"slices"

	"sanstick/target/iscsitest"
)

// class is how a command moves data.
type class byte

const (
	noData     class = iota
	answers          // data-in with an allocation length
	fixed            // data-in of one size
	readBlocks       // data-in by blocks
	writeRange       // data-out by blocks; less data writes fewer blocks
	exactly          // data-out by blocks, all of it or nothing
	listed           // data-out with a parameter list length
)

// template says how to call a command that the target has. What the target
// lists and has no template here fails the sweeps.
type template struct {
	op     byte
	action int // service action, or none
	name   string
	class  class
	at     int // of the allocation, parameter list or transfer length in the CDB
	size   int // its bytes
	length int // of the CDB
	// variants are bytes of the CDB that are set, as offset and value; nil = one
	// CDB with nothing set. All of them must work.
	variants func(c *sweep) [][]byte
	// lists makes parameter lists that work, for the variants in turn.
	lists func(c *sweep) []list
	// least is the smallest allocation length that SPC takes.
	least int
	// changing hides what is different each time.
	changing func(answer []byte)
	// perBlock is how many bytes there are for each block; 0 = blockSize. one
	// says that there is one block of data whatever the length.
	perBlock int
	one      bool
}

const none = -1

// list is a parameter list.
type list struct {
	data  []byte
	whole []int // shorter lengths at which nothing is cut in two
	never bool  // not to be sent as a whole: it would succeed and do damage
	fails bool  // refused as a whole, too
}

// key identifies a command.
func (t *template) key() uint32 { return commandKey(t.op, t.action) }

func commandKey(op byte, action int) uint32 { return uint32(op)<<16 | uint32(uint16(action)) }

// cdb makes a CDB of a variant with a length.
func (t *template) cdb(variant []byte, n uint32) []byte {
	p := make([]byte, t.length)
	p[0] = t.op
	if t.action != none {
		p[1] = byte(t.action)
	}
	for i := 0; i+1 < len(variant); i += 2 {
		p[variant[i]] |= variant[i+1]
	}
	for i := range t.size {
		p[t.at+i] = byte(n >> (8 * (t.size - 1 - i)))
	}
	return p
}

var templates = []template{
	{op: 0x00, action: none, name: "TEST UNIT READY", length: 6},
	{op: 0x03, action: none, name: "REQUEST SENSE", class: answers, at: 4, size: 1, length: 6, variants: set([]byte{}, []byte{1, 1})},
	{op: 0x04, action: none, name: "FORMAT UNIT", length: 6},
	{op: 0x08, action: none, name: "READ (6)", class: readBlocks, at: 4, size: 1, length: 6},
	{op: 0x0a, action: none, name: "WRITE (6)", class: writeRange, at: 4, size: 1, length: 6},
	{op: 0x12, action: none, name: "INQUIRY", class: answers, at: 3, size: 2, length: 6, variants: inquiries},
	{op: 0x15, action: none, name: "MODE SELECT (6)", class: listed, at: 4, size: 1, length: 6, variants: set([]byte{1, 0x10}), lists: modeLists(4)},
	{op: 0x16, action: none, name: "RESERVE (6)", length: 6},
	{op: 0x17, action: none, name: "RELEASE (6)", length: 6},
	{op: 0x1a, action: none, name: "MODE SENSE (6)", class: answers, at: 4, size: 1, length: 6, variants: modePages},
	{op: 0x1b, action: none, name: "START STOP UNIT", length: 6},
	{op: 0x1c, action: none, name: "RECEIVE DIAGNOSTIC RESULTS", class: answers, at: 3, size: 2, length: 6, variants: set([]byte{1, 1})},
	{op: 0x1d, action: none, name: "SEND DIAGNOSTIC", class: listed, at: 3, size: 2, length: 6, lists: fixedList(list{data: make([]byte, 8), fails: true})},
	{op: 0x1e, action: none, name: "PREVENT ALLOW MEDIUM REMOVAL", length: 6},
	{op: 0x25, action: none, name: "READ CAPACITY (10)", class: fixed, length: 10},
	{op: 0x28, action: none, name: "READ (10)", class: readBlocks, at: 7, size: 2, length: 10},
	{op: 0x2a, action: none, name: "WRITE (10)", class: writeRange, at: 7, size: 2, length: 10},
	{op: 0x2e, action: none, name: "WRITE AND VERIFY (10)", class: writeRange, at: 7, size: 2, length: 10},
	{op: 0x2f, action: none, name: "VERIFY (10)", class: exactly, at: 7, size: 2, length: 10, variants: set([]byte{1, 2})},
	{op: 0x34, action: none, name: "PRE-FETCH (10)", length: 10},
	{op: 0x35, action: none, name: "SYNCHRONIZE CACHE (10)", length: 10},
	{op: 0x37, action: none, name: "READ DEFECT DATA (10)", class: answers, at: 7, size: 2, length: 10, variants: set([]byte{2, 0x1d}, []byte{2, 0x0d})},
	{op: 0x41, action: none, name: "WRITE SAME (10)", class: exactly, at: 7, size: 2, length: 10, one: true},
	{op: 0x42, action: none, name: "UNMAP", class: listed, at: 7, size: 2, length: 10, lists: fixedList(unmapList())},
	{op: 0x43, action: none, name: "READ TOC/PMA/ATIP", class: answers, at: 7, size: 2, length: 10, variants: set([]byte{}, []byte{1, 2}, []byte{2, 1})},
	{op: 0x46, action: none, name: "GET CONFIGURATION", class: answers, at: 7, size: 2, length: 10},
	{op: 0x48, action: 1, name: "SANITIZE, overwrite", class: listed, at: 7, size: 2, length: 10, lists: fixedList(list{data: overwriteList(), never: true})},
	{op: 0x48, action: 2, name: "SANITIZE, block erase", length: 10},
	{op: 0x48, action: 0x1f, name: "SANITIZE, exit failure mode", length: 10},
	{op: 0x4a, action: none, name: "GET EVENT STATUS NOTIFICATION", class: answers, at: 7, size: 2, length: 10, variants: set([]byte{1, 1, 4, 0x10})},
	{op: 0x4c, action: none, name: "LOG SELECT", class: listed, at: 7, size: 2, length: 10, lists: fixedList(list{data: make([]byte, 8), fails: true})},
	{op: 0x4d, action: none, name: "LOG SENSE", class: answers, at: 7, size: 2, length: 10, variants: logPages},
	{op: 0x51, action: none, name: "READ DISC INFORMATION", class: answers, at: 7, size: 2, length: 10},
	{op: 0x52, action: none, name: "READ TRACK INFORMATION", class: answers, at: 7, size: 2, length: 10, variants: set([]byte{1, 1, 5, 1}, []byte{1, 0})},
	{op: 0x55, action: none, name: "MODE SELECT (10)", class: listed, at: 7, size: 2, length: 10, variants: set([]byte{1, 0x10}), lists: modeLists(8)},
	{op: 0x56, action: none, name: "RESERVE (10)", length: 10},
	{op: 0x57, action: none, name: "RELEASE (10)", length: 10},
	{op: 0x5a, action: none, name: "MODE SENSE (10)", class: answers, at: 7, size: 2, length: 10, variants: modePages},
	{op: 0x5e, action: 0, name: "PERSISTENT RESERVE IN, READ KEYS", class: answers, at: 7, size: 2, length: 10},
	{op: 0x5e, action: 1, name: "PERSISTENT RESERVE IN, READ RESERVATION", class: answers, at: 7, size: 2, length: 10},
	{op: 0x5e, action: 2, name: "PERSISTENT RESERVE IN, REPORT CAPABILITIES", class: answers, at: 7, size: 2, length: 10},
	{op: 0x5e, action: 3, name: "PERSISTENT RESERVE IN, READ FULL STATUS", class: answers, at: 7, size: 2, length: 10},
	{op: 0x5f, action: 0, name: "PERSISTENT RESERVE OUT, REGISTER", class: listed, at: 5, size: 4, length: 10, lists: fixedList(list{data: make([]byte, 24)})},
	{op: 0x5f, action: 1, name: "PERSISTENT RESERVE OUT, RESERVE", class: listed, at: 5, size: 4, length: 10, variants: set([]byte{2, 1}), lists: fixedList(unregistered)},
	{op: 0x5f, action: 2, name: "PERSISTENT RESERVE OUT, RELEASE", class: listed, at: 5, size: 4, length: 10, variants: set([]byte{2, 1}), lists: fixedList(unregistered)},
	{op: 0x5f, action: 3, name: "PERSISTENT RESERVE OUT, CLEAR", class: listed, at: 5, size: 4, length: 10, lists: fixedList(unregistered)},
	{op: 0x5f, action: 4, name: "PERSISTENT RESERVE OUT, PREEMPT", class: listed, at: 5, size: 4, length: 10, variants: set([]byte{2, 1}), lists: fixedList(unregistered)},
	{op: 0x5f, action: 5, name: "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", class: listed, at: 5, size: 4, length: 10, variants: set([]byte{2, 1}), lists: fixedList(unregistered)},
	{op: 0x5f, action: 6, name: "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", class: listed, at: 5, size: 4, length: 10, lists: fixedList(list{data: make([]byte, 24)})},
	{op: 0x5f, action: 7, name: "PERSISTENT RESERVE OUT, REGISTER AND MOVE", class: listed, at: 5, size: 4, length: 10, lists: fixedList(unregistered)},
	{op: 0x83, action: 0, name: "EXTENDED COPY (LID1)", class: listed, at: 10, size: 4, length: 16, lists: copyLists},
	{op: 0x84, action: 0, name: "RECEIVE COPY RESULTS, COPY STATUS", class: noData, length: 16},
	{op: 0x84, action: 1, name: "RECEIVE COPY RESULTS, RECEIVE DATA", class: noData, length: 16},
	{op: 0x84, action: 3, name: "RECEIVE COPY RESULTS, OPERATING PARAMETERS", class: answers, at: 10, size: 4, length: 16},
	{op: 0x84, action: 4, name: "RECEIVE COPY RESULTS, FAILED SEGMENT DETAILS", class: noData, length: 16},
	{op: 0x88, action: none, name: "READ (16)", class: readBlocks, at: 10, size: 4, length: 16},
	{op: 0x89, action: none, name: "COMPARE AND WRITE", class: exactly, at: 13, size: 1, length: 16, perBlock: 2 * blockSize},
	{op: 0x8a, action: none, name: "WRITE (16)", class: writeRange, at: 10, size: 4, length: 16},
	{op: 0x8b, action: none, name: "ORWRITE (16)", class: exactly, at: 10, size: 4, length: 16},
	{op: 0x8e, action: none, name: "WRITE AND VERIFY (16)", class: writeRange, at: 10, size: 4, length: 16},
	{op: 0x8f, action: none, name: "VERIFY (16)", class: exactly, at: 10, size: 4, length: 16, variants: set([]byte{1, 2})},
	{op: 0x90, action: none, name: "PRE-FETCH (16)", length: 16},
	{op: 0x91, action: none, name: "SYNCHRONIZE CACHE (16)", length: 16},
	{op: 0x93, action: none, name: "WRITE SAME (16)", class: exactly, at: 10, size: 4, length: 16, one: true},
	{op: 0x9c, action: none, name: "WRITE ATOMIC (16)", class: exactly, at: 12, size: 2, length: 16},
	{op: 0x9e, action: 0x10, name: "READ CAPACITY (16)", class: answers, at: 10, size: 4, length: 16},
	{op: 0x9e, action: 0x12, name: "GET LBA STATUS", class: answers, at: 10, size: 4, length: 16},
	{op: 0xa0, action: none, name: "REPORT LUNS", class: answers, at: 6, size: 4, length: 12, variants: set([]byte{}, []byte{2, 1}, []byte{2, 2}), least: 16},
	{op: 0xa3, action: 0x05, name: "REPORT IDENTIFYING INFORMATION", class: answers, at: 6, size: 4, length: 12},
	{op: 0xa3, action: 0x0a, name: "REPORT TARGET PORT GROUPS", class: answers, at: 6, size: 4, length: 12, variants: set([]byte{}, []byte{1, 0x20})},
	{op: 0xa3, action: 0x0c, name: "REPORT SUPPORTED OPERATION CODES", class: answers, at: 6, size: 4, length: 12, variants: set([]byte{}, []byte{2, 0x80}, []byte{2, 1, 3, 0x28})},
	{op: 0xa3, action: 0x0d, name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", class: answers, at: 6, size: 4, length: 12, variants: set([]byte{}, []byte{2, 0x80}), least: 4},
	{op: 0xa3, action: 0x0f, name: "REPORT TIMESTAMP", class: answers, at: 6, size: 4, length: 12, changing: func(p []byte) { clear(p[min(4, len(p)):min(10, len(p))]) }},
	{op: 0xa4, action: 0x0a, name: "SET TARGET PORT GROUPS", class: listed, at: 6, size: 4, length: 12, lists: fixedList(list{data: []byte{0, 0, 0, 0, 0, 0, 0, 1}, whole: []int{4}})},
	{op: 0xa4, action: 0x0f, name: "SET TIMESTAMP", class: listed, at: 6, size: 4, length: 12, lists: fixedList(list{data: []byte{0, 0, 0, 0, 1, 0x90, 0, 0, 0, 0, 0, 0}})},
	{op: 0xa8, action: none, name: "READ (12)", class: readBlocks, at: 6, size: 4, length: 12},
	{op: 0xaa, action: none, name: "WRITE (12)", class: writeRange, at: 6, size: 4, length: 12},
	{op: 0xad, action: none, name: "READ DVD STRUCTURE", class: answers, at: 8, size: 2, length: 12, variants: set([]byte{7, 0xff}, []byte{7, 0})},
	{op: 0xae, action: none, name: "WRITE AND VERIFY (12)", class: writeRange, at: 6, size: 4, length: 12},
	{op: 0xaf, action: none, name: "VERIFY (12)", class: exactly, at: 6, size: 4, length: 12, variants: set([]byte{1, 2})},
	{op: 0xbd, action: none, name: "MECHANISM STATUS", class: answers, at: 8, size: 2, length: 12},
	{op: 0xb7, action: none, name: "READ DEFECT DATA (12)", class: answers, at: 6, size: 4, length: 12, variants: set([]byte{1, 0x1d}, []byte{1, 0x0d})},
}

// unregistered is for the actions that need a registration: they conflict.
var unregistered = list{data: make([]byte, 24), fails: true}

func set(v ...[]byte) func(*sweep) [][]byte { return func(*sweep) [][]byte { return v } }

func fixedList(l ...list) func(*sweep) []list { return func(*sweep) []list { return l } }

// inquiries are the standard data and every page that is listed.
func inquiries(s *sweep) [][]byte {
	all := [][]byte{{}}
	for _, page := range s.answer([]byte{0x12, 1, 0, 0xff, 0xff, 0})[4:] {
		all = append(all, []byte{1, 1, 2, page})
	}
	return all
}

// modePages are all pages at once, one alone, and what can be changed.
func modePages(s *sweep) [][]byte {
	return [][]byte{{2, 0x3f}, {1, 0x08, 2, 0x01}, {2, 0x7f}}
}

func logPages(s *sweep) [][]byte {
	var all [][]byte
	for _, page := range s.answer([]byte{0x4d, 0, 0x40, 0, 0, 0, 0, 0xff, 0xff, 0})[4:] {
		all = append(all, []byte{2, 0x40 | page})
	}
	return all
}

// modeLists sends the caching and control pages back as they are.
func modeLists(header int) func(*sweep) []list {
	return func(s *sweep) []list {
		data := make([]byte, header)
		for _, page := range []byte{0x0a, 0x08} {
			p := s.answer([]byte{0x5a, 0x08, page, 0, 0, 0, 0, 0, 255, 0})[8:]
			p[0] &= 0x3f
			data = append(data, p...)
		}
		return []list{{data: data, whole: []int{header, header + 12}}}
	}
}

// unmapList gives two blocks back.
func unmapList() list {
	p := make([]byte, 40)
	binary.BigEndian.PutUint16(p, 38)
	binary.BigEndian.PutUint16(p[2:], 32)
	for i := range 2 {
		binary.BigEndian.PutUint64(p[8+16*i:], uint64(8*i))
		binary.BigEndian.PutUint32(p[16+16*i:], 8)
	}
	return list{data: p}
}

func overwriteList() []byte {
	p := append([]byte{1, 0, 2, 0}, make([]byte, blockSize)...)
	return p
}

// copyLists copies 8 blocks within the unit.
func copyLists(s *sweep) []list {
	var naa []byte
	for p := s.answer([]byte{0x12, 1, 0x83, 0xff, 0xff, 0})[4:]; len(p) >= 4; p = p[4+int(p[3]):] {
		if p[1]&0x3f == 3 {
			naa = p[:4+int(p[3])]
			break
		}
	}
	p := make([]byte, 16)
	binary.BigEndian.PutUint16(p[2:], 32)
	binary.BigEndian.PutUint32(p[8:], 28)
	cscd := make([]byte, 32)
	cscd[0] = 0xe4
	copy(cscd[4:], naa)
	cscd[29], cscd[30] = blockSize>>16&0xff, blockSize>>8
	p = append(p, cscd...)
	segment := make([]byte, 28)
	segment[0] = 2
	binary.BigEndian.PutUint16(segment[2:], 24)
	binary.BigEndian.PutUint16(segment[10:], 8)
	binary.BigEndian.PutUint64(segment[20:], 64)
	return []list{{data: append(p, segment...)}}
}

// commandsOf asks the target for what it has.
func (s *sweep) commandsOf() []uint32 {
	p := s.answer([]byte{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0})
	var keys []uint32
	for d := p[4:]; len(d) >= 8; d = d[8:] {
		action := none
		if d[5]&1 != 0 {
			action = int(binary.BigEndian.Uint16(d[2:]))
		}
		keys = append(keys, commandKey(d[0], action))
	}
	slices.Sort(keys)
	return keys
}

// answer does a data-in command with room for all there is.
func (s *sweep) answer(cdb []byte) []byte {
	s.Helper()
	r := s.do(s.c, iscsitest.Command{CDB: cdb, In: 65536})
	if r.Status != 0 {
		s.Fatalf("CDB % x: %+v", cdb, r)
	}
	return slices.Clone(r.Data)
}
