// Package scsi is a SCSI device server: it takes CDBs and answers with a
// status, sense data and data-in, for direct-access logical units (SPC-4,
// SBC-3), and for CD and DVD drives as far as it takes to read a disc (MMC-6). It knows neither sockets nor PDUs; the transport (package iscsi)
// moves the bytes.
//
// One table (commands.go) says for each operation code its CDB length, usage
// bits, data direction, checks and handler. Everything else follows from it:
// dispatch, the generic checks, and REPORT SUPPORTED OPERATION CODES.
package scsi

import "fmt"

// Status is a SCSI status code (SAM-5 section 5.3).
type Status byte

const (
	Good                Status = 0x00
	CheckCondition      Status = 0x02
	Busy                Status = 0x08
	ReservationConflict Status = 0x18
	TaskSetFull         Status = 0x28
	TaskAborted         Status = 0x40
)

func (s Status) String() string {
	switch s {
	case Good:
		return "GOOD"
	case CheckCondition:
		return "CHECK CONDITION"
	case Busy:
		return "BUSY"
	case ReservationConflict:
		return "RESERVATION CONFLICT"
	case TaskSetFull:
		return "TASK SET FULL"
	case TaskAborted:
		return "TASK ABORTED"
	}
	return fmt.Sprintf("status %#02x", byte(s))
}

// Direction is the way a command's data goes, seen from the initiator.
type Direction byte

const (
	NoData  Direction = iota
	DataOut           // to the device
	DataIn            // from the device
)

// Result is how a command ended.
type Result struct {
	Status Status
	// Sense is in the format (fixed or descriptor) that the unit's control
	// mode page asks for; empty unless Status is CheckCondition.
	Sense []byte
	// Data is the data-in, already cut to the CDB's allocation length. Empty
	// unless the command sends any. The transport cuts it further to what the
	// initiator expects and reports the residual against len(Data).
	Data []byte
}
