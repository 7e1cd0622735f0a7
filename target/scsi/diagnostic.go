package scsi

const selfTestFailed code = 0x3e03

func diagnosticCommands() []command {
	return []command{{
		name:       "RECEIVE DIAGNOSTIC RESULTS",
		usage:      []byte{0x1c, 0x01, all, all, all, control},
		direction:  DataIn,
		allocation: field{3, 2},
		sharing:    sharedReads,
		types:      anyType,
		run:        (*Task).receiveDiagnostic,
	}, {
		name:    "SEND DIAGNOSTIC",
		usage:   []byte{0x1d, 0x04, 0, 0, 0, control},
		ignored: []byte{1: 0x13}, // PF, of a list that is always empty, and what the test would be allowed to disturb
		flags:   medium,
		types:   anyType,
		run:     (*Task).sendDiagnostic,
	}}
}

// receiveDiagnostic serves RECEIVE DIAGNOSTIC RESULTS (SPC-4 section 6.30):
// the one page is the list of pages.
func (t *Task) receiveDiagnostic() Result {
	if t.cdb[1]&1 == 0 {
		return t.check(badCDB(1, 0)) // there are no results without a page code
	}
	if t.cdb[2] != 0 {
		return t.check(badCDB(2, noBit))
	}
	return t.reply([]byte{0, 0, 0, 1, 0})
}

// sendDiagnostic serves SEND DIAGNOSTIC (SPC-4 section 6.42): the default
// self-test, which reads the first, the middle and the last block. Parameter
// lists and the other self-tests are not offered.
func (t *Task) sendDiagnostic() Result {
	if t.cdb[1]&0x04 == 0 {
		return Result{Status: Good} // nothing is asked for
	}
	size := int64(t.info.LogicalBlock)
	last := int64(t.lastLBA())
	b := make([]byte, size)
	for _, lba := range []int64{0, last / 2, last} {
		if _, err := t.path.unit.dev.ReadAt(b, lba*size); err != nil {
			return t.check(sense{key: hardwareError, code: selfTestFailed})
		}
	}
	return Result{Status: Good}
}
