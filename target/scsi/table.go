package scsi

import "fmt"

// commands is the command table by operation code.
var commands = newTable(rows())

// table finds commands by their CDB.
type table [256]entry

// entry is what an operation code stands for: one command, or several that
// differ in their service action.
type entry struct {
	command *command
	actions map[byte]*command
}

// newTable indexes the rows. It panics if two of them are the same command:
// that is a mistake in the table, which shows as soon as the program starts.
func newTable(rows []command) *table {
	t := new(table)
	for i := range rows {
		c := &rows[i]
		c.mask = c.accepts()
		e := &t[c.usage[0]]
		if e.command != nil || (e.actions != nil && c.flags&action == 0) || e.actions[c.action()] != nil {
			panic(fmt.Sprintf("scsi: operation code %#02x is in the table twice", c.usage[0]))
		}
		if c.flags&action == 0 {
			e.command = c
			continue
		}
		if e.actions == nil {
			e.actions = make(map[byte]*command)
		}
		e.actions[c.action()] = c
	}
	return t
}

// find returns the command of a CDB, nil if there is none.
func (t *table) find(cdb [16]byte) *command {
	e := &t[cdb[0]]
	if e.actions != nil {
		return e.actions[cdb[1]&0x1f]
	}
	return e.command
}

// action returns the service action of a command that has one.
func (c *command) action() byte { return c.usage[1] & 0x1f }

// accepts returns for each byte of the CDB which bits may be set.
func (c *command) accepts() []byte {
	mask := make([]byte, len(c.usage))
	copy(mask, c.ignored)
	for i, b := range c.usage {
		mask[i] |= b
	}
	mask[0] = all
	if c.flags&action != 0 {
		mask[1] |= 0x1f
	}
	mask[len(mask)-1] = 0xc0 // vendor specific; NACA is looked at to refuse it
	return mask
}

// field is a big-endian number in a CDB.
type field struct{ at, size int }

func (f field) read(cdb [16]byte) uint64 {
	var v uint64
	for _, b := range cdb[f.at : f.at+f.size] {
		v = v<<8 | uint64(b)
	}
	return v
}

// extent returns the fields of a CDB of this length that hold the LBA and the
// count of blocks.
func (c *command) extent() (lba, blocks field) {
	switch len(c.usage) {
	case 6:
		lba, blocks = field{1, 3}, field{4, 1}
	case 10:
		lba, blocks = field{2, 4}, field{7, 2}
	case 12:
		lba, blocks = field{2, 4}, field{6, 4}
	default:
		lba, blocks = field{2, 8}, field{10, 4}
	}
	if c.count.size != 0 {
		blocks = c.count
	}
	return lba, blocks
}

// find returns the command with a service action, nil if there is none.
func (e *entry) find(action uint16) *command {
	if action > 0x1f {
		return nil
	}
	return e.actions[byte(action)]
}
