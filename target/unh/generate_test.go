package unh_test

import (
	"encoding/binary"
	"strings"

	"sanstick/target/iscsitest"
)

// command makes a random command that is mostly right.
func (tw *twins) command() (name string, cmd iscsitest.Command) {
	r := tw.r
	cmd.LUN = []uint16{1, 1, 1, 1, 1, 1, 1, 1, 0, 5}[r.IntN(10)]
	if r.IntN(50) == 0 { // any operation code
		cmd.CDB = make([]byte, 16)
		for i := range cmd.CDB {
			cmd.CDB[i] = byte(r.Uint32())
		}
		if exempt(cmd.CDB) {
			return tw.command()
		}
		cmd.In = []int{0, 512}[r.IntN(2)]
		return "any", cmd
	}
	tp := &templates[r.IntN(len(templates))]
	cmd.CDB = make([]byte, tp.length)
	copy(cmd.CDB, tp.cdb(nil, tw.length(tp)))
	tw.fields(tp, cmd.CDB)
	if r.IntN(6) == 0 { // a bit that is wrong
		i := 1 + r.IntN(tp.length-1)
		if !(i == 1 && tp.action != none) {
			cmd.CDB[i] ^= 1 << r.IntN(8)
		}
	}
	if exempt(cmd.CDB) {
		return tw.command()
	}
	tw.payload(tp, &cmd)
	return tp.name, cmd
}

// exempt are commands that would end the comparison: those that change what
// can't be changed back.
func exempt(cdb []byte) bool {
	switch cdb[0] {
	case 0x04, 0x48: // FORMAT UNIT, SANITIZE
		return true
	case 0x1b: // START STOP UNIT with a power condition, load or eject
		return cdb[4]&0xf2 != 0
	}
	return false
}

// length is an allocation, parameter list or transfer length.
func (tw *twins) length(tp *template) uint32 {
	r := tw.r
	switch tp.class {
	case answers:
		return []uint32{0, 1, 4, 8, uint32(r.IntN(64)), uint32(r.IntN(256)), 252, 255, 512, 4096}[r.IntN(10)]
	case readBlocks, writeRange, exactly:
		return []uint32{0, 1, 1, 2, uint32(r.IntN(16)), uint32(r.IntN(64))}[r.IntN(6)]
	}
	return uint32(r.IntN(32))
}

// fields fills in the LBA or page of a CDB.
func (tw *twins) fields(tp *template, cdb []byte) {
	r := tw.r
	lba := []uint64{0, 1, uint64(r.IntN(twinBlocks)), uint64(r.IntN(twinBlocks)), twinBlocks - 1, twinBlocks, twinBlocks - uint64(r.IntN(16)),
		twinBlocks + uint64(r.IntN(4)), 1 << 31, 1<<32 - 1}[r.IntN(10)]
	switch cdb[0] {
	case 0x08, 0x0a:
		cdb[1], cdb[2], cdb[3] = byte(lba>>16)&0x1f, byte(lba>>8), byte(lba)
	case 0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x41, 0xa8, 0xaa, 0xae, 0xaf:
		binary.BigEndian.PutUint32(cdb[2:], uint32(lba))
	case 0x88, 0x89, 0x8a, 0x8b, 0x8e, 0x8f, 0x90, 0x91, 0x93, 0x9c:
		if r.IntN(20) == 0 {
			lba |= 1 << 40
		}
		binary.BigEndian.PutUint64(cdb[2:], lba)
	case 0x9e:
		if cdb[1] == 0x12 {
			binary.BigEndian.PutUint64(cdb[2:], lba)
		}
	case 0x12:
		if r.IntN(2) == 0 {
			cdb[1], cdb[2] = 1, []byte{0, 0x80, 0x83, 0xb0, 0xb1, 0xb2, byte(r.Uint32())}[r.IntN(7)]
		}
	case 0x1a, 0x5a:
		cdb[1], cdb[2] = []byte{0, 8}[r.IntN(2)], []byte{0x3f, 0x08, 0x0a, 0x02, 0x1c, byte(r.Uint32())}[r.IntN(6)]
	case 0x15, 0x55:
		cdb[1] = 0x10
	case 0x5f:
		cdb[2] = []byte{0, 1, 3, 5, 6, 7, 8}[r.IntN(7)]
	case 0xa3:
		if cdb[1] == 0x0c {
			cdb[2], cdb[3] = byte(r.IntN(4)), templates[r.IntN(len(templates))].op
		}
	}
	switch cdb[0] { // FUA, DPO, BYTCHK, UNMAP now and then
	case 0x28, 0x2a, 0xa8, 0xaa, 0x88, 0x8a:
		cdb[1] = []byte{0, 0, 8, 0x10, 0x18}[r.IntN(5)]
	case 0x2f, 0xaf, 0x8f, 0x2e, 0xae, 0x8e:
		cdb[1] = []byte{0, 2, 2, 4, 6}[r.IntN(5)]
	case 0x41, 0x93:
		cdb[1] = []byte{0, 0, 8, 1, 9}[r.IntN(5)]
	}
}

// payload fills in the data-out or the expected length.
func (tw *twins) payload(tp *template, cmd *iscsitest.Command) {
	r := tw.r
	n := 0
	for i := range tp.size {
		n = n<<8 | int(cmd.CDB[tp.at+i])
	}
	per := blockSize
	if tp.perBlock != 0 {
		per = tp.perBlock
	}
	switch tp.class {
	case readBlocks, writeRange, exactly:
		n *= per
		if tp.op == 0x08 && n == 0 || tp.op == 0x0a && n == 0 {
			n = 256 * blockSize
		}
		if tp.one {
			n = blockSize
		}
		if strings.HasPrefix(tp.name, "VERIFY") && cmd.CDB[1]&2 == 0 {
			return
		}
	case fixed:
		n = 8
	case noData:
		return
	}
	n = min(n, 128<<10)
	if r.IntN(5) == 0 {
		n = []int{0, 1, n / 2, n + 1, n + 512, max(n-1, 0), 512}[r.IntN(7)]
	}
	switch tp.class {
	case answers, readBlocks, fixed:
		cmd.In = n
	default:
		cmd.Out = tw.out(tp, cmd.CDB, n)
	}
}

// out makes data-out of n bytes.
func (tw *twins) out(tp *template, cdb []byte, n int) []byte {
	r := tw.r
	p := make([]byte, n)
	switch {
	case tp.op == 0x42:
		l := unmapList()
		binary.BigEndian.PutUint64(l.data[8:], uint64(r.IntN(twinBlocks+8)))
		if r.IntN(2) == 0 {
			binary.BigEndian.PutUint16(cdb[7:], uint16(len(l.data)))
			p = make([]byte, len(l.data))
		}
		copy(p, l.data)
	case tp.op == 0x5f:
		if r.IntN(4) != 0 {
			binary.BigEndian.PutUint32(cdb[5:], 24)
			p = make([]byte, 24)
		}
		if len(p) >= 16 {
			p[7], p[15] = byte(r.IntN(3)), byte(r.IntN(3))
		}
	case tp.op == 0x89 || strings.HasPrefix(tp.name, "VERIFY"):
		if off := int(lbaOf(cdb)&0xffffff) * blockSize; off < len(tw.image) { // it may still be there
			copy(p, tw.image[off:])
		}
	case tp.class == listed:
		if r.IntN(2) == 0 {
			for i := range p {
				p[i] = byte(r.Uint32())
			}
		}
	default:
		for i := range p {
			p[i] = byte(i>>9) ^ byte(r.Uint32()&3)
		}
	}
	return p
}
