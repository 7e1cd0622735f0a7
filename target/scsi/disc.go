package scsi

import (
	"sanstick/target/block"
)

const (
	discBlock = 2048 // bytes, of every CD and DVD
	// maxCD is the size from which on a disc is a DVD: 80 minutes of CD.
	maxCD = 80 * 60 * 75 * discBlock
)

// discDevice shows a device as a CD or DVD: blocks of 2048 bytes, which can't
// be changed. If the device doesn't end with a whole one, the last is filled up
// with zeroes.
type discDevice struct{ block.Device }

func (d discDevice) Info() block.Info {
	i := d.Device.Info()
	return block.Info{
		Size: (i.Size + discBlock - 1) / discBlock * discBlock, LogicalBlock: discBlock, PhysicalBlock: discBlock,
		ReadOnly: true, ReadsZero: i.ReadsZero, Rotational: i.Rotational,
	}
}

// ReadAt reads in the device's own blocks, which may be larger.
func (d discDevice) ReadAt(p []byte, off int64) (int, error) {
	i, n := d.Device.Info(), len(p)
	b := int64(i.LogicalBlock)
	for len(p) > 0 {
		skip := off % b
		whole := min(int64(len(p)), i.Size-off) / b * b
		switch {
		case off >= i.Size:
			clear(p)
			return n, nil
		case skip == 0 && whole > 0:
			if _, err := d.Device.ReadAt(p[:whole], off); err != nil {
				return 0, err
			}
			p, off = p[whole:], off+whole
		default:
			one := make([]byte, b)
			if _, err := d.Device.ReadAt(one, off-skip); err != nil {
				return 0, err
			}
			m := copy(p, one[skip:])
			p, off = p[m:], off+int64(m)
		}
	}
	return n, nil
}

func (discDevice) WriteAt([]byte, int64) (int, error) { return 0, block.ErrReadOnly }
func (discDevice) Flush() error                       { return nil }
func (discDevice) Unmap(int64, int64) error           { return block.ErrReadOnly }
func (discDevice) WriteZeroes(int64, int64) error     { return block.ErrReadOnly }

// dvd reports whether the disc of a unit is a DVD.
func (t *Task) dvd() bool { return t.info.Size > maxCD }

// present reports whether there is a disc in the drive.
func (t *Task) present() bool { return t.path.unit.mediumStatus() == noAdditionalSense }

// Media events (MMC-6 table 303).
const (
	noEvent      = 0
	newMedia     = 2
	mediaRemoval = 3
)

// event notes on all paths what has become of the medium.
func (u *Unit) event(e uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p := range u.paths {
		p.event.Store(e)
	}
}

// capabilities is mode page 2A (MMC-3 section 5.5.11), which initiators ask for
// although it is no longer in the standard: reads DVD-ROM, has a tray that can
// be locked. Speeds are not told.
func capabilities(t *Task, _ modes) []byte {
	b := make([]byte, 20)
	b[0] = 0x08
	b[4] = 0x29
	if t.path.unit.prevented() {
		b[4] |= 0x02
	}
	return b
}
