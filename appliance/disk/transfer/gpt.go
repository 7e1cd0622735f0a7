package transfer

import (
	"io"

	"sanstick/appliance/image/gpt"
	"sanstick/appliance/sys"
)

// FixGPT is gpt.Fix for a volume that a disk's content has been brought into.
func FixGPT(d Device) (said string, err error) { return gpt.Fix(anywhere{d}) }

// anywhere takes ranges that aren't whole blocks.
type anywhere struct{ Device }

// around reads the blocks that a range lies in.
func (a anywhere) around(n int, off int64) (b []byte, begin int64, err error) {
	begin = off / sector * sector
	end := roundUp(off + int64(n))
	if off < 0 || end > a.Size() {
		return nil, 0, io.ErrUnexpectedEOF
	}
	b = sys.AlignedBuffer(int(end - begin))
	_, err = a.Device.ReadAt(b, begin)
	return b, begin, err
}

func (a anywhere) ReadAt(p []byte, off int64) (int, error) {
	b, begin, err := a.around(len(p), off)
	if err != nil {
		return 0, err
	}
	return copy(p, b[off-begin:]), nil
}

func (a anywhere) WriteAt(p []byte, off int64) (int, error) {
	b, begin, err := a.around(len(p), off)
	if err != nil {
		return 0, err
	}
	copy(b[off-begin:], p)
	if _, err := a.Device.WriteAt(b, begin); err != nil {
		return 0, err
	}
	return len(p), nil
}
