package scsi

import "encoding/binary"

// Limits of UNMAP, told in VPD page B0. Initiators may take more than 2^20
// blocks for a mistake.
const (
	maxUnmap            = 512 << 20 // bytes in one command
	maxUnmapDescriptors = 256
)

// unmap serves UNMAP (SBC-3 section 5.28). All descriptors are checked before
// the first is acted upon.
func (t *Task) unmap() Result {
	if t.want == 0 {
		return Result{Status: Good}
	}
	if len(t.out) < t.want {
		return t.check(illegal(parameterListLength))
	}
	ranges, bad := decodeUnmap(t.out[:t.want], uint64(t.info.Size)/uint64(t.info.LogicalBlock), uint64(t.info.LogicalBlock))
	if bad.failed() {
		return t.check(bad)
	}
	b := int64(t.info.LogicalBlock)
	for _, r := range ranges {
		if r.blocks == 0 {
			continue
		}
		if bad := t.path.unit.unmap(int64(r.lba)*b, int64(r.blocks)*b); bad.failed() {
			return t.check(bad)
		}
	}
	return Result{Status: Good}
}

func (u *Unit) unmap(off, n int64) sense {
	h, bad := u.share(off, n)
	if bad.failed() {
		return bad
	}
	defer h.release()
	return deviceError(u.dev.Unmap(off, n), writing)
}

type blockRange struct{ lba, blocks uint64 }

// decodeUnmap reads an UNMAP parameter list for a unit of capacity blocks of
// size bytes. A last descriptor that is not whole is ignored, as the standard
// wants.
func decodeUnmap(list []byte, capacity, size uint64) ([]blockRange, sense) {
	if len(list) < 8 {
		return nil, illegal(parameterListLength)
	}
	n := int(binary.BigEndian.Uint16(list[2:]))
	if n > len(list)-8 {
		return nil, illegal(parameterListLength)
	}
	if n/16 > maxUnmapDescriptors {
		return nil, badParameter(2)
	}
	ranges := make([]blockRange, 0, n/16)
	var total uint64
	for at := 8; at+16 <= 8+n; at += 16 {
		r := blockRange{
			lba:    binary.BigEndian.Uint64(list[at:]),
			blocks: uint64(binary.BigEndian.Uint32(list[at+8:])),
		}
		if !inRange(r.lba, r.blocks, capacity) {
			return nil, illegal(lbaOutOfRange)
		}
		if total += r.blocks; total > maxUnmap/size {
			return nil, badParameter(at + 8)
		}
		ranges = append(ranges, r)
	}
	return ranges, sense{}
}
