package scsi

import (
	"slices"

	"sanstick/target/block"
)

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
	// alone: no other command on the unit has its blocks while it runs. The
	// others with transfers or writes share theirs; see rangeLocks.
	alone
	// repairs: also works where a sanitize operation has failed.
	repairs
	// thinOnly: exists on thin units only.
	thinOnly
	// removableOnly: exists on removable units only.
	removableOnly
	// medium: needs the medium there and started, as those with extent or
	// writes do anyway.
	medium
	// atomicOnly: exists only where a write of a block can't be torn.
	atomicOnly
)

// sharing says who may use a command while another nexus holds a reservation
// (SPC-4 table 66, SBC-3 table 13).
type sharing byte

const (
	// sharedNever: conflicts with every reservation of another.
	sharedNever sharing = iota
	// sharedReads: conflicts only where others may not read.
	sharedReads
	// sharedAlways: a reservation doesn't matter.
	sharedAlways
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
	sharing   sharing
	// sharingOf, if there is one, says it for the CDB instead.
	sharingOf func(*Task) sharing
	types     types // who has the command; none means disks only
	// allocation is where a data-in command has its allocation length; of no
	// size if it has none.
	allocation field
	// want returns the length of the data-out; nil for none.
	want func(*Task) int
	run  func(*Task) Result
	// quick does the command if that needs no waiting, with its range locked and
	// its buffer there; false means that it would. nil = never.
	quick func(*Task) (Result, bool)
	// op says what the device has to do for it, if that is all there is to do, for
	// those who don't wait; false if it isn't. nil = it never is.
	op func(*Task, *block.Transfer, Allocator) bool
	// frees, of a command that writes, tells at its Run whether it can't take
	// space from behind a thin unit. nil = it may.
	frees func(*Task) bool
	// copies: the data-out is a parameter list of EXTENDED COPY.
	copies bool
	// count is where the CDB has the count of blocks, if not where CDBs of its
	// length usually have it.
	count field

	mask []byte // accepts(), made once
}

const (
	control     = 0x04 // NACA
	groupNumber = 0x1f
	all         = 0xff
)

// rows is the command table. REPORT SUPPORTED OPERATION CODES answers from it.
func rows() []command {
	return slices.Concat(primaryCommands(), copyCommands(), modeCommands(), accessCommands(),
		timestampCommands(), mediumCommands(), diagnosticCommands(), logCommands(),
		blockCommands(), mediaCommands(), sanitizeCommands(), discCommands(),
		reserveCommands(), persistentCommands())
}
