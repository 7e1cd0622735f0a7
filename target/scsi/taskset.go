package scsi

// commandsCleared is the unit attention of CLEAR TASK SET for the others.
const commandsCleared code = 0x2f00

// HasUnit reports whether there is a unit under a LUN.
func (d *Device) HasUnit(lun [8]byte) bool {
	n, err := decodeLUN(lun)
	return err == nil && (*d.units.Load())[n] != nil
}

// ClearTaskSet does CLEAR TASK SET (SAM-5 section 7.5), of which the transport
// does the aborting: every nexus that reaches the unit, except by, gets a unit
// attention. It returns false if there is no such LUN.
func (d *Device) ClearTaskSet(lun [8]byte, by *Nexus) bool {
	n, err := decodeLUN(lun)
	if err != nil {
		return false
	}
	u := (*d.units.Load())[n]
	if u == nil {
		return false
	}
	u.attention(commandsCleared, by)
	return true
}
