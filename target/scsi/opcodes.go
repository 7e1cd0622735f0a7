package scsi

import (
	"encoding/binary"
	"maps"
	"slices"
)

// reportOpcodes serves REPORT SUPPORTED OPERATION CODES (SPC-4 section 6.35)
// from the command table.
func (t *Task) reportOpcodes() Result {
	timeouts := t.cdb[2]&0x80 != 0 // RCTD
	opcode, action := t.cdb[3], binary.BigEndian.Uint16(t.cdb[4:])
	e := &t.nexus.device.commands[opcode]
	var c *command
	switch t.cdb[2] & 7 {
	case 0:
		return t.reply(t.allOpcodes(timeouts))
	case 1: // an operation code that has no service actions
		if e.actions != nil {
			return t.check(badCDB(2, 2))
		}
		c = e.command
	case 2: // one that has
		if e.command != nil {
			return t.check(badCDB(2, 2))
		}
		c = e.find(action)
	case 3: // either; one without has service action 0
		if c = e.find(action); c == nil && action == 0 {
			c = e.command
		}
	default:
		return t.check(badCDB(2, 2))
	}
	return t.reply(t.oneOpcode(c, timeouts))
}

// offered reports whether the unit has the command.
func (t *Task) offered(c *command) bool {
	return c != nil && c.has(t.types()) && (c.flags&thinOnly == 0 || t.path.unit.thin()) &&
		(c.flags&removableOnly == 0 || t.path.unit.o.Removable) && (c.flags&atomicOnly == 0 || t.maxAtomic() > 0)
}

// noTimeouts is a command timeouts descriptor that promises nothing.
var noTimeouts = [12]byte{1: 0x0a}

func (t *Task) allOpcodes(timeouts bool) []byte {
	b := make([]byte, 4)
	add := func(opcode int, c *command) {
		if !t.offered(c) {
			return
		}
		d := [8]byte{0: byte(opcode), 7: byte(len(c.usage))}
		if c.flags&action != 0 {
			d[3] = c.action()
			d[5] |= 0x01 // SERVACTV
		}
		if timeouts {
			d[5] |= 0x02 // CTDP
		}
		b = append(b, d[:]...)
		if timeouts {
			b = append(b, noTimeouts[:]...)
		}
	}
	for opcode := range t.nexus.device.commands {
		e := &t.nexus.device.commands[opcode]
		add(opcode, e.command)
		for _, a := range slices.Sorted(maps.Keys(e.actions)) {
			add(opcode, e.actions[a])
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func (t *Task) oneOpcode(c *command, timeouts bool) []byte {
	if !t.offered(c) {
		return []byte{0, 0x01, 0, 0} // not supported
	}
	b := []byte{0, 0x03, 0, byte(len(c.usage))} // supported, as the standard has it
	b = append(b, c.usage...)
	if timeouts {
		b[1] |= 0x80 // CTDP
		b = append(b, noTimeouts[:]...)
	}
	return b
}
