package scsi

// flags say which checks and rules apply to a command.
type flags uint

const (
	// anyLUN: works where there is no unit, too.
	anyLUN flags = 1 << iota
	// zeroLUN: works at LUN 0 even if there is no unit.
	zeroLUN
	// passAttention: runs in spite of a unit attention (SPC-4 section 5.14).
	passAttention
	// action: the low five bits of byte 1 are a service action.
	action
	// writes: changes the medium.
	writes
	// extent: the CDB has an LBA and a count of blocks.
	extent
	// transfers: the extent's blocks are moved or looked at, so MaxTransfer
	// applies.
	transfers
	// thinOnly: exists on thin units only.
	thinOnly
)

// command is a row of the command table.
type command struct {
	name string
	// usage is the CDB usage data (SPC-4 section 6.35.3): the operation code,
	// the service action if there is one, and in the other bytes a one for
	// each bit that the command looks at. Its length is that of the CDB. The
	// last byte is the control byte, whose NACA bit is looked at, and refused.
	usage []byte
	// ignored has a one for bits that may be set although the command doesn't
	// look at them: GROUP NUMBER, and obsolete ones that old initiators set.
	ignored   []byte
	direction Direction
	flags     flags
	// allocation is where a data-in command has its allocation length; of no
	// size if it has none.
	allocation field
	// want returns the length of the data-out; nil for none.
	want func(*Task) int
	run  func(*Task) Result

	mask []byte // accepts(), made once
}

const (
	control     = 0x04 // NACA
	groupNumber = 0x1f
	all         = 0xff
)

// rows is the command table. REPORT SUPPORTED OPERATION CODES answers from it.
func rows() []command {
	return []command{{
		name:  "TEST UNIT READY",
		usage: []byte{0x00, 0, 0, 0, 0, control},
		run:   (*Task).testUnitReady,
	}, {
		name:       "REQUEST SENSE",
		usage:      []byte{0x03, 0x01, 0, 0, all, control},
		direction:  DataIn,
		flags:      anyLUN | passAttention,
		allocation: field{4, 1},
		run:        (*Task).requestSense,
	}, {
		name:      "READ (6)",
		usage:     []byte{0x08, 0x1f, all, all, all, control},
		direction: DataIn,
		flags:     extent | transfers,
		run:       (*Task).read,
	}, {
		name:      "WRITE (6)",
		usage:     []byte{0x0a, 0x1f, all, all, all, control},
		direction: DataOut,
		flags:     extent | transfers | writes,
		want:      (*Task).wantBlocks,
		run:       (*Task).write,
	}, {
		name:       "INQUIRY",
		usage:      []byte{0x12, 0x01, all, all, all, control},
		direction:  DataIn,
		flags:      anyLUN | passAttention,
		allocation: field{3, 2},
		run:        (*Task).inquiry,
	}, {
		name:       "MODE SENSE (6)",
		usage:      []byte{0x1a, 0x08, all, all, all, control},
		direction:  DataIn,
		allocation: field{4, 1},
		run:        (*Task).modeSense6,
	}, {
		name:      "READ CAPACITY (10)",
		usage:     []byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, control},
		direction: DataIn,
		run:       (*Task).readCapacity10,
	}, {
		name:      "READ (10)",
		usage:     []byte{0x28, 0x1a, all, all, all, all, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataIn,
		flags:     extent | transfers,
		run:       (*Task).read,
	}, {
		name:      "WRITE (10)",
		usage:     []byte{0x2a, 0x1a, all, all, all, all, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes,
		want:      (*Task).wantBlocks,
		run:       (*Task).write,
	}, {
		name:      "VERIFY (10)",
		usage:     []byte{0x2f, 0x16, all, all, all, all, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataOut,
		flags:     extent | transfers,
		want:      (*Task).wantVerify,
		run:       (*Task).verify,
	}, {
		name:    "SYNCHRONIZE CACHE (10)",
		usage:   []byte{0x35, 0x02, all, all, all, all, 0, all, all, control},
		ignored: []byte{1: 0x04, 6: groupNumber}, // SYNC_NV
		flags:   extent,
		run:     (*Task).synchronizeCache,
	}, {
		name:      "WRITE SAME (10)",
		usage:     []byte{0x41, 0x08, all, all, all, all, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataOut,
		flags:     extent | writes,
		want:      (*Task).wantSame,
		run:       (*Task).writeSame,
	}, {
		name:      "UNMAP",
		usage:     []byte{0x42, 0, 0, 0, 0, 0, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataOut,
		flags:     writes | thinOnly,
		want:      func(t *Task) int { return int(field{7, 2}.read(t.cdb)) },
		run:       (*Task).unmap,
	}, {
		name:       "MODE SENSE (10)",
		usage:      []byte{0x5a, 0x18, all, all, 0, 0, 0, all, all, control},
		direction:  DataIn,
		allocation: field{7, 2},
		run:        (*Task).modeSense10,
	}, {
		name:      "READ (16)",
		usage:     []byte{0x88, 0x1a, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataIn,
		flags:     extent | transfers,
		run:       (*Task).read,
	}, {
		name:      "WRITE (16)",
		usage:     []byte{0x8a, 0x1a, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes,
		want:      (*Task).wantBlocks,
		run:       (*Task).write,
	}, {
		name:      "VERIFY (16)",
		usage:     []byte{0x8f, 0x16, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers,
		want:      (*Task).wantVerify,
		run:       (*Task).verify,
	}, {
		name:    "SYNCHRONIZE CACHE (16)",
		usage:   []byte{0x91, 0x02, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored: []byte{1: 0x04, 14: groupNumber}, // SYNC_NV
		flags:   extent,
		run:     (*Task).synchronizeCache,
	}, {
		name:      "WRITE SAME (16)",
		usage:     []byte{0x93, 0x09, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | writes,
		want:      (*Task).wantSame,
		run:       (*Task).writeSame,
	}, {
		name:       "READ CAPACITY (16)",
		usage:      []byte{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{10, 4},
		run:        (*Task).readCapacity16,
	}, {
		name:       "REPORT LUNS",
		usage:      []byte{0xa0, 0, all, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      zeroLUN | passAttention,
		allocation: field{6, 4},
		run:        (*Task).reportLUNs,
	}, {
		name:       "REPORT SUPPORTED OPERATION CODES",
		usage:      []byte{0xa3, 0x0c, 0x87, all, all, all, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{6, 4},
		run:        (*Task).reportOpcodes,
	}, {
		name:      "READ (12)",
		usage:     []byte{0xa8, 0x1a, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{10: groupNumber},
		direction: DataIn,
		flags:     extent | transfers,
		run:       (*Task).read,
	}, {
		name:      "WRITE (12)",
		usage:     []byte{0xaa, 0x1a, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{10: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes,
		want:      (*Task).wantBlocks,
		run:       (*Task).write,
	}, {
		name:      "VERIFY (12)",
		usage:     []byte{0xaf, 0x16, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{10: groupNumber},
		direction: DataOut,
		flags:     extent | transfers,
		want:      (*Task).wantVerify,
		run:       (*Task).verify,
	}}
}
