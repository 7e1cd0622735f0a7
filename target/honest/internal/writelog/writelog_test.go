package writelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sector = 512

// made is a log in the making.
type made []byte

func newLog() made { return newLogWith(magic, version, sector) }

func newLogWith(magic, version uint64, sectorSize uint32) made {
	b := make(made, sector)
	binary.LittleEndian.PutUint64(b, magic)
	binary.LittleEndian.PutUint64(b[8:], version)
	binary.LittleEndian.PutUint32(b[24:], sectorSize)
	return b
}

// entry adds a header, in sectors.
func (l made) entry(first, count uint64, f Flags, text uint64) made {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint64(b, first)
	binary.LittleEndian.PutUint64(b[8:], count)
	binary.LittleEndian.PutUint64(b[16:], uint64(f))
	binary.LittleEndian.PutUint64(b[24:], text)
	return append(l, b...)
}

// write adds a write of as many sectors as there are letters.
func (l made) write(first uint64, letters string, f Flags) made {
	l = l.entry(first, uint64(len(letters)), f, 0)
	return append(l, sectors(letters)...)
}

// sectors returns a sector full of each letter; "." is zero.
func sectors(letters string) []byte {
	var b []byte
	for _, c := range []byte(letters) {
		if c == '.' {
			c = 0
		}
		b = append(b, bytes.Repeat([]byte{c}, sector)...)
	}
	return b
}

// letters is the reverse of sectors.
func letters(b []byte) string {
	var s []byte
	for at := 0; at < len(b); at += sector {
		c := b[at]
		if c == 0 {
			c = '.'
		}
		s = append(s, c)
	}
	return string(s)
}

func read(l made, disk int64) (*Log, error) { return Read(bytes.NewReader(l), int64(len(l)), disk) }

func TestRead(t *testing.T) {
	l := newLog().write(2, "ab", 0).entry(0, 0, Flush, 0).entry(4, 2, Discard, 0).entry(0, 0, Mark, 5).write(7, "c", Flush|FUA)
	got, err := read(l, 8*sector)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Off: 2 * sector, Len: 2 * sector, Data: 2 * sector, End: 4 * sector},
		{Flags: Flush, End: 5 * sector},
		{Flags: Discard, Off: 4 * sector, Len: 2 * sector, End: 6 * sector},
		{Flags: Mark, End: 7 * sector},
		{Flags: Flush | FUA, Off: 7 * sector, Len: sector, Data: 8 * sector, End: 9 * sector},
	}
	if diff := cmp.Diff(want, got.Entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestReadFails(t *testing.T) {
	whole := newLog().write(0, "ab", 0)
	for name, l := range map[string]made{
		"empty":                 {},
		"no superblock":         newLog()[:superSize-1],
		"other magic":           newLogWith(magic+1, version, sector),
		"other version":         newLogWith(magic, 2, sector),
		"no sector size":        newLogWith(magic, version, 0),
		"odd sector size":       newLogWith(magic, version, 513),
		"huge sector size":      newLogWith(magic, version, 1<<30),
		"beyond the disk":       newLog().write(7, "ab", 0),
		"far beyond the disk":   newLog().entry(1<<63, 1, 0, 0),
		"overflow":              newLog().entry(2, 1<<64-1, 0, 0),
		"discard beyond":        newLog().entry(0, 9, Discard, 0),
		"unknown flag":          newLog().entry(0, 1, 1<<20, 0),
		"hole":                  newLog().entry(0, 0, 0, 0),
		"mark beyond its place": newLog().entry(0, 0, Mark, sector),
		"mark with data":        newLog().entry(0, 1, Mark, 1),
	} {
		if _, err := read(l, 8*sector); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, cut := range []int{1, sector, sector + 1, 2*sector + 1, 3*sector - 1} {
		if _, err := read(whole[:len(whole)-cut], 8*sector); !errors.Is(err, ErrCut) {
			t.Errorf("cut by %d: %v", cut, err)
		}
	}
}

func TestDisk(t *testing.T) {
	l := newLog().
		write(0, "ab", 0). // ends at sector 4
		entry(0, 0, Flush, 0).
		write(1, "BC", 0).       // 8
		write(2, "x", FUA).      // 10
		entry(0, 1, Discard, 0). // 11
		write(3, "d", Flush)     // 13: what came before is certain, d isn't
	log, err := read(l, 4*sector)
	if err != nil {
		t.Fatal(err)
	}
	none := func(int) bool { return false }
	all := func(int) bool { return true }
	d := NewDisk(log, sectors("...."))
	for _, tc := range []struct {
		at                 int64 // in sectors
		none, all          string
		flushes, unflushed int
	}{
		{at: 0, none: "....", all: "...."},
		{at: 1, none: "....", all: "...."},
		{at: 3, none: "....", all: "...."}, // half of the first write
		{at: 4, none: "....", all: "ab..", unflushed: 1},
		{at: 5, none: "ab..", all: "ab..", flushes: 1},
		{at: 8, none: "ab..", all: "aBC.", flushes: 1, unflushed: 1},
		{at: 10, none: "abx.", all: "aBx.", flushes: 1, unflushed: 2},
		{at: 11, none: "abx.", all: ".Bx.", flushes: 1, unflushed: 3},
		{at: 13, none: ".Bx.", all: ".Bxd", flushes: 2, unflushed: 1},
		{at: 99, none: ".Bx.", all: ".Bxd", flushes: 2, unflushed: 1},
	} {
		if err := d.To(tc.at * sector); err != nil {
			t.Fatal(err)
		}
		for _, v := range []struct {
			survives func(int) bool
			want     string
		}{{none, tc.none}, {all, tc.all}} {
			image, err := d.Image(nil, v.survives)
			if err != nil {
				t.Fatal(err)
			}
			if got := letters(image); got != v.want {
				t.Errorf("at %d: disk holds %s, want %s", tc.at, got, v.want)
			}
		}
		if d.Flushes() != tc.flushes || d.Unflushed() != tc.unflushed {
			t.Errorf("at %d: %d flushes, %d entries after the last, want %d, %d", tc.at, d.Flushes(), d.Unflushed(), tc.flushes, tc.unflushed)
		}
	}
	if err := d.To(sector); err == nil {
		t.Error("it goes back")
	}
	if err := NewDisk(log, sectors(".")).To(99 * sector); err == nil {
		t.Error("a smaller disk takes it all")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(newLog().write(2, "ab", 0).entry(0, 0, Flush, 0).entry(4, 2, Discard, 0).write(7, "c", FUA)))
	f.Add([]byte(newLog().entry(0, 0, Mark, 5).entry(2, 1<<64-1, 0, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 8 << 10
		log, err := read(b, size)
		if err != nil {
			return
		}
		at := log.Start
		for _, e := range log.Entries {
			if e.Off < 0 || e.Len < 0 || e.Off+e.Len > size || e.End <= at || e.End > int64(len(b)) {
				t.Fatalf("entry %+v after %d", e, at)
			}
			at = e.End
		}
		d := NewDisk(log, make([]byte, size))
		if err := d.To(int64(len(b))); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Image(nil, func(int) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}
