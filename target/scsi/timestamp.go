package scsi

import (
	"encoding/binary"
	"time"
)

const timestampChanged code = 0x2a10

// timestamp is what SET TIMESTAMP has set, in milliseconds, and when.
type timestamp struct {
	value uint64
	at    time.Time
}

// Where a timestamp comes from (SPC-4 table 72).
const (
	fromInitiator = 2
	fromElsewhere = 3 // the clock of the machine
)

// now returns the unit's timestamp, in milliseconds since 1970.
func (u *Unit) now() (ms uint64, origin byte) {
	if s := u.timestamp.Load(); s != nil {
		return s.value + uint64(time.Since(s.at).Milliseconds()), fromInitiator
	}
	return uint64(time.Now().UnixMilli()), fromElsewhere
}

func timestampCommands() []command {
	return []command{{
		name:       "REPORT TIMESTAMP",
		usage:      []byte{0xa3, 0x0f, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{6, 4},
		sharing:    sharedAlways,
		types:      anyType,
		run:        (*Task).reportTimestamp,
	}, {
		name:      "SET TIMESTAMP",
		usage:     []byte{0xa4, 0x0f, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction: DataOut,
		flags:     action,
		types:     anyType,
		want:      func(t *Task) int { return int(min(field{6, 4}.read(t.cdb), timestampList)) },
		run:       (*Task).setTimestamp,
	}, {
		name:       "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
		usage:      []byte{0xa3, 0x0d, 0x80, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: field{6, 4},
		sharing:    sharedReads,
		types:      anyType,
		run:        (*Task).reportFunctions,
	}}
}

// timestampList is the length of the parameter list of SET TIMESTAMP; a longer
// one is not looked at further.
const timestampList = 12

// reportTimestamp serves REPORT TIMESTAMP (SPC-4 section 6.38).
func (t *Task) reportTimestamp() Result {
	ms, origin := t.path.unit.now()
	var v [8]byte
	binary.BigEndian.PutUint64(v[:], ms)
	b := []byte{0, 10, origin, 0, 4: 0, 11: 0}
	copy(b[4:], v[2:])
	return t.reply(b)
}

// setTimestamp serves SET TIMESTAMP (SPC-4 section 6.46).
func (t *Task) setTimestamp() Result {
	switch {
	case t.want == 0:
		return Result{Status: Good}
	case t.want < timestampList, len(t.out) < t.want:
		return t.check(illegal(parameterListLength))
	}
	for _, i := range []int{0, 1, 2, 3, 10, 11} {
		if t.out[i] != 0 {
			return t.check(badParameter(i))
		}
	}
	var v [8]byte
	copy(v[2:], t.out[4:10])
	t.path.unit.timestamp.Store(&timestamp{binary.BigEndian.Uint64(v[:]), time.Now()})
	t.path.unit.attention(timestampChanged, t.nexus)
	return Result{Status: Good}
}

// reportFunctions serves REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4
// section 6.36) with what package iscsi does: all of SAM but CLEAR ACA and the
// queries, and target resets.
func (t *Task) reportFunctions() Result {
	b := []byte{0xda, 0, 0, 0} // ATS, ATSS, CTSS, LURS, TRS
	if t.cdb[2]&0x80 != 0 {    // REPD: no timeouts are promised
		b[3] = 12
		b = append(b, make([]byte, 12)...)
	}
	return t.reply(b)
}
