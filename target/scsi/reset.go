package scsi

// restart is what a logical unit reset does beyond ending tasks and
// reservations (SAM-5 section 6.3.3): mode parameters are the defaults again,
// a stopped unit starts, and nobody prevents removal.
// The unit attention that follows includes all others. It doesn't wait for commands.
func (u *Unit) restart() {
	for old := u.mode.Load(); !u.mode.CompareAndSwap(old, (old|modeBits)+1); old = u.mode.Load() {
	}
	u.forgetCopies()
	u.start()
	u.allowRemoval(anyNexus)
}
