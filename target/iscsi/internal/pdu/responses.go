package pdu

// Window is the sequence numbers that every target PDU carries at bytes 24..35.
type Window struct{ StatSN, ExpCmdSN, MaxCmdSN uint32 }

// SetWindow stores the sequence numbers in a target PDU, whatever its opcode.
func (h *BHS) SetWindow(w Window) {
	h.put32(24, w.StatSN)
	h.put32(28, w.ExpCmdSN)
	h.put32(32, w.MaxCmdSN)
}

// Window returns the sequence numbers of a target PDU.
func (h *BHS) Window() Window { return Window{h.u32(24), h.u32(28), h.u32(32)} }

// Residual is how much more or less data a command moved than the initiator
// expected (section 11.4.5). At most one of the flags is set.
type Residual struct {
	Overflow, Underflow bool
	Count               uint32
}

func (r Residual) encode(h *BHS) {
	h.setFlag(1, 0x04, r.Overflow)
	h.setFlag(1, 0x02, r.Underflow)
	h.put32(44, r.Count)
}

func (h *BHS) residual() Residual {
	return Residual{h.flag(1, 0x04), h.flag(1, 0x02), h.u32(44)}
}

// SCSIResponse is section 11.4.
type SCSIResponse struct {
	Residual         Residual
	Response, Status byte
	ITT, SNACKTag    uint32
	ExpDataSN        uint32
	BidiReadResidual uint32
}

// Encode writes the fields into h, and zero elsewhere.
func (p *SCSIResponse) Encode(h *BHS) {
	h.start(OpSCSIResponse, false, true)
	p.Residual.encode(h)
	h[2], h[3] = p.Response, p.Status
	h.put32(16, p.ITT)
	h.put32(20, p.SNACKTag)
	h.put32(36, p.ExpDataSN)
	h.put32(40, p.BidiReadResidual)
}

// Decode reads the fields of h.
func (p *SCSIResponse) Decode(h *BHS) {
	*p = SCSIResponse{
		Residual: h.residual(), Response: h[2], Status: h[3],
		ITT: h.u32(16), SNACKTag: h.u32(20), ExpDataSN: h.u32(36), BidiReadResidual: h.u32(40),
	}
}

// DataIn is a SCSI Data-In PDU, section 11.7. Residual and Status count only
// with HasStatus.
type DataIn struct {
	Final, HasStatus         bool
	Residual                 Residual
	Status                   byte
	LUN                      [8]byte
	ITT, TTT, DataSN, Offset uint32
}

// Encode writes the fields into h, and zero elsewhere.
func (p *DataIn) Encode(h *BHS) {
	h.start(OpDataIn, false, p.Final)
	if p.HasStatus {
		h[1] |= 0x01
		h[3] = p.Status
		p.Residual.encode(h)
	}
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(36, p.DataSN)
	h.put32(40, p.Offset)
}

// Decode reads the fields of h.
func (p *DataIn) Decode(h *BHS) {
	*p = DataIn{Final: h.Final(), HasStatus: h.flag(1, 0x01), LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20), DataSN: h.u32(36), Offset: h.u32(40)}
	if p.HasStatus {
		p.Status, p.Residual = h[3], h.residual()
	}
}

// R2T is a Ready To Transfer PDU, section 11.8.
type R2T struct {
	LUN                             [8]byte
	ITT, TTT, R2TSN, Offset, Length uint32
}

// Encode writes the fields into h, and zero elsewhere.
func (p *R2T) Encode(h *BHS) {
	h.start(OpR2T, false, true)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(36, p.R2TSN)
	h.put32(40, p.Offset)
	h.put32(44, p.Length)
}

// Decode reads the fields of h.
func (p *R2T) Decode(h *BHS) {
	*p = R2T{LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20), R2TSN: h.u32(36), Offset: h.u32(40), Length: h.u32(44)}
}

// TaskResponse is a Task Management Function Response, section 11.6.
type TaskResponse struct {
	Response byte
	ITT      uint32
}

// Task management responses (section 11.6.1).
const (
	TMFComplete       = 0
	TMFNoTask         = 1
	TMFNoLUN          = 2
	TMFNotSupported   = 5
	TMFRejected       = 255
	TMFNoReassignment = 4
)

// Encode writes the fields into h, and zero elsewhere.
func (p *TaskResponse) Encode(h *BHS) {
	h.start(OpTaskResponse, false, true)
	h[2] = p.Response
	h.put32(16, p.ITT)
}

// Decode reads the fields of h.
func (p *TaskResponse) Decode(h *BHS) { *p = TaskResponse{Response: h[2], ITT: h.u32(16)} }

// LoginResponse is section 11.13.
type LoginResponse struct {
	Transit, Continue         bool
	CSG, NSG                  byte
	VersionMax, VersionActive byte
	ISID                      [6]byte
	TSIH                      uint16
	ITT                       uint32
	Status                    uint16 // class in the high byte, detail in the low
}

