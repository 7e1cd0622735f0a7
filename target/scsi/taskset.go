package scsi

// commandsCleared is the unit attention of CLEAR TASK SET for the others.
const commandsCleared code = 0x2f00

// HasUnit reports whether there is a unit under a LUN.
func (d *Device) HasUnit(lun [8]byte) bool { return d.unit(lun) != nil }

// ClearTaskSet does CLEAR TASK SET (SAM-5 section 7.5): every nexus that
// reaches the unit, through this device or another, except by, gets a unit
// attention, and the tasks of all of them end. Nothing of them follows once
// the channels are closed. It returns false if there is no such LUN.
func (d *Device) ClearTaskSet(lun [8]byte, by *Nexus) ([]<-chan struct{}, bool) {
	u := d.unit(lun)
	if u == nil {
		return nil, false
	}
	u.attention(commandsCleared, by)
	return u.abortTasks(anyNexus, nil), true
}
