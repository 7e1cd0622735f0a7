package scsi

// mediaCommands are those of SBC-3 and SBC-4 beyond reading and writing. There
// is no FORMAT UNIT, as there is nothing to format, and no READ LONG and WRITE
// LONG, as blocks have no more than their data.
func mediaCommands() []command {
	return []command{{
		name:      "WRITE AND VERIFY (10)",
		usage:     []byte{0x2e, 0x12, all, all, all, all, 0, all, all, control},
		ignored:   []byte{6: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone,
		want:      (*Task).wantBlocks,
		run:       (*Task).writeAndVerify,
	}, {
		name:    "PRE-FETCH (10)",
		usage:   []byte{0x34, 0x02, all, all, all, all, 0, all, all, control},
		ignored: []byte{6: groupNumber},
		flags:   extent,
		sharing: sharedReads,
		run:     (*Task).prefetch,
	}, {
		name:       "READ DEFECT DATA (10)",
		usage:      []byte{0x37, 0, 0x1f, 0, 0, 0, 0, all, all, control},
		direction:  DataIn,
		allocation: field{7, 2},
		sharing:    sharedReads,
		run:        (*Task).readDefects10,
	}, {
		name:      "COMPARE AND WRITE",
		usage:     []byte{0x89, 0x1a, all, all, all, all, all, all, all, all, 0, 0, 0, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone,
		count:     field{13, 1},
		want:      (*Task).wantCompare,
		run:       (*Task).compareAndWrite,
	}, {
		name:      "ORWRITE (16)",
		usage:     []byte{0x8b, 0x1a, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone,
		want:      (*Task).wantBlocks,
		run:       (*Task).orWrite,
	}, {
		name:      "WRITE AND VERIFY (16)",
		usage:     []byte{0x8e, 0x12, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone,
		want:      (*Task).wantBlocks,
		run:       (*Task).writeAndVerify,
	}, {
		name:    "PRE-FETCH (16)",
		usage:   []byte{0x90, 0x02, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored: []byte{14: groupNumber},
		flags:   extent,
		sharing: sharedReads,
		run:     (*Task).prefetch,
	}, {
		name:      "WRITE ATOMIC (16)",
		usage:     []byte{0x9c, 0x18, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{14: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone | atomicOnly,
		count:     field{12, 2},
		want:      (*Task).wantAtomic,
		run:       (*Task).writeAtomic,
	}, {
		name:       "GET LBA STATUS",
		usage:      []byte{0x9e, 0x12, all, all, all, all, all, all, all, all, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action | medium,
		allocation: field{10, 4},
		sharing:    sharedReads,
		run:        (*Task).lbaStatus,
	}, {
		name:      "WRITE AND VERIFY (12)",
		usage:     []byte{0xae, 0x12, all, all, all, all, all, all, all, all, 0, control},
		ignored:   []byte{10: groupNumber},
		direction: DataOut,
		flags:     extent | transfers | writes | alone,
		want:      (*Task).wantBlocks,
		run:       (*Task).writeAndVerify,
	}, {
		name:       "READ DEFECT DATA (12)",
		usage:      []byte{0xb7, 0x1f, all, all, all, all, all, all, all, all, 0, control},
		direction:  DataIn,
		allocation: field{6, 4},
		sharing:    sharedReads,
		run:        (*Task).readDefects12,
	}}
}
