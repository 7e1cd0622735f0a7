package iscsitest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Command is a SCSI command to send. EDTL is the length of Out, or In, unless
// it is set.
type Command struct {
	LUN       uint16 // up to 255
	CDB       []byte // up to 16 bytes
	Out       []byte
	In        int // bytes expected
	EDTL      uint32
	Immediate bool
	Attr      byte // task attribute; 0 = simple
}

// Result is how a command ended.
type Result struct {
	Status              byte
	Sense               []byte
	Data                []byte
	Overflow, Underflow bool
	Residual            uint32
}

// SenseCode returns sense key and additional sense code as KKAAQQ, 0 if there
// is none.
func (r Result) SenseCode() uint32 {
	if len(r.Sense) < 14 {
		return 0
	}
	return uint32(r.Sense[2]&15)<<16 | uint32(r.Sense[12])<<8 | uint32(r.Sense[13])
}

// PutLUN stores a LUN up to 255 in a header.
func (p *PDU) PutLUN(lun uint16) { p.Put16(8, lun) }

// Request makes the PDU of a command, uses up an ITT and (unless it is
// immediate) a CmdSN, and adds as much immediate data as was agreed on.
// unsolicited says that more data follows without R2T.
func (c *Conn) Request(cmd Command) (p PDU, unsolicited bool) {
	attr := cmd.Attr
	if attr == 0 {
		attr = 1
	}
	p.BHS[0], p.BHS[1] = 0x01, 0x80|attr
	if cmd.Immediate {
		p.BHS[0] |= 0x40
	}
	edtl := cmd.EDTL
	switch {
	case cmd.Out != nil:
		p.BHS[1] |= 0x20
		if edtl == 0 {
			edtl = uint32(len(cmd.Out))
		}
		if c.ImmediateData {
			p.Data = cmd.Out[:min(len(cmd.Out), c.FirstBurst, c.TargetRecvLimit)]
		}
		if !c.InitialR2T && len(p.Data) < min(len(cmd.Out), c.FirstBurst) {
			unsolicited = true
			p.BHS[1] &^= 0x80
		}
	case cmd.In > 0:
		p.BHS[1] |= 0x40
		if edtl == 0 {
			edtl = uint32(cmd.In)
		}
	}
	p.PutLUN(cmd.LUN)
	p.Put32(16, c.NextITT())
	p.Put32(20, edtl)
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	copy(p.BHS[32:], cmd.CDB)
	if !cmd.Immediate {
		c.CmdSN++
	}
	return p, unsolicited
}

// NextITT returns a fresh task tag.
func (c *Conn) NextITT() uint32 {
	c.ITT++
	return c.ITT - 1
}

// Start sends a command with what data may go without R2T, and returns its
// task tag.
func (c *Conn) Start(cmd Command) (itt uint32, err error) {
	p, unsolicited := c.Request(cmd)
	if err := c.Send(p); err != nil || !unsolicited {
		return p.ITT(), err
	}
	return p.ITT(), c.SendData(p.ITT(), 0xffffffff, cmd.LUN, cmd.Out[:min(len(cmd.Out), c.FirstBurst)], len(p.Data))
}

// SendData sends data[from:] in Data-Out PDUs as large as the target takes.
// Offsets are those in data.
func (c *Conn) SendData(itt, ttt uint32, lun uint16, data []byte, from int) error {
	for sn := uint32(0); from < len(data); sn++ {
		n := min(c.TargetRecvLimit, len(data)-from)
		p := c.DataOut(itt, ttt, lun, sn, from, data[from:from+n])
		if from += n; from < len(data) {
			p.BHS[1] = 0
		}
		if err := c.Send(p); err != nil {
			return err
		}
	}
	return nil
}

// DataOut makes a final Data-Out PDU.
func (c *Conn) DataOut(itt, ttt uint32, lun uint16, sn uint32, off int, data []byte) PDU {
	p := PDU{Data: data}
	p.BHS[0], p.BHS[1] = 0x05, 0x80
	p.PutLUN(lun)
	p.Put32(16, itt)
	p.Put32(20, ttt)
	p.Put32(28, c.ExpStatSN)
	p.Put32(36, sn)
	p.Put32(40, uint32(off))
	return p
}

