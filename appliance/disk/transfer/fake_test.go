package transfer

import (
	"errors"
	"io"
	"sync"
	"testing"

	"sanstick/appliance/image"
)

var errPower = errors.New("power cut")

// memDevice is a volume in memory that can lose power: what wasn't flushed is
// then lost, and it fails from then on.
type memDevice struct {
	t *testing.T

	mu       sync.Mutex
	b        []byte
	durable  []byte
	dirty    map[int64]int // ranges that aren't durable
	left     int           // writes until power fails; -1: never
	writes   int
	read     int64 // bytes
	discards int
}

func newDevice(t *testing.T, size int64, fill byte) *memDevice {
	return &memDevice{t: t, b: filled(size, fill), durable: filled(size, fill), left: -1, dirty: map[int64]int{}}
}

// filled makes a slice of which every byte is fill. Nobody else has it yet, and
// the race detector takes a second for each 100 MiB.
//
//go:norace
func filled(size int64, fill byte) []byte {
	b := make([]byte, size)
	if fill == 0 || size == 0 {
		return b
	}
	b[0] = fill
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
	return b
}

// load puts something there that is durable.
func (d *memDevice) load(b []byte) {
	copy(d.b, b)
	copy(d.durable, b)
}

func (d *memDevice) Size() int64  { return int64(len(d.b)) }
func (d *memDevice) Close() error { return nil }

func (d *memDevice) check(p []byte, off int64) error {
	if off%sector != 0 || len(p)%sector != 0 {
		d.t.Errorf("%d bytes at %d aren't aligned", len(p), off)
	}
	if off < 0 || off+int64(len(p)) > d.Size() {
		d.t.Errorf("%d bytes at %d are outside", len(p), off)
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (d *memDevice) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(p, off); err != nil {
		return 0, err
	}
	d.read += int64(len(p))
	return copy(p, d.b[off:]), nil
}

func (d *memDevice) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(p, off); err != nil {
		return 0, err
	}
	if d.left == 0 {
		return 0, errPower
	}
	if d.left > 0 {
		d.left--
	}
	d.writes++
	d.dirty[off] = max(d.dirty[off], len(p))
	return copy(d.b[off:], p), nil
}

func (d *memDevice) Discard(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.discards++
	clear(d.b[off : off+n])
	d.dirty[off] = max(d.dirty[off], int(n))
	return nil
}

func (d *memDevice) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		return errPower
	}
	for off, n := range d.dirty {
		copy(d.durable[off:off+int64(n)], d.b[off:])
	}
	clear(d.dirty)
	return nil
}

// restart is what power's return leaves.
func (d *memDevice) restart() {
	for off, n := range d.dirty {
		copy(d.b[off:off+int64(n)], d.durable[off:])
	}
	clear(d.dirty)
	d.left = -1
}

// bytesSource is a disk in memory, with holes.
func bytesSource(t testing.TB, b []byte, start int64) image.Source {
	t.Helper()
	i, err := image.Open(bytesFile(b), "", image.Raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image.FromImage(i, start)
}

type bytesFile []byte

func (b bytesFile) Size() int64 { return int64(len(b)) }
func (b bytesFile) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, b[off:]), nil
}
func (b bytesFile) NextData(off int64) (int64, int64, error) {
	for at := off / sector * sector; at < b.Size(); at += sector {
		if !image.IsZero(b[at:min(at+sector, b.Size())]) {
			return max(off, at), min(at+sector, b.Size()), nil
		}
	}
	return b.Size(), b.Size(), nil
}
