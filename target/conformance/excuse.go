package main

import (
	"bytes"
	"encoding/binary"

	"sanstick/target/iscsitest"
)

// excused counts the target's PDUs in a frame for which what a dissector finds
// wrong is its own mistake: no more of its findings there are excused. A PDU is
// one of five:
//
//   - an answer that is as long as the request's allocation length and shorter
//     than its own header says: it was cut, as it has to be;
//   - an answer that is as long as the request's expected data transfer length,
//     and says by how much more it would have been (residual overflow);
//   - the list of supported log pages, which is taken for log parameters;
//   - text that goes on in the next PDU (the C bit is set), and so may end
//     anywhere;
//   - a Reject: the header in it, that is dissected too, is the initiator's.
//
// Both are the payloads of TCP segments that hold whole PDUs; requests may be
// empty.
func excused(responses, requests []byte, headerDigest, dataDigest bool) int {
	n := 0
	for r := bytes.NewReader(responses); ; {
		resp, err := iscsitest.ReadPDU(r, headerDigest, dataDigest)
		if err != nil {
			return n
		}
		if excusable(&resp, requests, headerDigest, dataDigest) {
			n++
		}
	}
}

func excusable(resp *iscsitest.PDU, requests []byte, headerDigest, dataDigest bool) bool {
	const login, text, dataIn, reject = 0x23, 0x24, 0x25, 0x3f
	switch resp.Op() {
	case login, text:
		const goesOn = 0x40
		return resp.BHS[1]&goesOn != 0
	case reject:
		return len(resp.Data) == len(resp.BHS)
	case dataIn:
		const withStatus = 0x01
		return resp.BHS[1]&withStatus != 0 && resp.BHS[3] == 0 && resp.U32(40) == 0 && isMistaken(resp, requests, headerDigest, dataDigest)
	}
	return false
}

// isMistaken says that the command's allocation length has cut the answer, or
// the length that the initiator expects, or that it is a list of log pages.
func isMistaken(resp *iscsitest.PDU, request []byte, headerDigest, dataDigest bool) bool {
	for r := bytes.NewReader(request); ; {
		req, err := iscsitest.ReadPDU(r, headerDigest, dataDigest)
		if err != nil {
			return false
		}
		const command = 0x01
		if req.Op() == command && req.ITT() == resp.ITT() {
			const overflow = 0x04
			if resp.BHS[1]&overflow != 0 {
				return resp.U32(44) > 0 && uint32(len(resp.Data)) == req.U32(20)
			}
			cdb := req.BHS[32:]
			if logSense := byte(0x4d); cdb[0] == logSense && cdb[2]&0x3f == 0 {
				return true
			}
			return len(resp.Data) == allocation(cdb) && len(resp.Data) < whole(cdb, resp.Data)
		}
	}
}

// allocation returns a CDB's allocation length, in bytes; -1 if that isn't
// known.
func allocation(cdb []byte) int {
	u16, u32 := binary.BigEndian.Uint16, binary.BigEndian.Uint32
	switch cdb[0] {
	case 0x12: // INQUIRY
		return int(u16(cdb[3:]))
	case 0x03, 0x1a: // REQUEST SENSE, MODE SENSE (6)
		return int(cdb[4])
	case 0x37, 0x43, 0x46, 0x4a, 0x4d, 0x51, 0x5a, 0x5e: // READ DEFECT DATA (10), READ TOC .., LOG SENSE, MODE SENSE (10), PERSISTENT RESERVE IN
		return int(u16(cdb[7:]))
	case 0xa0, 0xa3, 0xb7: // REPORT LUNS, MAINTENANCE IN, READ DEFECT DATA (12)
		return int(u32(cdb[6:]))
	case 0x84, 0x9e: // RECEIVE COPY RESULTS, SERVICE ACTION IN (16)
		return int(u32(cdb[10:]))
	}
	return -1
}

// whole returns how long an answer says it is, in bytes. Of one that is too
// short to say, it is what's needed to say it.
func whole(cdb, data []byte) int {
	// at reads a length of size bytes at off, which leaves out the first more.
	at := func(off, size, more int) int {
		if len(data) < off+size {
			return off + size
		}
		n := 0
		for _, b := range data[off : off+size] {
			n = n<<8 | int(b)
		}
		return n + more
	}
	action := cdb[1] & 0x1f
	switch {
	case cdb[0] == 0x12 && cdb[1]&1 != 0: // INQUIRY, a VPD page
		return at(2, 2, 4)
	case cdb[0] == 0x12:
		return at(4, 1, 5)
	case cdb[0] == 0x03: // REQUEST SENSE, fixed
		return at(7, 1, 8)
	case cdb[0] == 0x1a: // MODE SENSE
		return at(0, 1, 1)
	case cdb[0] == 0x5a, cdb[0] == 0x43, cdb[0] == 0x51: // MODE SENSE (10), READ TOC, READ DISC INFORMATION
		return at(0, 2, 2)
	case cdb[0] == 0x46: // GET CONFIGURATION
		return at(0, 4, 4)
	case cdb[0] == 0x37, cdb[0] == 0x4d: // READ DEFECT DATA (10), LOG SENSE
		return at(2, 2, 4)
	case cdb[0] == 0xb7: // READ DEFECT DATA (12)
		return at(4, 4, 8)
	case cdb[0] == 0x5e && action == 2: // PERSISTENT RESERVE IN, REPORT CAPABILITIES
		return at(0, 2, 0)
	case cdb[0] == 0x5e:
		return at(4, 4, 8)
	case cdb[0] == 0xa0: // REPORT LUNS
		return at(0, 4, 8)
	case cdb[0] == 0xa3 && action == 0x0c && cdb[2]&7 != 0: // REPORT SUPPORTED OPERATION CODES, one
		return at(2, 2, 4)
	case cdb[0] == 0xa3 && action == 0x0f: // REPORT TIMESTAMP
		return at(0, 2, 2)
	case cdb[0] == 0xa3 && action != 0x0d, cdb[0] == 0x84:
		return at(0, 4, 4)
	case cdb[0] == 0x9e && action == 0x10: // READ CAPACITY (16)
		return 32
	case cdb[0] == 0x9e && action == 0x12: // GET LBA STATUS
		return at(0, 4, 4)
	}
	return 0
}
