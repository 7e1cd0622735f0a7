package run

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The few PDUs of a discovery session (RFC 7143 sections 11.10 to 11.13).
const (
	headerSize = 48
	maxData    = 8192 // what we declare as MaxRecvDataSegmentLength

	opText, opLogin                     = 0x04, 0x03
	opTextResponse, opLoginResponse     = 0x24, 0x23
	immediate, final                    = 0x40, 0x80
	loginTransit, loginStage, fullStage = 0x80, 1 << 2, 3

	atStage, atLength, atTag, atTransfer, atStatus = 1, 4, 16, 20, 36
)

// loginRequest logs in to a discovery session with the defaults of every negotiable key but two.
func loginRequest() []byte {
	p := request(opLogin|immediate, "InitiatorName=iqn.2006-12.org.sanstick:imagebuild\x00SessionType=Discovery\x00"+
		"HeaderDigest=None\x00DataDigest=None\x00MaxRecvDataSegmentLength=8192\x00")
	p[atStage] = loginTransit | loginStage | fullStage
	p[8] = 0x40 // ISID, type "random"
	return p
}

// textRequest asks for all targets.
func textRequest() []byte {
	p := request(opText|immediate, "SendTargets=All\x00")
	p[atStage] = final
	binary.BigEndian.PutUint32(p[atTag:], 1)
	binary.BigEndian.PutUint32(p[atTransfer:], 0xffff_ffff)
	return p
}

func request(opcode byte, text string) []byte {
	p := make([]byte, headerSize, headerSize+len(text)+3)
	p[0] = opcode
	p[5], p[6], p[7] = byte(len(text)>>16), byte(len(text)>>8), byte(len(text))
	p = append(p, text...)
	for len(p)%4 != 0 {
		p = append(p, 0)
	}
	return p
}

// exchange sends a request and returns the text of the answer.
func exchange(rw io.ReadWriter, req []byte) (string, error) {
	if _, err := rw.Write(req); err != nil {
		return "", fmt.Errorf("cannot ask the appliance: %w", err)
	}
	h := make([]byte, headerSize)
	if _, err := io.ReadFull(rw, h); err != nil {
		return "", fmt.Errorf("cannot read the appliance's answer: %w", err)
	}
	opcode := h[0] & 0x3f
	if want := req[0]&0x3f | 0x20; opcode != want {
		return "", fmt.Errorf("cannot use the appliance's answer: PDU %#x, not %#x", opcode, want)
	}
	if opcode == opLoginResponse && h[atStatus] != 0 {
		return "", fmt.Errorf("cannot log in to the appliance: status %02x%02x", h[atStatus], h[atStatus+1])
	}
	n := int(h[5])<<16 | int(h[6])<<8 | int(h[7])
	if n > maxData {
		return "", fmt.Errorf("cannot use the appliance's answer: %d bytes of text", n)
	}
	text := make([]byte, (int(h[atLength])*4)+(n+3)/4*4) // additional header segments come first
	if _, err := io.ReadFull(rw, text); err != nil {
		return "", fmt.Errorf("cannot read the appliance's answer: %w", err)
	}
	text = text[int(h[atLength])*4:]
	return string(text[:n]), nil
}
