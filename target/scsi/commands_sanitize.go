package scsi

// sanitizeCommands are the service actions of SANITIZE (SBC-3 section 5.21).
// CRYPTOGRAPHIC ERASE isn't one of them: nothing here is encrypted. They don't
// have the flag writes, since it is not the commands that do that.
func sanitizeCommands() []command {
	return []command{{
		name:      "SANITIZE, OVERWRITE",
		usage:     []byte{0x48, 0xa0 | sanitizeOverwrite, 0, 0, 0, 0, 0, all, all, control},
		direction: DataOut,
		flags:     action | medium | repairs,
		want:      (*Task).wantOverwrite,
		run:       (*Task).sanitizeOverwrite,
	}, {
		name:  "SANITIZE, BLOCK ERASE",
		usage: []byte{0x48, 0xa0 | sanitizeErase, 0, 0, 0, 0, 0, 0, 0, control},
		flags: action | medium | repairs | thinOnly,
		run:   (*Task).sanitizeErase,
	}, {
		name:  "SANITIZE, EXIT FAILURE MODE",
		usage: []byte{0x48, sanitizeExit, 0, 0, 0, 0, 0, 0, 0, control},
		flags: action | medium | repairs,
		run:   (*Task).sanitizeExit,
	}}
}

const (
	sanitizeOverwrite = 0x01
	sanitizeErase     = 0x02
	sanitizeExit      = 0x1f

	sanitizeImmediate    = 0x80
	sanitizeUnrestricted = 0x20
)
