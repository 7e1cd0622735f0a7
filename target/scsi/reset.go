package scsi

// reset does what a logical unit reset does beyond ending tasks (SAM-5 section
// 6.3.3): mode parameters are the defaults again. Nexuses are told by the unit
// attention c, which includes all others; except may be nil.
func (u *Unit) reset(c code, except *Nexus) {
	u.selecting.Lock()
	defer u.selecting.Unlock()
	u.setModes(0)
	u.attention(c, except)
}