// Encode writes the fields into h, and zero elsewhere.
func (p *LoginResponse) Encode(h *BHS) {
	h.start(OpLoginResponse, false, p.Transit)
	h.setFlag(1, 0x40, p.Continue)
	h[1] |= p.CSG&3<<2 | p.NSG&3
	h[2], h[3] = p.VersionMax, p.VersionActive
	copy(h[8:14], p.ISID[:])
	h.put16(14, p.TSIH)
	h.put32(16, p.ITT)
	h.put16(36, p.Status)
}

// Decode reads the fields of h.
func (p *LoginResponse) Decode(h *BHS) {
	*p = LoginResponse{
		Transit: h.flag(1, 0x80), Continue: h.flag(1, 0x40), CSG: h[1] >> 2 & 3, NSG: h[1] & 3,
		VersionMax: h[2], VersionActive: h[3], ISID: [6]byte(h[8:14]), TSIH: h.u16(14), ITT: h.u32(16), Status: h.u16(36),
	}
}

// TextResponse is section 11.11.
type TextResponse struct {
	Final, Continue bool
	LUN             [8]byte
	ITT, TTT        uint32
}

// Encode writes the fields into h, and zero elsewhere.
func (p *TextResponse) Encode(h *BHS) {
	h.start(OpTextResponse, false, p.Final)
	h.setFlag(1, 0x40, p.Continue)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
}

// Decode reads the fields of h.
func (p *TextResponse) Decode(h *BHS) {
	*p = TextResponse{Final: h.Final(), Continue: h.flag(1, 0x40), LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20)}
}

// LogoutResponse is section 11.15. Times are seconds.
type LogoutResponse struct {
	Response               byte
	ITT                    uint32
	Time2Wait, Time2Retain uint16
}

// Logout responses (section 11.15.1).
const (
	LogoutDone        = 0
	LogoutNoCID       = 1
	LogoutNoRecovery  = 2
	LogoutCleanupFail = 3
)

// Encode writes the fields into h, and zero elsewhere.
func (p *LogoutResponse) Encode(h *BHS) {
	h.start(OpLogoutResponse, false, true)
	h[2] = p.Response
	h.put32(16, p.ITT)
	h.put16(40, p.Time2Wait)
	h.put16(42, p.Time2Retain)
}

// Decode reads the fields of h.
func (p *LogoutResponse) Decode(h *BHS) {
	*p = LogoutResponse{Response: h[2], ITT: h.u32(16), Time2Wait: h.u16(40), Time2Retain: h.u16(42)}
}

// NOPIn is section 11.19.
type NOPIn struct {
	LUN      [8]byte
	ITT, TTT uint32
}

// Encode writes the fields into h, and zero elsewhere.
func (p *NOPIn) Encode(h *BHS) {
	h.start(OpNOPIn, false, true)
	h.putLUN(p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
}

// Decode reads the fields of h.
func (p *NOPIn) Decode(h *BHS) { *p = NOPIn{LUN: h.lun(), ITT: h.u32(16), TTT: h.u32(20)} }

// Reject is section 11.17. The data segment is the header that was refused.
type Reject struct {
	Reason byte
	DataSN uint32
}

// Reject reasons (section 11.17.1).
const (
	RejectDataDigest    = 0x02
	RejectSNACK         = 0x03
	RejectProtocol      = 0x04
	RejectNotSupported  = 0x05
	RejectTooManyImm    = 0x06
	RejectTaskActive    = 0x07
	RejectInvalidField  = 0x09
	RejectLongOperation = 0x0a
	RejectAwaitLogout   = 0x0c
)

// Encode writes the fields into h, and zero elsewhere.
func (p *Reject) Encode(h *BHS) {
	h.start(OpReject, false, true)
	h[2] = p.Reason
	h.put32(16, Reserved)
	h.put32(36, p.DataSN)
}

// Decode reads the fields of h.
func (p *Reject) Decode(h *BHS) { *p = Reject{Reason: h[2], DataSN: h.u32(36)} }

// Async is an Asynchronous Message, section 11.9.
type Async struct {
	LUN                    [8]byte
	Event, VCode           byte
	Param1, Param2, Param3 uint16
}

// Asynchronous events (section 11.9.1).
const (
	AsyncSCSI          = 0
	AsyncLogoutRequest = 1
	AsyncDropConn      = 2
	AsyncDropSession   = 3
)

// Encode writes the fields into h, and zero elsewhere.
func (p *Async) Encode(h *BHS) {
	h.start(OpAsync, false, true)
	h.putLUN(p.LUN)
	h.put32(16, Reserved)
	h[36], h[37] = p.Event, p.VCode
	h.put16(38, p.Param1)
	h.put16(40, p.Param2)
	h.put16(42, p.Param3)
}

// Decode reads the fields of h.
func (p *Async) Decode(h *BHS) {
	*p = Async{LUN: h.lun(), Event: h[36], VCode: h[37], Param1: h.u16(38), Param2: h.u16(40), Param3: h.u16(42)}
}
