package scsi

// types is a set of kinds of logical units: who has a command or a page.
type types byte

const (
	// disk is a direct-access block device (SBC-3).
	disk types = 1 << iota
	// disc is a CD or DVD drive (MMC-6).
	disc
	// wellKnown is the REPORT LUNS well-known logical unit (SPC-4 section 8.2).
	wellKnown

	anyType   = disk | disc
	everyType = anyType | wellKnown
)

// types returns the kind of unit that a task is for; none if there is no unit.
func (t *Task) types() types {
	switch {
	case t.reports:
		return wellKnown
	case t.path == nil:
		return 0
	}
	return t.path.unit.types()
}

// types returns the one kind that the unit is of.
func (u *Unit) types() types {
	if u.o.Disc {
		return disc
	}
	return disk
}

// has reports whether units of a kind have the command; of no kind, those that
// work without a unit.
func (c *command) has(kind types) bool {
	if kind == 0 {
		return c.flags&(anyLUN|zeroLUN) != 0
	}
	if c.types == 0 {
		return kind == disk
	}
	return c.types&kind != 0
}
