package stickcopy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

var errPower = errors.New("power cut")

// memDisk is a disk in memory. After left writes power fails: half of that write
// is done.
type memDisk struct {
	b    []byte
	left int
	seq  uint64
}

func (d *memDisk) open(string, bool) (Device, error) { return d, nil }
func (d *memDisk) Close() error                      { return nil }
func (d *memDisk) Sync() error                       { return nil }
func (d *memDisk) DiskSeq() (uint64, error)          { return d.seq, nil }

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(d.b)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, d.b[off:]), nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.left == 0 {
		copy(d.b[off:], p[:len(p)/2/512*512])
		d.left = -1
	}
	if d.left < 0 {
		return 0, errPower
	}
	d.left--
	return copy(d.b[off:], p), nil
}

const many = 1 << 30

func newDisk() *memDisk {
	d := &memDisk{b: make([]byte, 8<<20), left: many, seq: 7}
	label(d.b, "aaaaaabbbbccccddddeeeeffffgggggg")
	return d
}

// label is what of LVM's label matters here.
func label(disk []byte, uuid string) {
	b := disk[512:1024]
	copy(b, "LABELONE")
	b[20] = 32
	copy(b[24:], "LVM2 001")
	copy(b[32:], uuid)
}

var area = Area{Path: "/dev/sda", Disk: "A", Seq: 7, PV: "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg", Start: 1 << 20, Size: AreaSize}

func version(n int) Copy {
	return Copy{
		Appliance: "id", Hostname: "attic", Generation: uint64(n), Time: time.Date(2026, 11, n, 1, 2, 3, 0, time.UTC),
		Files: map[string][]byte{"appliance.toml": bytes.Repeat([]byte("# a line\n"), 10*n), "sanstick/pools.json": []byte("{}")},
	}
}

// TestPowerCut writes one copy after another, with a power cut at each write:
// there is always a whole one, the last or the one before.
func TestPowerCut(t *testing.T) {
	for cut := range 12 {
		d := newDisk()
		before := bytes.Clone(d.b)
		last := 0
		for n := 1; n <= 4; n++ {
			d.left = many
			if n == 3 {
				d.left = cut
			}
			err := Write(d.open, area, version(n))
			if err == nil {
				last = n
			} else if n != 3 || !errors.Is(err, errPower) {
				t.Fatalf("cut %d, version %d: %v", cut, n, err)
			}
			d.left = many
			got, err := Read(d.open, area)
			if err != nil {
				t.Fatalf("cut %d, version %d: %v", cut, n, err)
			}
			if n == 3 && got.Generation == 3 {
				last = 3 // what mattered of the last write was done
			}
			if diff := cmp.Diff(version(last), got); diff != "" {
				t.Errorf("cut %d, version %d (-want +got):\n%s", cut, n, diff)
			}
		}
		if !bytes.Equal(before[:area.Start], d.b[:area.Start]) || !bytes.Equal(before[area.Start+area.Size:], d.b[area.Start+area.Size:]) {
			t.Errorf("cut %d: something else was written", cut)
		}
	}
}

// TestStranger: where another disk has got the name of an area's, nothing is read or
// written.
func TestStranger(t *testing.T) {
	for name, change := range map[string]func(*memDisk){
		"another label": func(d *memDisk) { label(d.b, "xaaaaabbbbccccddddeeeeffffgggggg") },
		"no label":      func(d *memDisk) { clear(d.b[:4096]) },
		"came later":    func(d *memDisk) { d.seq++ },
	} {
		d := newDisk()
		if err := Write(d.open, area, version(1)); err != nil {
			t.Fatal(err)
		}
		change(d)
		before := bytes.Clone(d.b)
		if err := Write(d.open, area, version(2)); !errors.Is(err, ErrStranger) {
			t.Errorf("%s: write: %v", name, err)
		}
		if _, err := Read(d.open, area); !errors.Is(err, ErrStranger) {
			t.Errorf("%s: read: %v", name, err)
		}
		if !bytes.Equal(before, d.b) {
			t.Errorf("%s: it was written to", name)
		}
	}
}

