package iscsitest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// LoginRequest makes a login request. to = 0 asks for no transition.
func (c *Conn) LoginRequest(stage, to byte, keys ...string) PDU {
	p := PDU{Data: Text(keys...)}
	p.BHS[0] = 0x43
	p.BHS[1] = stage << 2
	if to != 0 {
		p.BHS[1] |= 0x80 | to
	}
	copy(p.BHS[8:], c.ISID[:])
	p.Put16(14, c.TSIH)
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	return p
}

// NOPOut makes a ping with this data. Unless it is immediate it uses up a
// CmdSN.
func (c *Conn) NOPOut(immediate bool, data []byte) PDU {
	p := PDU{Data: data}
	p.BHS[1] = 0x80
	if immediate {
		p.BHS[0] = 0x40
	}
	p.Put32(16, c.NextITT())
	p.Put32(20, 0xffffffff)
	p.Put32(24, c.CmdSN)
	p.Put32(28, c.ExpStatSN)
	if !immediate {
		c.CmdSN++
	}
	return p
}

// SNACK makes a SNACK request of a type (RFC 7143 section 11.16.1).
func (c *Conn) SNACK(kind byte, itt, ttt, begin, run uint32) PDU {
	var p PDU
	p.BHS[0], p.BHS[1] = 0x10, 0x80|kind
	p.Put32(16, itt)
	p.Put32(20, ttt)
	p.Put32(28, c.ExpStatSN)
	p.Put32(40, begin)
	p.Put32(44, run)
	return p
}

// Exchange sends a PDU and receives the next one.
func (c *Conn) Exchange(p PDU) (PDU, error) {
	if err := c.Send(p); err != nil {
		return PDU{}, err
	}
	return c.Receive()
}

// Waiting says whether something comes from the target within d; it is left
// for Receive. An error is the end of the connection.
func (c *Conn) Waiting(d time.Duration) (bool, error) {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, err
	}
	_, err := c.r.Peek(1)
	if again := c.SetReadDeadline(c.deadline); again != nil {
		return false, again
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, nil
	}
	return err == nil, err
}

// Quiet returns an error if anything comes from the target within d, or the
// connection ends.
func (c *Conn) Quiet(d time.Duration) error {
	something, err := c.Waiting(d)
	if err != nil {
		return fmt.Errorf("cannot wait for silence: %w", err)
	}
	if !something {
		return nil
	}
	p, err := c.Receive()
	if err != nil {
		return err
	}
	return fmt.Errorf("unexpected %v", &p)
}

// Gone receives until the target has closed the connection. It returns an
// error if that doesn't happen within d.
func (c *Conn) Gone(d time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the connection is still open")
	}
	return nil // an end, or a reset
}
