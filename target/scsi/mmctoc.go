package scsi

import "encoding/binary"

const (
	leadOut   = 0xaa // as a track number
	dataTrack = 0x14 // ADR 1: position; CONTROL 4: data, recorded uninterrupted
)

// readTOC serves READ TOC/PMA/ATIP (MMC-6 section 6.25) for a disc with one
// session and one track.
func (t *Task) readTOC() Result {
	format, from := t.cdb[2]&0x0f, t.cdb[6]
	if format == 0 {
		format = t.cdb[9] >> 6 // where SFF-8020 has it
	}
	end := t.lastLBA() + 1
	b := []byte{0, 0, 1, 1} // length; first and last track or session
	switch format {
	case 0: // TOC
		switch {
		case from <= 1:
			b = t.track(b, 1, 0)
		case from != leadOut:
			return t.check(badCDB(6, noBit))
		}
		b = t.track(b, leadOut, end)
	case 1: // multi-session information: first track of the last session
		b = t.track(b, 1, 0)
	case 2: // raw TOC
		if from > 1 {
			return t.check(badCDB(6, noBit))
		}
		point := func(point byte, p [3]byte) {
			b = append(b, 1, dataTrack, 0, point, 0, 0, 0, 0, p[0], p[1], p[2])
		}
		point(0xa0, [3]byte{1}) // first track
		point(0xa1, [3]byte{1}) // last track
		point(0xa2, msf(end))   // lead-out
		point(1, msf(0))
	default:
		return t.check(badCDB(2, 3))
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return t.reply(b)
}

// track appends a track descriptor, with the address as the CDB wants it.
func (t *Task) track(b []byte, number byte, lba uint64) []byte {
	b = append(b, 0, dataTrack, number, 0)
	if t.cdb[1]&0x02 == 0 {
		return binary.BigEndian.AppendUint32(b, uint32(min(lba, 0xffffffff)))
	}
	m := msf(lba)
	return append(b, 0, m[0], m[1], m[2])
}

// msf returns an LBA in minutes, seconds and frames; the highest there is if
// it is too high for that.
func msf(lba uint64) [3]byte {
	lba = min(lba+150, 256*60*75-1)
	return [3]byte{byte(lba / (60 * 75)), byte(lba / 75 % 60), byte(lba % 75)}
}