// Finish receives until the command with the tag has ended, and sends what it
// asks for. PDUs of other commands are an error.
func (c *Conn) Finish(itt uint32, cmd Command) (Result, error) {
	var r Result
	for dataSN := uint32(0); ; {
		p, err := c.Receive()
		if err != nil {
			return r, err
		}
		if p.ITT() != itt {
			return r, fmt.Errorf("unexpected %v", &p)
		}
		switch p.Op() {
		case 0x31: // R2T
			off, n := int(p.U32(40)), int(p.U32(44))
			if off+n > len(cmd.Out) {
				return r, fmt.Errorf("R2T beyond the data: %v", &p)
			}
			if err := c.SendData(itt, p.U32(20), cmd.LUN, cmd.Out[:off+n], off); err != nil {
				return r, err
			}
		case 0x25: // Data-In
			if p.U32(36) != dataSN || int(p.U32(40)) != len(r.Data) {
				return r, fmt.Errorf("Data-In out of order: %v", &p)
			}
			dataSN++
			r.Data = append(r.Data, p.Data...)
			if p.BHS[1]&1 != 0 {
				return r.end(&p), nil
			}
		case 0x21: // SCSI Response
			if p.BHS[2] != 0 {
				return r, fmt.Errorf("service response %d", p.BHS[2])
			}
			if len(p.Data) >= 2 {
				n := int(binary.BigEndian.Uint16(p.Data))
				if n > len(p.Data)-2 {
					return r, errors.New("sense data is cut off")
				}
				r.Sense = p.Data[2 : 2+n]
			}
			return r.end(&p), nil
		default:
			return r, fmt.Errorf("unexpected %v", &p)
		}
	}
}

func (r Result) end(p *PDU) Result {
	r.Status = p.BHS[3]
	r.Overflow, r.Underflow = p.BHS[1]&4 != 0, p.BHS[1]&2 != 0
	r.Residual = p.U32(44)
	return r
}

// Do sends a command and sees it through.
func (c *Conn) Do(cmd Command) (Result, error) {
	itt, err := c.Start(cmd)
	if err != nil {
		return Result{}, err
	}
	return c.Finish(itt, cmd)
}

// Read10 makes a READ (10) of blocks with this size.
func Read10(lba uint32, blocks uint16, size int) Command {
	return Command{CDB: cdb10(0x28, lba, blocks), In: int(blocks) * size}
}

// Write10 makes a WRITE (10) of data.
func Write10(lba uint32, data []byte, size int) Command {
	return Command{CDB: cdb10(0x2a, lba, uint16(len(data)/size)), Out: data}
}

// TestUnitReady is TEST UNIT READY.
func TestUnitReady() Command { return Command{CDB: make([]byte, 6)} }

func cdb10(op byte, lba uint32, blocks uint16) []byte {
	b := make([]byte, 10)
	b[0] = op
	binary.BigEndian.PutUint32(b[2:], lba)
	binary.BigEndian.PutUint16(b[7:], blocks)
	return b
}

// Task management functions.
const (
	AbortTask    = 1
	AbortTaskSet = 2
	ClearTaskSet = 4
	LUNReset     = 5
	WarmReset    = 6
	ColdReset    = 7
)

// Manage makes an immediate task management request.
func (c *Conn) Manage(function byte, lun uint16, ref uint32) PDU {
	var p PDU
	p.BHS[0], p.BHS[1] = 0x42, 0x80|function
	p.PutLUN(lun)
	p.Put32(16, c.NextITT())
	p.Put32(20, ref)
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	return p
}

// Logout makes an immediate logout request that closes the session.
func (c *Conn) Logout() PDU {
	var p PDU
	p.BHS[0], p.BHS[1] = 0x46, 0x80
	p.Put32(16, c.NextITT())
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	return p
}

// TextRequest makes an immediate text request.
func (c *Conn) TextRequest(ttt uint32, keys ...string) PDU {
	p := PDU{Data: Text(keys...)}
	p.BHS[0], p.BHS[1] = 0x44, 0x80
	p.Put32(16, c.NextITT())
	p.Put32(20, ttt)
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	return p
}
