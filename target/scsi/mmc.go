package scsi

import "encoding/binary"

const incompatibleMedium code = 0x3002

// discCommands are those of MMC-6 that a drive has beside what every unit has:
// enough to find and read a disc with one track of data.
func discCommands() []command {
	return []command{{
		name:       "READ TOC/PMA/ATIP",
		usage:      []byte{0x43, 0x02, 0x0f, 0, 0, 0, all, all, all, control},
		direction:  DataIn,
		flags:      medium,
		allocation: field{7, 2},
		sharing:    sharedReads,
		types:      disc,
		run:        (*Task).readTOC,
	}, {
		name:       "GET CONFIGURATION",
		usage:      []byte{0x46, 0x03, all, all, 0, 0, 0, all, all, control},
		direction:  DataIn,
		flags:      passAttention,
		allocation: field{7, 2},
		sharing:    sharedAlways,
		types:      disc,
		run:        (*Task).getConfiguration,
	}, {
		name:       "GET EVENT STATUS NOTIFICATION",
		usage:      []byte{0x4a, 0x01, 0, 0, all, 0, 0, all, all, control},
		direction:  DataIn,
		flags:      passAttention,
		allocation: field{7, 2},
		sharing:    sharedAlways,
		types:      disc,
		run:        (*Task).getEvents,
	}, {
		name:       "READ DISC INFORMATION",
		usage:      []byte{0x51, 0, 0, 0, 0, 0, 0, all, all, control},
		direction:  DataIn,
		flags:      medium,
		allocation: field{7, 2},
		sharing:    sharedReads,
		types:      disc,
		run:        (*Task).discInformation,
	}, {
		name:       "READ TRACK INFORMATION",
		usage:      []byte{0x52, 0x03, all, all, all, all, 0, all, all, control},
		direction:  DataIn,
		flags:      medium,
		allocation: field{7, 2},
		sharing:    sharedReads,
		types:      disc,
		run:        (*Task).trackInformation,
	}, {
		name:       "READ DVD STRUCTURE",
		usage:      []byte{0xad, 0, all, all, all, all, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      medium,
		allocation: field{8, 2},
		sharing:    sharedReads,
		types:      disc,
		run:        (*Task).dvdStructure,
	}, {
		name:       "MECHANISM STATUS",
		usage:      []byte{0xbd, 0, 0, 0, 0, 0, 0, 0, all, all, 0, control},
		direction:  DataIn,
		allocation: field{8, 2},
		sharing:    sharedAlways,
		types:      disc,
		run:        (*Task).mechanismStatus,
	}}
}

// getEvents serves GET EVENT STATUS NOTIFICATION (MMC-6 section 6.6), polled:
// events of the class media, of which each nexus is told the last.
func (t *Task) getEvents() Result {
	const media, classMedia = 0x10, 4
	if t.cdb[1]&1 == 0 {
		return t.check(badCDB(1, 0)) // there is no asynchronous operation
	}
	if t.cdb[4]&media == 0 {
		return t.reply([]byte{0, 2, 0x80, media}) // NEA: no event available
	}
	b := []byte{0, 6, classMedia, media, byte(t.path.event.Swap(noEvent)), 0, 0, 0}
	b[5] = 0x02 // media present
	if !t.present() {
		b[5] = 0x01 // tray open
	}
	return t.reply(b)
}

// Profiles (MMC-6 table 94).
const (
	profileCD  = 0x0008
	profileDVD = 0x0010
)

// getConfiguration serves GET CONFIGURATION (MMC-6 section 6.5).
func (t *Task) getConfiguration() Result {
	kind, from := t.cdb[1]&3, binary.BigEndian.Uint16(t.cdb[2:])
	if kind == 3 {
		return t.check(badCDB(1, 1))
	}
	profile := uint16(0)
	switch {
	case t.present() && t.dvd():
		profile = profileDVD
	case t.present():
		profile = profileCD
	}
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[6:], profile)
	for _, f := range features(profile) {
		switch {
		case f.code < from, kind == 1 && !f.current, kind == 2 && f.code != from:
			continue
		}
		flags := f.flags
		if f.current {
			flags |= 0x01
		}
		b = append(b, byte(f.code>>8), byte(f.code), flags, byte(len(f.data)))
		b = append(b, f.data...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return t.reply(b)
}

// feature is a feature descriptor (MMC-6 section 5.2.2).
type feature struct {
	code    uint16
	flags   byte // version, persistent
	current bool
	data    []byte
}

// features are those of a drive with a disc of some profile, in ascending
// order.
func features(profile uint16) []feature {
	is := func(p uint16) byte {
		if p == profile {
			return 1
		}
		return 0
	}
	return []feature{
		{0x0000, 0x02, true, []byte{0, profileDVD, is(profileDVD), 0, 0, profileCD, is(profileCD), 0}},
		{0x0001, 0x0a, true, []byte{0, 0, 0, 1, 0, 0, 0, 0}}, // core: on a SCSI transport
		{0x0002, 0x06, true, []byte{0, 0, 0, 0}},             // morphing
		{0x0003, 0x02, true, []byte{0x39, 0, 0, 0}},          // removable medium: tray, load, eject, lock
		{0x0010, 0x00, profile != 0, []byte{0, 0, discBlock >> 8, 0, 0, 1, 0, 0}},
		{0x001f, 0x04, profile == profileDVD, []byte{0, 0, 0, 0}}, // DVD read
	}
}

// discInformation serves READ DISC INFORMATION (MMC-6 section 6.22): one
// session with one track, complete.
func (t *Task) discInformation() Result {
	b := make([]byte, 34)
	b[1] = byte(len(b) - 2)
	b[2] = 0x0e                         // last session complete, disc complete
	b[3], b[4], b[5], b[6] = 1, 1, 1, 1 // first track; sessions; first and last track in the last session
	b[7] = 0x20                         // unrestricted use
	for i := 16; i < 24; i++ {          // no further lead-in or lead-out can be written
		b[i] = 0xff
	}
	return t.reply(b)
}

// trackInformation serves READ TRACK INFORMATION (MMC-6 section 6.27) for the
// one track there is, or the lead-in or the lead-out.
func (t *Task) trackInformation() Result {
	address := binary.BigEndian.Uint32(t.cdb[2:])
	switch t.cdb[1] & 3 {
	case 0: // by LBA
		if uint64(address) > t.lastLBA() {
			return t.check(illegal(lbaOutOfRange))
		}
	case 1, 2: // by number of track, of session
		if address != 1 {
			return t.check(badCDB(2, noBit))
		}
	default:
		return t.check(badCDB(1, 1))
	}
	b := make([]byte, 36)
	b[1] = byte(len(b) - 2)
	b[2], b[3] = 1, 1
	b[5] = 0x04 // a data track, recorded uninterrupted
	b[6] = 0x01 // mode 1
	binary.BigEndian.PutUint32(b[24:], uint32(t.lastLBA()+1))
	return t.reply(b)
}

// mechanismStatus serves MECHANISM STATUS (MMC-6 section 6.13).
func (t *Task) mechanismStatus() Result {
	b := make([]byte, 8)
	if !t.present() {
		b[1] = 0x10 // door open
	}
	return t.reply(b)
}

// dvdStructure serves READ DVD STRUCTURE (MMC-6 section 6.23): the formats
// physical (00) and copyright (01), and the list of them (FF).
func (t *Task) dvdStructure() Result {
	if !t.dvd() {
		return t.check(illegal(incompatibleMedium))
	}
	if t.cdb[6] != 0 { // a disc has one layer
		return t.check(badCDB(6, noBit))
	}
	const physicalSize, copyrightSize, listSize = 2052, 8, 16
	var b []byte
	switch t.cdb[7] {
	case 0x00:
		const first = 0x30000 // physical number of the first sector
		b = make([]byte, physicalSize)
		b[4] = 0x01 // DVD-ROM, part version 1
		b[5] = 0x0f // 120 mm, rate not told
		b[6] = 0x01 // one layer, read-only
		binary.BigEndian.PutUint32(b[8:], first)
		binary.BigEndian.PutUint32(b[12:], uint32(min(first+t.lastLBA(), 0xffffff)))
	case 0x01:
		b = make([]byte, copyrightSize) // no protection, all regions
	case 0xff:
		b = make([]byte, 4, listSize)
		b = append(b, 0x00, 0x40, physicalSize>>8, physicalSize&0xff, 0x01, 0x40, 0, copyrightSize, 0xff, 0x40, 0, listSize)
	default:
		return t.check(badCDB(7, noBit))
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return t.reply(b)
}
