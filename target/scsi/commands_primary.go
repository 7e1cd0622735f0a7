package scsi

// primaryCommands are those of SPC-4, which every type of device has.
func primaryCommands() []command {
	return []command{{
		name:    "TEST UNIT READY",
		usage:   []byte{0x00, 0, 0, 0, 0, control},
		flags:   medium,
		sharing: sharedAlways,
		types:   everyType,
		run:     (*Task).testUnitReady,
	}, {
		name:       "REQUEST SENSE",
		usage:      []byte{0x03, 0x01, 0, 0, all, control},
		direction:  DataIn,
		flags:      anyLUN | passAttention,
		allocation: field{4, 1},
		sharing:    sharedAlways,
		types:      everyType,
		run:        (*Task).requestSense,
	}, {
		name:       "INQUIRY",
		usage:      []byte{0x12, 0x01, all, all, all, control},
		direction:  DataIn,
		flags:      anyLUN | passAttention,
		allocation: field{3, 2},
		sharing:    sharedAlways,
		types:      everyType,
		run:        (*Task).inquiry,
	}, {
		name:       "MODE SENSE (6)",
		usage:      []byte{0x1a, 0x08, all, all, all, control},
		direction:  DataIn,
		allocation: field{4, 1},
		sharing:    sharedReads,
		types:      anyType,
		run:        (*Task).modeSense6,
	}, {
		name:       "MODE SENSE (10)",
		usage:      []byte{0x5a, 0x18, all, all, 0, 0, 0, all, all, control},
		direction:  DataIn,
		allocation: field{7, 2},
		sharing:    sharedReads,
		types:      anyType,
		run:        (*Task).modeSense10,
	}, {
		name:       "REPORT LUNS",
		usage:      []byte{0xa0, 0, all, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      zeroLUN | passAttention,
		allocation: field{6, 4},
		sharing:    sharedAlways,
		types:      everyType,
		run:        (*Task).reportLUNs,
	}, {
		name:       "REPORT SUPPORTED OPERATION CODES",
		usage:      []byte{0xa3, 0x0c, 0x87, all, all, all, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{6, 4},
		sharing:    sharedReads,
		types:      anyType,
		run:        (*Task).reportOpcodes,
	}}
}
