package pdu

// SCSICommand is section 11.3.
type SCSICommand struct {
	Immediate, Final, Read, Write bool
	Attr                          byte // task attribute: AttrSimple, ...
	LUN                           [8]byte
	ITT, EDTL, CmdSN, ExpStatSN   uint32
	CDB                           [16]byte
}

// Task attributes (section 11.3.1).
const (
	AttrUntagged    = 0
	AttrSimple      = 1
	AttrOrdered     = 2
	AttrHeadOfQueue = 3
	AttrACA         = 4
)

// Decode reads the fields of h.
func (p *SCSICommand) Decode(h *BHS) {
	*p = SCSICommand{
		Immediate: h.Immediate(), Final: h.Final(), Read: h.flag(1, 0x40), Write: h.flag(1, 0x20),
		Attr: h[1] & 7, LUN: h.lun(), ITT: h.u32(16), EDTL: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28),
		CDB: [16]byte(h[32:48]),
	}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *SCSICommand) Encode(h *BHS) {
	h.start(OpSCSICommand, p.Immediate, p.Final)
	h.setFlag(1, 0x40, p.Read)
	h.setFlag(1, 0x20, p.Write)
	h[1] |= p.Attr & 7
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.EDTL)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
	copy(h[32:], p.CDB[:])
}

// TaskRequest is a Task Management Function Request, section 11.5.
type TaskRequest struct {
	Immediate                                          bool
	Function                                           byte
	LUN                                                [8]byte
	ITT, RefTag, CmdSN, ExpStatSN, RefCmdSN, ExpDataSN uint32
}

// Task management functions (section 11.5.1).
const (
	TMFAbortTask    = 1
	TMFAbortTaskSet = 2
	TMFClearACA     = 3
	TMFClearTaskSet = 4
	TMFLUNReset     = 5
	TMFWarmReset    = 6
	TMFColdReset    = 7
	TMFReassign     = 8
)

// Decode reads the fields of h.
func (p *TaskRequest) Decode(h *BHS) {
	*p = TaskRequest{
		Immediate: h.Immediate(), Function: h[1] & 0x7f, LUN: h.lun(), ITT: h.u32(16), RefTag: h.u32(20),
		CmdSN: h.u32(24), ExpStatSN: h.u32(28), RefCmdSN: h.u32(32), ExpDataSN: h.u32(36),
	}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *TaskRequest) Encode(h *BHS) {
	h.start(OpTaskRequest, p.Immediate, true)
	h[1] |= p.Function & 0x7f
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.RefTag)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
	h.put32(32, p.RefCmdSN)
	h.put32(36, p.ExpDataSN)
}

// DataOut is a SCSI Data-Out PDU, section 11.7.
type DataOut struct {
	Final                               bool
	LUN                                 [8]byte
	ITT, TTT, ExpStatSN, DataSN, Offset uint32
}

// Decode reads the fields of h.
func (p *DataOut) Decode(h *BHS) {
	*p = DataOut{
		Final: h.Final(), LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20),
		ExpStatSN: h.u32(28), DataSN: h.u32(36), Offset: h.u32(40),
	}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *DataOut) Encode(h *BHS) {
	h.start(OpDataOut, false, p.Final)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(28, p.ExpStatSN)
	h.put32(36, p.DataSN)
	h.put32(40, p.Offset)
}

// NOPOut is section 11.18.
type NOPOut struct {
	Immediate                  bool
	LUN                        [8]byte
	ITT, TTT, CmdSN, ExpStatSN uint32
}

// Decode reads the fields of h.
func (p *NOPOut) Decode(h *BHS) {
	*p = NOPOut{Immediate: h.Immediate(), LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28)}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *NOPOut) Encode(h *BHS) {
	h.start(OpNOPOut, p.Immediate, true)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

// LoginRequest is section 11.12.
type LoginRequest struct {
	Transit, Continue      bool
	CSG, NSG               byte
	VersionMax, VersionMin byte
	ISID                   [6]byte
	TSIH                   uint16
	ITT                    uint32
	CID                    uint16
	CmdSN, ExpStatSN       uint32
}

// Decode reads the fields of h.
func (p *LoginRequest) Decode(h *BHS) {
	*p = LoginRequest{
		Transit: h.flag(1, 0x80), Continue: h.flag(1, 0x40), CSG: h[1] >> 2 & 3, NSG: h[1] & 3,
		VersionMax: h[2], VersionMin: h[3], ISID: [6]byte(h[8:14]), TSIH: h.u16(14), ITT: h.u32(16),
		CID: h.u16(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28),
	}
}

// Encode writes the fields into h, and zero elsewhere. Login requests are
// always immediate.
func (p *LoginRequest) Encode(h *BHS) {
	h.start(OpLoginRequest, true, p.Transit)
	h.setFlag(1, 0x40, p.Continue)
	h[1] |= p.CSG&3<<2 | p.NSG&3
	h[2], h[3] = p.VersionMax, p.VersionMin
	copy(h[8:14], p.ISID[:])
	h.put16(14, p.TSIH)
	h.put32(16, p.ITT)
	h.put16(20, p.CID)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

// TextRequest is section 11.10.
type TextRequest struct {
	Immediate, Final, Continue bool
	LUN                        [8]byte
	ITT, TTT, CmdSN, ExpStatSN uint32
}

// Decode reads the fields of h.
func (p *TextRequest) Decode(h *BHS) {
	*p = TextRequest{
		Immediate: h.Immediate(), Final: h.Final(), Continue: h.flag(1, 0x40), LUN: h.lun(),
		ITT: h.u32(16), TTT: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28),
	}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *TextRequest) Encode(h *BHS) {
	h.start(OpTextRequest, p.Immediate, p.Final)
	h.setFlag(1, 0x40, p.Continue)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

// LogoutRequest is section 11.14.
type LogoutRequest struct {
	Immediate        bool
	Reason           byte
	ITT              uint32
	CID              uint16
	CmdSN, ExpStatSN uint32
}

// Logout reasons (section 11.14.1).
const (
	LogoutSession    = 0
	LogoutConnection = 1
	LogoutRecovery   = 2
)

// Decode reads the fields of h.
func (p *LogoutRequest) Decode(h *BHS) {
	*p = LogoutRequest{Immediate: h.Immediate(), Reason: h[1] & 0x7f, ITT: h.u32(16), CID: h.u16(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28)}
}

// Encode writes the fields into h, and zero elsewhere.
func (p *LogoutRequest) Encode(h *BHS) {
	h.start(OpLogout, p.Immediate, true)
	h[1] |= p.Reason & 0x7f
	h.put32(16, p.ITT)
	h.put16(20, p.CID)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}