// TestRefused: what can't be kept is refused, and what is there stays.
func TestRefused(t *testing.T) {
	noise := func() []byte {
		b := make([]byte, 3<<20)
		x := uint64(1)
		for i := range b {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b[i] = byte(x)
		}
		return b
	}
	d := newDisk()
	if err := Write(d.open, area, version(1)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Copy){
		"nobody's":  func(c *Copy) { c.Appliance = "" },
		"no files":  func(c *Copy) { c.Files = nil },
		"outside":   func(c *Copy) { c.Files["../x"] = nil },
		"absolute":  func(c *Copy) { c.Files["/etc/passwd"] = nil },
		"too long":  func(c *Copy) { c.Files["x"] = make([]byte, maxBytes) },
		"too much":  func(c *Copy) { c.Files["x"] = noise() },
		"long name": func(c *Copy) { c.Files[strings.Repeat("x", 300)] = nil },
		"too many": func(c *Copy) {
			for i := range 20 {
				c.Files[string(rune('a'+i))] = nil
			}
		},
	} {
		c := version(2)
		change(&c)
		if err := Write(d.open, area, c); err == nil {
			t.Errorf("%s: it was written", name)
		}
		if got, err := Read(d.open, area); err != nil || got.Generation != 1 {
			t.Errorf("%s: generation %d, error %v", name, got.Generation, err)
		}
	}
	for _, small := range []int64{0, 4096, 8192, 16384} {
		a := area
		a.Size = small
		if err := Write(d.open, a, Copy{Appliance: "x", Files: map[string][]byte{"a": noise()}}); err == nil {
			t.Errorf("written to an area of %d bytes", small)
		}
	}
}

// TestDamaged: a copy that was changed in any block counts for nothing, and the
// older one is read.
func TestDamaged(t *testing.T) {
	d := newDisk()
	for n := 1; n <= 2; n++ {
		if err := Write(d.open, area, version(n)); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(d.b)
	for i := range 2 {
		off, _ := area.slot(i)
		header, body, err := version(1 + i).encode(area.Size / 2)
		if err != nil {
			t.Fatal(err)
		}
		for at := range int64(len(header) + len(body)) {
			if at >= 68 && at < headerSize || whole[off+at] == 0 || at%5 != 0 && at > headerSize {
				continue // padding, and most of the rest
			}
			d.b[off+at] ^= 0x40
			got, err := Read(d.open, area)
			if want := uint64(2 - i); err != nil || got.Generation != want {
				t.Fatalf("slot %d, byte %d: generation %d, error %v", i, at, got.Generation, err)
			}
			d.b[off+at] = whole[off+at]
		}
	}
	clear(d.b[4096:])
	if _, err := Read(d.open, area); !errors.Is(err, ErrNone) {
		t.Errorf("of nothing: %v", err)
	}
	d.b = d.b[:1<<20]
	if _, err := Read(d.open, area); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("of a disk that can't be read: %v", err)
	}
	if err := Write(d.open, area, version(3)); err == nil {
		t.Error("written where nothing can be read")
	}
}

func FuzzDecode(f *testing.F) {
	header, body, err := version(1).encode(1 << 20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(header, body)
	f.Fuzz(func(t *testing.T, header, body []byte) {
		x, err := decodeHeader(header, 1<<20)
		if err != nil {
			x.sum = [32]byte{}
		}
		c, err := decodeBody(x, body[:min(int64(len(body)), x.length)])
		if err == nil && c.check() != nil {
			t.Errorf("taken: %+v", c)
		}
	})
}

func TestArea(t *testing.T) {
	for _, size := range []int64{AreaSize, 1 << 20, 100_000} {
		a := Area{Start: 1 << 20, Size: size}
		first, n := a.slot(0)
		second, _ := a.slot(1)
		if first != a.Start || n%headerSize != 0 || second != first+n || second+n > a.Start+a.Size {
			t.Errorf("area of %d: slots at %d and %d, of %d", size, first, second, n)
		}
	}
	if len(sys.AlignedBuffer(0)) != 0 {
		t.Error("an empty buffer isn't empty")
	}
}

// TestAnothersCopy: what is written counts, whatever another appliance has left, and
// after a power cut at any write one of them does. A generation that nobody can have
// come to counts as nothing.
func TestAnothersCopy(t *testing.T) {
	other := version(2)
	other.Appliance = "other"
	for cut := 0; ; cut++ {
		d := newDisk()
		for n := range uint64(2) {
			other.Generation = MaxGeneration - 1 + n
			if err := Write(d.open, area, other); err != nil {
				t.Fatal(err)
			}
		}
		d.left = cut
		err := Write(d.open, area, version(3))
		d.left = many
		got, readErr := Read(d.open, area)
		if readErr != nil || !got.Same(other) && !got.Same(version(3)) || err == nil && got.Generation != 3 {
			t.Errorf("cut %d: written with %v, and read %+v, %v", cut, err, got, readErr)
		}
		if err == nil {
			break
		}
	}
	other.Generation = MaxGeneration + 1
	if err := Write(newDisk().open, area, other); err == nil {
		t.Error("written with a generation that is too high")
	}
	header, _, err := version(1).encode(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	header[24] = 0xff
	binary.BigEndian.PutUint32(header[64:], crc32.ChecksumIEEE(header[:64]))
	if _, err := decodeHeader(header, 1<<20); !errors.Is(err, ErrNone) {
		t.Errorf("a header with an absurd generation: %v", err)
	}
}
