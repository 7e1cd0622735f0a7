package scsi

import (
	"encoding/binary"

	"sanstick/target/block"
)

// maxStatus is how many descriptors GET LBA STATUS returns, and maxStatusSteps
// how often it asks the device for them: an initiator that wants to know more
// asks again from where they end.
const (
	maxStatus      = 64
	maxStatusSteps = 256
)

// Provisioning status of LBA status descriptors.
const (
	statusMapped      = 0
	statusDeallocated = 1
)

// lbaStatus serves GET LBA STATUS (SBC-3 section 5.5). Neighbours of the same
// status are one descriptor. Of a unit that isn't thin every block is mapped.
func (t *Task) lbaStatus() Result {
	size := uint64(t.info.LogicalBlock)
	lba, capacity := field{2, 8}.read(t.cdb), uint64(t.info.Size)/size
	if lba >= capacity {
		return t.check(illegal(lbaOutOfRange))
	}
	b := make([]byte, 8, 8+16*maxStatus)
	run := statusRun{lba: lba}
	for step := 0; lba < capacity && step < maxStatusSteps; step++ {
		mapped, n, err := t.path.unit.mapped(int64(lba*size), int64((capacity-lba)*size))
		if err != nil {
			return t.done(err, reading)
		}
		status := byte(statusMapped)
		if !mapped {
			status = statusDeallocated
		}
		blocks := uint64(n) / size
		if run.blocks > 0 && (run.status != status || run.blocks+blocks > 0xffffffff) {
			if b = run.append(b); len(b) == cap(b) {
				break
			}
			run = statusRun{lba: lba}
		}
		run.status = status
		run.blocks += min(blocks, 0xffffffff-run.blocks)
		lba = run.lba + run.blocks
	}
	if len(b) < cap(b) {
		b = run.append(b)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return t.reply(b)
}

// statusRun is an LBA status descriptor.
type statusRun struct {
	lba, blocks uint64
	status      byte
}

func (r statusRun) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.lba)
	b = binary.BigEndian.AppendUint32(b, uint32(r.blocks))
	return append(b, r.status, 0, 0, 0)
}

// mapped is block.Mapper.Mapped: what isn't known to be unmapped is mapped.
func (u *Unit) mapped(off, n int64) (bool, int64, error) {
	if m, ok := u.dev.(block.Mapper); ok && u.thin() {
		return m.Mapped(off, n)
	}
	return true, n, nil
}
